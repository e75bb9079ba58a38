"""Delta tables, contracts, landing and DuckDB. Knows no Dagster, no HTTP and no domain."""
