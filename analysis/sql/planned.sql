-- The gains that a study plans, each treated cell and language beside its baseline, scored yet or not; what the manifest itself
-- leaves out is not planned. Runs are trained checkpoints; `cell` is the baseline's score, which several gains share; `lp` is
-- log10 of the parameters, 0 at the study's centre; `treatment` is intermediate and variant; `seen` whether the model's
-- pretraining saw the language, and `distance` the syntactic one to English, where these are known.
SELECT
    treated.model AS model,
    treated.family AS family,
    treated.params_total AS params_total,
    treated.params_non_embedding AS params_non_embedding,
    treated.lp AS lp,
    treated.intermediate AS intermediate,
    treated.variant AS variant,
    treated.treatment AS treatment,
    treated.target AS target,
    treated.target_group AS target_group,
    treated.language AS language,
    treated.seed AS seed,
    treated.stage AS treated_stage,
    baseline.stage AS baseline_stage,
    treated.intermediate_run AS intermediate_run,
    treated.run AS treated_run,
    baseline.run AS baseline_run,
    coalesce(baseline.stage, baseline.run || '/' || baseline.target) || ':' || treated.language AS cell,
    treated.same_task AS same_task,
    treated.seen AS seen,
    facts.language_family AS language_family,
    facts.script AS script,
    facts.distance AS distance,
    treated.wanted AS treated_data,
    baseline.wanted AS baseline_data,
    treated.origin AS origin,
    treated.better AS better,
    treated.study AS study
FROM cell_rows AS treated
JOIN cell_rows AS baseline ON baseline.study = treated.study AND baseline.pair = treated.pair
LEFT JOIN language_rows AS facts ON facts.language = treated.language
WHERE NOT treated.is_baseline AND baseline.is_baseline AND NOT treated.dropped
    AND NOT (treated.declared OR baseline.declared)
