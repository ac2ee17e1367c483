-- Paired gains on the primary metric: treated minus baseline, within a study, on the same test data.
-- `pair` is the text of the study's match keys; languages that the study drops are left out.
-- `at_chance`: the baseline is not above chance by a one-sided test at 5 % (score <= chance + 1.645 se over items).
WITH half AS (
    SELECT
        cell.*, row.metric AS metric, row.score AS score, row.chance AS chance, row.se AS se, row.data AS data
    FROM cell_rows AS cell
    JOIN score_rows AS row ON row.stage = cell.stage AND row.language = cell.language AND row.data = coalesce(cell.wanted, row.data)
    WHERE row.is_primary
)
SELECT
    treated.model AS model,
    treated.family AS family,
    treated.params_total AS params_total,
    treated.params_non_embedding AS params_non_embedding,
    treated.intermediate AS intermediate,
    treated.variant AS variant,
    treated.target AS target,
    treated.language AS language,
    treated.seed AS seed,
    treated.metric AS metric,
    treated.score - baseline.score AS gain,
    treated.score AS score,
    baseline.score AS baseline,
    treated.stage AS treated_stage,
    baseline.stage AS baseline_stage,
    treated.same_task AS same_task,
    baseline.score <= baseline.chance + 1.645 * baseline.se AS at_chance,
    CAST(NULL AS BOOLEAN) AS seen,
    treated.study AS study
FROM half AS treated
JOIN half AS baseline
    ON baseline.study = treated.study
    AND baseline.pair = treated.pair
    AND baseline.metric = treated.metric
    AND baseline.data = treated.data
WHERE NOT treated.is_baseline AND baseline.is_baseline AND NOT treated.dropped
