"""How stages are computed: torch and transformers. Imports `registry`, never `analysis`."""
