"""Getting bytes out of the world. Knows no Dagster and no Delta table."""
