"""`intel status`: how each source stands, one line a source, from what was recorded.

It reads what the last run or the daemon wrote (`ops.coverage`) and judges nothing itself, so that
it answers at once; `intel gaps` judges now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer

from intel_assets.cli import rollout, show
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.format import check_format
from intel_assets.lakehouse.views import TableName
from intel_assets.settings import Settings, load_settings
from intel_assets.sources import registry

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]

_ASKED = {TableName("ops", name) for name in ("partitions", "fetches", "switches", "coverage")}
_WHOLE = ("complete", "empty", "collapsed", "stale")
_OPEN = ("missing", "filling", "rejected", "failed", "lost")
_DOUBTFUL = ("collapsed", "stale")
_LAYERS = (
    "source",
    "layer",
    "days",
    "first",
    "last",
    "rows",
    "rejected",
    "missing",
    "failed",
    "written",
)


def status(
    layers: Annotated[
        bool, typer.Option("--layers", help="A line for each layer: days held, from when to when.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Say how each source stands.

    For each source: whether it is on, when it last answered, expected days that it holds, its gaps
    by state, rows, rows rejected, and when that was last recorded (UTC). `intel gaps` says which
    days are missing, and why.

    With --layers, for each layer: days held, from when to when, rows, rows rejected; days that the
    source did not have (missing) or that went wrong (failed) when last asked; last written.
    """
    settings = load_settings()
    check_format(settings.layout)
    catalog = Catalog(settings.layout)
    wanted = {table for table in catalog.tables() if table in _ASKED}
    with catalog.connect(wanted=wanted) as connection:
        lake = _Lake(connection)
        columns, rows = _by_layer(lake) if layers else _by_source(lake, settings)
    if json:
        show.records(columns, rows)
        return
    texts = [[show.counts(v) if isinstance(v, dict) else v for v in row] for row in rows]
    show.rows(columns, texts, f"{settings.layout.base} ({settings.mode})")


class _Lake:
    """The tables of `ops` that there are."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        found = connection.execute(
            "SELECT view_name FROM duckdb_views() WHERE schema_name = 'ops'"
        ).fetchall()
        self._there = {name for (name,) in found}

    def ask(self, table: str, file: str) -> list[tuple[Any, ...]]:
        """Return the answer to a shipped query; nothing if its table is not there yet."""
        if table not in self._there:
            return []
        query = Path(__file__).with_name(file).read_text("utf-8")
        return self._connection.execute(query).fetchall()


def _by_source(lake: _Lake, settings: Settings) -> tuple[Sequence[str], list[list[Any]]]:
    held = {row[0]: row[1:] for row in lake.ask("partitions", "status.sql")}
    answered = dict(lake.ask("fetches", "status_asked.sql"))
    switched = {name for name, on in lake.ask("switches", "status_switches.sql") if not on}
    judged: dict[str, dict[str, int]] = {}
    at: dict[str, datetime] = {}
    for name, state, days, recorded in lake.ask("coverage", "status_days.sql"):
        judged.setdefault(name, {})[state] = days
        at[name] = max(recorded, at.get(name, recorded))
    rows = []
    for name in [*registry.names(), *sorted(held.keys() - set(registry.names()))]:
        days, count, rejected, missing, failed, recorded = held.get(name, (0, 0, 0, 0, 0, None))
        states = judged.get(name)
        # Before anybody judged the days, what the last attempts came to is all that is known.
        gaps = _those(_OPEN + _DOUBTFUL, states or {"missing": missing, "failed": failed})
        rows.append(
            [
                name,
                _switch(name, settings, switched, states or {}),
                show.second(answered.get(name)),
                sum(_those(_WHOLE, states).values()) if states else days,
                sum(_those(_WHOLE + _OPEN, states).values()) if states else None,
                gaps,
                count or 0,
                rejected or 0,
                show.second(at.get(name, recorded)),
            ]
        )
    columns = ["source", "on", "last_success", "held", "expected", "gaps", "rows", "rejected"]
    return [*columns, "recorded"], rows


def _by_layer(lake: _Lake) -> tuple[Sequence[str], list[Sequence[Any]]]:
    found = lake.ask("partitions", "layers.sql")
    missing = sorted(set(registry.names()) - {row[0] for row in found})
    never = [(name, "never fetched", *[None] * (len(_LAYERS) - 2)) for name in missing]
    return _LAYERS, [*found, *never]


def _switch(name: str, settings: Settings, switched: Iterable[str], states: dict[str, int]) -> str:
    """Say whether a source is on: `on`, `off`, or `no key`."""
    if name not in registry.names():
        return "removed"
    if rollout.by_settings(settings, name) or name in switched:
        return "off"
    # Which keys a source needs is told by its module, which is not loaded here.
    return "no key" if states.get("not_configured") else "on"


def _those(wanted: Iterable[str], states: dict[str, int]) -> dict[str, int]:
    return {state: states[state] for state in wanted if states.get(state)}


COMMANDS = {"status": status}
