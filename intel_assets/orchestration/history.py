"""Dagster's own history: runs and their logs are forgotten when they are old.

Dagster has no retention for them. Which partition stands how, with which data version, and how
its checks came out, Dagster reads from events; with a run its events would go. So a run that holds
the latest event of any asset, partition and kind, or the latest outcome of a check, is kept, and
only its log goes. Runs that have not ended are left alone. Ticks have a retention of their own
(dagster.yaml).

This speaks SQL to Dagster's storage, since there is no call for it: the same on SQLite, where each
run has a file for its log, and on PostgreSQL, where it has none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as db
from dagster import RunsFilter
from dagster._core.events import ASSET_CHECK_EVENTS, EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable as Checks,
)
from dagster._core.storage.event_log.schema import (
    AssetEventTagsTable as Tags,
)
from dagster._core.storage.event_log.schema import (
    SqlEventLogStorageTable as Events,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

AT_ONCE = 500
"""How many runs one call forgets."""

_CHUNK = 100
# Rewriting a file stops whoever writes to it: only where it is worth it, and where it is quick.
_WORTH, _QUICK = 8 * 2**20, 256 * 2**20
_STATUS = [kind.value for kind in EVENT_TYPE_TO_PIPELINE_RUN_STATUS]
_OF_USE = [*_STATUS, *(kind.value for kind in ASSET_CHECK_EVENTS)]


@dataclass(frozen=True)
class Forgotten:
    """What is gone of Dagster's history.

    Attributes:
        runs: Runs that are gone with all their events.
        logs: Runs of which only the log is gone.
        events: Events without a run that later ones replaced.
        freed: Bytes that became free on this machine.
        more: Whether there is more to forget.
    """

    runs: int = 0
    logs: int = 0
    events: int = 0
    freed: int = 0
    more: bool = False


def forget(instance: dg.DagsterInstance, before: datetime, *, most: int = AT_ONCE) -> Forgotten:
    """Forget runs that ended before a moment, their logs, and events without a run.

    Args:
        instance: The instance; others may be using it.
        before: The moment.
        most: How many runs at most, and as many logs.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return Forgotten()
    return _Forgetting(instance, storage, before.astimezone(UTC)).run(most)


