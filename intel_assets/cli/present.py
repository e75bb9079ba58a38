"""How things stand at this moment, for commands that look: an assessment, and what runs do.

What Dagster knows is read from its own SQLite files, because importing Dagster takes longer than
the look. Another storage than SQLite answers nothing here.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from intel_assets.clock import Clock, system_clock
from intel_assets.lakehouse.format import check_format
from intel_assets.settings import Settings
from intel_assets.world import world_clock

if TYPE_CHECKING:
    from intel_assets.coverage.assess import Assessment
    from intel_assets.sources.spec import SourceSpec

_FRESH = timedelta(minutes=5)
"""A daemon that lives says so every half minute."""
_SLOW = timedelta(minutes=30)
"""A sensor or schedule that works for long says nothing meanwhile: Dagster's own patience."""
_OURS = ("SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR")

_HEARTBEATS = "SELECT daemon_type, timestamp FROM daemon_heartbeats"
_RUNS = """
    SELECT runs.run_id, run_tags.key, run_tags.value
    FROM runs JOIN run_tags ON run_tags.run_id = runs.run_id
    WHERE runs.status IN ('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')
"""
_FIRST = ("dagster/asset_partition_range_start", "dagster/partition")
_LAST = ("dagster/asset_partition_range_end", "dagster/partition")


@dataclass(frozen=True)
class Daemon:
    """Whether Dagster's daemon lives.

    Attributes:
        state: `unknown` if its storage is none that can be read here.
        seen: Its last sign of life.
    """

    state: Literal["alive", "dead", "never started", "unknown"]
    seen: datetime | None = None


def look(
    settings: Settings, specs: Sequence[SourceSpec], *, everything: bool = False
) -> Assessment:
    """Say how every expected day of some sources stands now.

    Args:
        settings: Where the lake is.
        specs: The sources.
        everything: Whether to expect also what lies before `INTEL_HISTORY_FROM`.

    Raises:
        StorageError: If the lake cannot be read.
        ConfigurationError: If the settings name a source that there is not.
    """
    import polars as pl

    from intel_assets.coverage.assess import assess
    from intel_assets.coverage.states import RUNNING
    from intel_assets.engine import sources_off

    check_format(settings.layout)
    return assess(
        settings.layout,
        specs,
        world_clock(settings)(),
        off=sources_off(settings, specs),
        running=pl.DataFrame(running(settings), schema=RUNNING, orient="row"),
        since=None if everything else settings.history_from,
    )


def running(settings: Settings) -> list[tuple[str, date, date]]:
    """Return the ranges of days that runs are at."""
    tags: dict[str, dict[str, str]] = {}
    for run, key, value in _rows(settings, _RUNS) or ():
        tags.setdefault(run, {})[key] = value
    return [found for one in tags.values() if (found := _range(one)) is not None]


def daemon(settings: Settings, clock: Clock = system_clock) -> Daemon:
    """Say whether Dagster's daemon lives. It goes by the machine's clock in any mode."""
    if not _database(settings).exists():
        return Daemon("unknown" if _storage(settings).exists() else "never started")
    rows = _rows(settings, _HEARTBEATS)
    if rows is None:
        return Daemon("unknown")
    if not rows:
        return Daemon("never started")
    seen = {kind: datetime.fromisoformat(at).replace(tzinfo=UTC) for kind, at in rows}
    newest, now = max(seen.values()), clock()
    silent = [at for kind, at in seen.items() if kind in _OURS and now - at > _SLOW]
    return Daemon("dead" if silent or now - newest > _FRESH else "alive", newest)


def _range(tags: Mapping[str, str]) -> tuple[str, date, date] | None:
    first = next((tags[name] for name in _FIRST if name in tags), None)
    last = next((tags[name] for name in _LAST if name in tags), None)
    if "source" not in tags or first is None or last is None:
        return None
    try:
        return tags["source"], date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        return None


def _storage(settings: Settings) -> Path:
    # As orchestration.instance has it, which imports Dagster.
    own = "dagster" if settings.tenant is None else f"dagster-{settings.tenant}"
    return Path(os.environ.get("INTEL_DAGSTER_STORAGE") or settings.state.absolute() / own)


def _database(settings: Settings) -> Path:
    return _storage(settings) / "history" / "runs.db"


def _rows(settings: Settings, query: str) -> list[tuple[str, ...]] | None:
    """Ask Dagster's file of runs; None if there is none, or it is of another shape."""
    file = _database(settings)
    if not file.exists():
        return None
    try:
        with _opened(file) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.Error:
        return None


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=2.0)
    try:
        yield connection
    finally:
        connection.close()
