-- Paired gains on the primary metric: treated minus baseline, or baseline minus treated where less is better (`better`), within a
-- study, on the same test data.
-- `at_chance`: the baseline is not above chance by a one-sided test at 5 % (score <= chance + 1.645 se over items);
-- false where a table does not report chance or items.
-- `collapsed`: either half scores less than five points above chance in the language of its own training, so that it has not
-- learnt its target; such runs are kept.
WITH learnt AS (
    SELECT cell_rows.study, cell_rows.stage, bool_or(
        CASE WHEN cell_rows.better = 'lower' THEN score_rows.score > score_rows.chance - 0.05 ELSE score_rows.score < score_rows.chance + 0.05 END
    ) AS collapsed
    FROM cell_rows
    JOIN score_rows
        ON score_rows.is_primary AND score_rows.stage = cell_rows.stage AND score_rows.language = cell_rows.language
        AND score_rows.data = coalesce(cell_rows.wanted, score_rows.data)
    WHERE cell_rows.is_source AND NOT (cell_rows.target_group LIKE 'retrieval%' OR cell_rows.target_group LIKE 'prompted%')
    GROUP BY cell_rows.study, cell_rows.stage
)
SELECT
    planned.model, planned.family, planned.params_total, planned.params_non_embedding, planned.lp,
    planned.intermediate, planned.variant, planned.treatment, planned.target, planned.target_group, planned.language, planned.seed,
    treated.metric AS metric,
    planned.better,
    CASE WHEN planned.better = 'lower' THEN baseline.score - treated.score ELSE treated.score - baseline.score END AS gain,
    treated.gain_se AS gain_se,
    treated.dev_score AS dev_score,
    treated.score AS score,
    baseline.score AS baseline,
    planned.treated_stage, planned.baseline_stage, planned.intermediate_run, planned.treated_run, planned.baseline_run, planned.cell,
    planned.same_task,
    coalesce(
        CASE WHEN planned.better = 'lower' THEN baseline.score >= baseline.chance - 1.645 * baseline.se
        ELSE baseline.score <= baseline.chance + 1.645 * baseline.se END, false
    ) AS at_chance,
    coalesce(treated_run.collapsed, false) OR coalesce(baseline_run.collapsed, false) AS collapsed,
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
LEFT JOIN learnt AS treated_run ON treated_run.study = planned.study AND treated_run.stage = planned.treated_stage
LEFT JOIN learnt AS baseline_run ON baseline_run.study = planned.study AND baseline_run.stage = planned.baseline_stage