class _Forgetting:
    """One call."""

    def __init__(
        self, instance: dg.DagsterInstance, storage: SqlEventLogStorage, before: datetime
    ) -> None:
        self._instance = instance
        self._storage = storage
        # On SQLite, where each run has a file for its log.
        self._files = storage if isinstance(storage, SqliteEventLogStorage) else None
        self._before = before
        # The moments that the storage keeps have no zone.
        self._naive = before.replace(tzinfo=None)
        self._freed = 0

    def run(self, most: int) -> Forgotten:
        latest = self._holding_the_latest()
        ended = self._instance.run_storage.get_run_ids(
            RunsFilter(statuses=list(FINISHED_STATUSES), updated_before=self._before)
        )
        # Oldest first.
        old = [*reversed(ended), *self._strays()]
        gone = [run_id for run_id in old if run_id not in latest]
        with_log = self._with_log([run_id for run_id in old if run_id in latest])
        for chunk in _chunks(gone[:most]):
            self._forget_runs(chunk)
        for chunk in _chunks(with_log[:most]):
            self._forget_logs(chunk)
        return Forgotten(
            runs=min(len(gone), most),
            logs=min(len(with_log), most),
            events=self._forget_runless(),
            freed=self._freed,
            more=max(len(gone), len(with_log)) > most,
        )

    # -- what is kept ----------------------------------------------------------------------------

    def _holding_the_latest(self) -> set[str]:
        """Return the runs that say last how an asset, a partition or a check stands."""
        with self._storage.index_connection() as connection:
            events = connection.execute(
                db.select(Events.c.run_id).where(Events.c.id.in_(_latest_events())).distinct()
            )
            found = {row[0] for row in events}
            checks = connection.execute(
                db.select(Checks.c.run_id).where(Checks.c.id.in_(_latest_checks())).distinct()
            )
            return found | {row[0] for row in checks}

    def _strays(self) -> list[str]:
        """Return what old logs of files belong to that are no runs: landings and replays."""
        if self._files is None:
            return []
        known = set(self._instance.run_storage.get_run_ids())
        return [
            run_id
            for run_id in self._files.get_all_run_ids()
            if run_id not in known
            and not run_id.startswith(".")  # the events without a run
            and Path(self._files.path_for_shard(run_id)).stat().st_mtime < self._before.timestamp()
        ]

    def _with_log(self, kept: Sequence[str]) -> list[str]:
        """Return which of some runs still have a log that can go."""
        if self._files is not None:
            path = self._files.path_for_shard
            return [run_id for run_id in kept if Path(path(run_id)).exists()]
        found: list[str] = []
        with self._storage.index_connection() as connection:
            for chunk in _chunks(kept):
                rows = connection.execute(
                    db.select(Events.c.run_id).where(*_only_log(chunk)).distinct()
                )
                found += [row[0] for row in rows]
        return found

    # -- what goes -------------------------------------------------------------------------------

    def _forget_runs(self, run_ids: Sequence[str]) -> None:
        """Forget runs; one that is cut off in between still has its row, and is met again."""
        with self._storage.index_connection() as connection:
            ids = db.select(Events.c.id).where(Events.c.run_id.in_(run_ids))
            connection.execute(db.delete(Tags).where(Tags.c.event_id.in_(ids)))
            connection.execute(db.delete(Events).where(Events.c.run_id.in_(run_ids)))
            connection.execute(db.delete(Checks).where(Checks.c.run_id.in_(run_ids)))
        for run_id in run_ids:
            self._forget_files(run_id)
            if self._storage.supports_global_concurrency_limits:
                self._storage.free_concurrency_slots_for_run(run_id)
            self._instance.run_storage.delete_run(run_id)

    def _forget_logs(self, run_ids: Sequence[str]) -> None:
        if self._files is None:
            with self._storage.index_connection() as connection:
                connection.execute(db.delete(Events).where(*_only_log(run_ids)))
        for run_id in run_ids:
            self._forget_files(run_id)

    def _forget_files(self, run_id: str) -> None:
        self._instance.compute_log_manager.delete_logs(prefix=[run_id])
        if self._files is None:
            return
        file = self._files.path_for_shard(run_id)
        for part in (Path(file), Path(f"{file}-wal"), Path(f"{file}-shm")):
            with suppress(FileNotFoundError):
                size = part.stat().st_size
                part.unlink()
                self._freed += size
        # Whoever asks for this log again in this process gets an empty one.
        self._files._initialized_dbs.discard(run_id)

    def _forget_runless(self) -> int:
        """Forget old events without a run that are not the latest of their kind."""
        with self._storage.index_connection() as connection:
            gone = (
                Events.c.run_id == RUNLESS_RUN_ID,
                Events.c.timestamp < self._naive,
                Events.c.id.not_in(_latest_events()),
            )
            ids = db.select(Events.c.id).where(*gone)
            connection.execute(db.delete(Tags).where(Tags.c.event_id.in_(ids)))
            count = connection.execute(db.delete(Events).where(*gone)).rowcount
            connection.execute(
                db.delete(Checks).where(
                    Checks.c.run_id == RUNLESS_RUN_ID,
                    Checks.c.evaluation_event_timestamp < self._naive,
                    Checks.c.id.not_in(_latest_checks()),
                )
            )
        if self._files is not None:
            # The file of these events is a log; what counts stands in the index.
            with self._storage.run_connection(RUNLESS_RUN_ID) as connection:
                connection.execute(db.delete(Events).where(Events.c.timestamp < self._naive))
        return int(count)


def shrink(instance: dg.DagsterInstance, *, worth: int = _WORTH) -> int:
    """Give the disk what Dagster's databases do not need any more; return the bytes.

    What was deleted in them leaves room for what comes. A file of SQLite is only rewritten where
    most of it is such room, and where that is quick; one that is busy is left for the next time.

    Args:
        instance: The instance; others may be using it.
        worth: How many bytes make it worth while.
    """
    freed = 0
    for file in _databases(instance):
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(file, timeout=5.0, isolation_level=None)) as connection,
        ):
            pages, unused, size = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
            left = (pages - unused) * size
            if unused * size >= max(worth, left) and left <= _QUICK:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                freed += unused * size
    return freed


def _databases(instance: dg.DagsterInstance) -> list[Path]:
    """Return the files of SQLite that all runs share."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return []
    index, runless = (Path(storage.path_for_shard(name)) for name in ("index", RUNLESS_RUN_ID))
    history = index.parents[1]
    schedules = history.parent / "schedules" / "schedules.db"
    return [file for file in (index, runless, history / "runs.db", schedules) if file.exists()]


def _latest_events() -> Any:
    kind = (Events.c.asset_key, Events.c.dagster_event_type, Events.c.partition)
    return (
        db.select(db.func.max(Events.c.id)).where(Events.c.asset_key.is_not(None)).group_by(*kind)
    )


def _latest_checks() -> Any:
    kind = (Checks.c.asset_key, Checks.c.check_name, Checks.c.partition)
    return db.select(db.func.max(Checks.c.id)).group_by(*kind)


def _only_log(run_ids: Sequence[str]) -> tuple[Any, ...]:
    """Return what picks the events of runs that are lines of a log and no more."""
    kind = Events.c.dagster_event_type
    return (
        Events.c.run_id.in_(run_ids),
        Events.c.asset_key.is_(None),
        db.or_(kind.is_(None), kind.not_in(_OF_USE)),
    )


def _chunks(run_ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (run_ids[at : at + _CHUNK] for at in range(0, len(run_ids), _CHUNK))
