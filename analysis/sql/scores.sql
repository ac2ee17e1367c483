-- Every score of every cell, all metrics, all languages. One row a cell x language x metric; fractions in [0, 1].
SELECT
    cell.stage AS stage,
    cell.model AS model,
    cell.intermediate AS intermediate,
    cell.variant AS variant,
    cell.target AS target,
    cell.language AS language,
    cell.seed AS seed,
    row.metric AS metric,
    row.score AS score,
    row.items AS items,
    row.chance AS chance,
    row.se AS se,
    cell.study AS study
FROM cell_rows AS cell
JOIN score_rows AS row ON row.stage = cell.stage AND row.language = cell.language AND row.data = coalesce(cell.wanted, row.data)
