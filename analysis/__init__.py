"""What the scores say: DuckDB, pandas, statsmodels, matplotlib. Imports `registry`, never `runners`."""
