"""Upkeep of Delta tables: small files compacted, files of past versions removed, logs shortened.

Nothing here changes what a table says, now or as of any moment. Neither landing nor the journal
loses anything by it: bodies are kept, and `ops.fetches` is a table whose rows nobody removes.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import obstore
from deltalake import CommitProperties, DeltaTable, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError
from obstore.store import ObjectStore

from intel_assets.clock import Clock, system_clock
from intel_assets.errors import UsageError, WriteConflict
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.storage import storage_errors
from intel_assets.lakehouse.views import TableName

logger = logging.getLogger(__name__)

RETENTION = timedelta(days=30)
"""How long the files of past versions are promised: `--shown-at` reaches back that far."""

MAX_TRIES = 5
_WRITER = WriterProperties(compression="ZSTD", compression_level=1)
_LOG_FILE = re.compile(r"(\d{20})\.(.+)")
_CHECKPOINT = "checkpoint.parquet"
# A long compaction that meets a writer loses what it did since its last commit, not all.
_COMMIT_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Upkeep:
    """What was done to a table.

    Attributes:
        merged: Small files that were merged into larger ones.
        removed: Files of past versions that were removed.
        version: The table's version afterwards; -1 if it could not be opened.
        skipped: Why something was left for the next time; None if nothing was.
    """

    layer: str
    name: str
    merged: int = 0
    removed: int = 0
    version: int = -1
    skipped: str | None = None


def maintain(
    layout: Layout,
    *,
    retention: timedelta = RETENTION,
    shorter: bool = False,
    run_id: str = "",
) -> list[Upkeep]:
    """Compact, vacuum and shorten the log of every table of a lake, or of one tenant in it.

    A table that cannot be read, or whose writers are faster every time, is skipped and logged;
    the others go on.

    Args:
        layout: The lake.
        retention: How long files that no version needs any more are kept.
        shorter: Whether `retention` may be shorter than what is promised.
        run_id: The run that the commits name.

    Raises:
        UsageError: If `retention` is shorter than what is promised.
        StorageError: If the lake cannot be listed or written.
    """
    _check(retention, shorter=shorter)
    done = []
    for name in Catalog(layout).tables():
        upkeep = _maintain_one(layout, name, retention, shorter=shorter, run_id=run_id)
        level = logging.WARNING if upkeep.skipped else logging.INFO
        logger.log(
            level,
            "%s: %d small files merged, %d old ones removed%s",
            name,
            upkeep.merged,
            upkeep.removed,
            f"; skipped: {upkeep.skipped}" if upkeep.skipped else "",
        )
        done.append(upkeep)
    return done


def compact(table: DeltaTable, run_id: str = "") -> int:
    """Merge the small files of each partition; rows, their order and statistics stay.

    A partition that a writer replaces meanwhile is read again. No deletion vectors are made.

    Args:
        table: The table; it stands at its newest version afterwards.
        run_id: The run that the commit names.

    Returns:
        How many files were merged into others.

    Raises:
        WriteConflict: If writers were faster every time.
        StorageError: If the table cannot be written.
    """

    def merge() -> int:
        found = table.optimize.compact(
            min_commit_interval=_COMMIT_EVERY,
            writer_properties=_WRITER,
            commit_properties=_properties(run_id),
        )
        return int(found["numFilesRemoved"])

    return _again(table, merge)


def vacuum(
    table: DeltaTable,
    retention: timedelta = RETENTION,
    *,
    shorter: bool = False,
    run_id: str = "",
) -> int:
    """Remove files that no version inside the retention needs, those of killed writers too.

    Nothing is committed when there is nothing to remove.

    Args:
        table: The table; it stands at its newest version afterwards.
        retention: How long such files are kept.
        shorter: Whether `retention` may be shorter than what is promised. At zero, the files of
            writers under way are removed too: only for a table that nobody writes.
        run_id: The run that the commits name.

    Returns:
        How many files were removed.

    Raises:
        UsageError: If `retention` is shorter than what is promised.
        WriteConflict: If writers were faster every time.
        StorageError: If the table cannot be written.
    """
    _check(retention, shorter=shorter)

    def sweep(*, dry_run: bool) -> list[str]:
        # Lite mode knows only what the log still names: it leaves the files of killed writers,
        # and those whose tombstones a checkpoint has dropped, for ever.
        return table.vacuum(
            retention_hours=int(retention.total_seconds() // 3600),
            enforce_retention_duration=not shorter,
            dry_run=dry_run,
            full=True,
            commit_properties=_properties(run_id),
        )

    def remove() -> int:
        return len(sweep(dry_run=False)) if sweep(dry_run=True) else 0

    return _again(table, remove)


def shorten_log(
    table: DeltaTable,
    log: ObjectStore,
    retention: timedelta = RETENTION,
    clock: Clock = system_clock,
) -> int:
    """Remove the log of versions that stood before the retention began; write a checkpoint.

    The log is cut at the newest checkpoint that is older than the retention: the version that
    stood at its beginning can still be shown. (Delta's own cleanup cuts at the newest checkpoint
    of all, and then a version that stood until yesterday is gone.) So that there is one to cut
    at, a version without a checkpoint gets one.

    Args:
        table: The table.
        log: Its `_delta_log`.
        retention: How long past versions can be shown.
        clock: Says now.

    Returns:
        How many files of the log were removed.

    Raises:
        StorageError: If the log cannot be written.
    """
    began = clock() - retention
    with storage_errors(table.table_uri):
        found = [
            (int(name[1]), name[2], entry)
            for batch in obstore.list(log)
            for entry in batch
            if (name := _LOG_FILE.fullmatch(entry["path"]))
        ]
        checkpoints = {version: entry for version, kind, entry in found if kind == _CHECKPOINT}
        if table.version() not in checkpoints:
            table.create_checkpoint()
        old = [v for v, entry in checkpoints.items() if entry["last_modified"] < began]
        gone = [entry["path"] for version, _, entry in found if old and version < max(old)]
        obstore.delete(log, sorted(gone))
    return len(gone)


def _maintain_one(
    layout: Layout, name: TableName, retention: timedelta, *, shorter: bool, run_id: str
) -> Upkeep:
    uri = layout.table_uri(*name)
    merged = removed = 0
    version = -1
    try:
        with storage_errors(uri):
            table = DeltaTable(uri, storage_options=dict(layout.storage_options) or None)
        version = table.version()
        merged = compact(table, run_id)
        removed = vacuum(table, retention, shorter=shorter, run_id=run_id)
        shorten_log(table, layout.store(f"{uri}/_delta_log"))
    except (DeltaError, WriteConflict) as error:
        why = str(error).strip().partition("\n")[0]
        return Upkeep(name.layer, name.name, merged, removed, version, why)
    return Upkeep(name.layer, name.name, merged, removed, table.version())


def _again(table: DeltaTable, work: Callable[[], int]) -> int:
    """Do something to the newest version of a table, redone when a writer was faster."""
    for attempt in range(MAX_TRIES):
        try:
            with storage_errors(table.table_uri):
                table.update_incremental()
                return work()
        except CommitFailedError as error:
            logger.info("%s: a writer was faster, again: %s", table.table_uri, error)
            time.sleep(random.uniform(0, min(2.0, 0.1 * 2**attempt)))  # noqa: S311  (jitter)
    raise WriteConflict(
        f"{table.table_uri}: writers won {MAX_TRIES} times.", "Do it again when they are done."
    )


def _check(retention: timedelta, *, shorter: bool) -> None:
    if retention < RETENTION and not shorter:
        raise UsageError(
            f"Past versions are promised for {RETENTION.days} days.", "Ask for no less."
        )


def _properties(run_id: str) -> CommitProperties:
    return CommitProperties({"run_id": run_id} if run_id else {})
