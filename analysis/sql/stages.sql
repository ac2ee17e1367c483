-- Every stage that a study names, with its state. One row a study x stage; `started` is UTC.
SELECT
    id, kind, model, family, params_total, params_non_embedding, task, seed, parent,
    state, source, started, seconds, study
FROM stage_rows
