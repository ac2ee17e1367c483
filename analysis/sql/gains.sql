-- Paired gains on the primary metric: treated minus baseline, within a study, on the same test data.
-- `at_chance`: the baseline is not above chance by a one-sided test at 5 % (score <= chance + 1.645 se over items);
-- false where a table does not report chance or items.
SELECT
    planned.model, planned.family, planned.params_total, planned.params_non_embedding, planned.lp,
    planned.intermediate, planned.variant, planned.treatment, planned.target, planned.target_group, planned.language, planned.seed,
    treated.metric AS metric,
    treated.score - baseline.score AS gain,
    treated.score AS score,
    baseline.score AS baseline,
    planned.treated_stage, planned.baseline_stage, planned.intermediate_run, planned.treated_run, planned.baseline_run, planned.cell,
    planned.same_task,
    coalesce(baseline.score <= baseline.chance + 1.645 * baseline.se, false) AS at_chance,
    planned.seen, planned.language_family, planned.script, planned.distance,
    planned.origin,
    planned.study
FROM planned
JOIN score_rows AS treated
    ON treated.is_primary AND treated.stage = planned.treated_stage AND treated.language = planned.language
    AND treated.data = coalesce(planned.treated_data, treated.data)
JOIN score_rows AS baseline
    ON baseline.is_primary AND baseline.stage = planned.baseline_stage AND baseline.language = planned.language
    AND baseline.data = coalesce(planned.baseline_data, baseline.data)
    AND baseline.metric = treated.metric AND baseline.data = treated.data
