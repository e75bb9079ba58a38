"""Dagster: one file per Dagster concept. The only package that imports it."""
