-- What is not there, and why. One row a cell x language that lacks its score, or that has one but lacks its gain.
WITH RECURSIVE above AS (
    SELECT study AS study, id AS stage, id AS ancestor, 0 AS steps
    FROM stage_rows
    UNION ALL
    SELECT above.study, above.stage, own.parent, above.steps + 1
    FROM above
    JOIN stage_rows AS own ON own.study = above.study AND own.id = above.ancestor
    WHERE own.parent IS NOT NULL
),
root AS (  -- the earliest failure among the ancestors of a stage
    SELECT
        above.study AS study,
        above.stage AS stage,
        arg_max(failed.kind || ' ' || failed.task || ' (' || failed.id || ')' || coalesce(', ' || failed.failure, ''), above.steps) AS cause
    FROM above
    JOIN stage_rows AS failed ON failed.study = above.study AND failed.id = above.ancestor
    WHERE failed.state IN ('failed', 'foreign') AND above.steps > 0
    GROUP BY above.study, above.stage
),
half AS (
    SELECT
        cell.*, row.metric AS metric, row.data AS data,
        CASE
            WHEN row.score IS NOT NULL THEN NULL
            WHEN cell.blocked IS NOT NULL THEN cell.blocked
            WHEN stage.state = 'foreign' THEN stage.failure
            WHEN root.cause IS NOT NULL THEN 'failed: ' || root.cause
            WHEN stage.state = 'failed' THEN 'failed' || coalesce(': ' || stage.failure, '')
            WHEN stage.state = 'running' THEN 'running'
            WHEN stage.state = 'finished' THEN coalesce('failed: ' || stage.failure, 'finished without a score in this language')
            ELSE 'not run yet'
        END AS reason
    FROM cell_rows AS cell
    LEFT JOIN score_rows AS row ON row.stage = cell.stage AND row.language = cell.language AND row.data = coalesce(cell.wanted, row.data) AND row.is_primary
    LEFT JOIN stage_rows AS stage ON stage.study = cell.study AND stage.id = cell.stage
    LEFT JOIN root ON root.study = cell.study AND root.stage = cell.stage
),
unpaired AS (
    SELECT
        treated.* EXCLUDE (reason),
        CASE
            WHEN baseline.study IS NULL THEN 'no baseline: the study has no such cell'
            WHEN baseline.reason IS NOT NULL THEN 'no baseline: ' || baseline.reason
            ELSE 'no baseline: its metric or its test data differ'
        END AS reason
    FROM half AS treated
    LEFT JOIN half AS baseline
        ON baseline.study = treated.study AND baseline.pair = treated.pair AND baseline.is_baseline
    WHERE treated.reason IS NULL AND NOT treated.is_baseline AND NOT treated.dropped
        AND (
            baseline.study IS NULL OR baseline.reason IS NOT NULL
            OR baseline.metric <> treated.metric OR baseline.data <> treated.data
        )
)
SELECT model, intermediate, variant, target, language, seed, stage, 'score' AS lacks, reason, study
FROM half
WHERE reason IS NOT NULL
UNION ALL
SELECT model, intermediate, variant, target, language, seed, stage, 'gain' AS lacks, reason, study
FROM unpaired
