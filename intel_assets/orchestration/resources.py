"""Resources: what assets are handed at run time. Dagster concept: resources.

Thin: each hands out an object of the engine, which knows no Dagster.
https://docs.dagster.io/guides/build/external-resources
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster_duckdb import DuckDBResource
from duckdb import DuckDBPyConnection

from intel_assets.engine import Engine, open_engine
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.logs import configure_logs
from intel_assets.settings import load_settings
from intel_assets.sources import registry
from intel_assets.world import demo_world, world_clock


class LakehouseResource(dg.ConfigurableResource["LakehouseResource"]):
    """The lake that the settings name."""

    @contextmanager
    def open(self) -> Iterator[Engine]:
        """Open the engine.

        Raises:
            IntelError: If the settings or the lake are not usable.
        """
        settings = load_settings()
        # A run that `dg dev` or a schedule starts finds the played world too.
        with demo_world(settings), open_engine(settings, world_clock(settings)) as engine:
            # A run in a process of its own; in the command's process its own set-up stays.
            if not logging.getLogger("intel_assets").handlers:
                configure_logs(1, engine.secrets(registry.load()))
            yield engine


class CatalogResource(DuckDBResource):
    """DuckDB over the lake: a view for every table, all of one snapshot."""

    database: str = ":memory:"

    @contextmanager
    def get_connection(self) -> Iterator[DuckDBPyConnection]:
        """Give a connection; it is closed also when the asset fails."""
        connection = Catalog(load_settings().layout).connect()
        try:
            yield connection
        finally:
            connection.close()
