"""Upkeep of Delta tables: small files compacted, files of past versions removed, logs shortened.

Nothing here changes what a table says, now or as of any moment. The journal loses nothing by it:
`ops.fetches` is a table whose rows nobody removes. Bodies are the matter of sources/retention.py.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import obstore
import polars as pl
from deltalake import CommitProperties, DeltaTable, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from intel_assets.clock import Clock, system_clock
from intel_assets.errors import IntelError, UsageError, WriteConflict
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.storage import storage_errors
from intel_assets.lakehouse.tables import LOOKED_AT, writer_of
from intel_assets.lakehouse.views import TableName

logger = logging.getLogger(__name__)

RETENTION = timedelta(days=30)
"""How long the files of past versions are promised: `--shown-at` reaches back that far."""

MOST_FILES = 4
"""A partition of more files than that is compacted."""

MAX_TRIES = 5
T = TypeVar("T")
_LOG_FILE = re.compile(r"(\d{20})\.(.+)")
_CHECKPOINT = "checkpoint.parquet"
# Files below that size are small; it is Delta's own default.
_SMALL = 100 * 2**20
# A long compaction that meets a writer loses what it did since its last commit, not all.
_COMMIT_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Removed:
    """Files that were removed, and their bytes."""

    files: int = 0
    bytes: int = 0


@dataclass
class Upkeep:
    """What was done to a table.

    Attributes:
        before: Files that the table consisted of.
        after: Files that it consists of now.
        merged: Small files that were merged into larger ones.
        removed: Files of past versions that were removed.
        freed: Their bytes, and those of the log that was cut off.
        version: The table's version afterwards; -1 if it could not be opened.
        skipped: Why something was left for the next time; None if nothing was.
    """

    layer: str
    name: str
    before: int = 0
    after: int = 0
    merged: int = 0
    removed: int = 0
    freed: int = 0
    version: int = -1
    skipped: str | None = None


def maintain(
    layout: Layout,
    *,
    retention: timedelta = RETENTION,
    shorter: bool = False,
    most: int = MOST_FILES,
    run_id: str = "",
) -> list[Upkeep]:
    """Compact, vacuum and shorten the log of every table of a lake, or of one tenant in it.

    A table that cannot be read or written, or whose writers are faster every time, is skipped and
    logged; the others go on.

    Args:
        layout: The lake.
        retention: How long files that no version needs any more are kept.
        shorter: Whether `retention` may be shorter than what is promised.
        most: A partition of more files than that is compacted.
        run_id: The run that the commits name.

    Raises:
        UsageError: If `retention` is shorter than what is promised.
        StorageError: If the lake cannot be listed.
    """
    _check(retention, shorter=shorter)
    done = []
    for name in Catalog(layout).tables():
        upkeep = _maintain_one(layout, name, retention, shorter=shorter, most=most, run_id=run_id)
        level = logging.WARNING if upkeep.skipped else logging.INFO
        logger.log(
            level,
            "%s: %d files, were %d, %d small ones merged, %d old ones removed, %d bytes freed%s",
            name,
            upkeep.after,
            upkeep.before,
            upkeep.merged,
            upkeep.removed,
            upkeep.freed,
            f"; skipped: {upkeep.skipped}" if upkeep.skipped else "",
        )
        done.append(upkeep)
    return done


def compact(table: DeltaTable, run_id: str = "", *, most: int = MOST_FILES) -> int:
    """Merge small files in each partition that has too many; rows, order and statistics stay.

    The largest files of a partition are left alone while they outweigh the others: what grows by
    small files is not written anew as a whole every time, and past versions, which are kept for a
    month, stay small. A partition that a writer replaces meanwhile is read again. No deletion
    vectors are made.

    Args:
        table: The table; it stands at its newest version afterwards.
        run_id: The run that the commits name.
        most: How many files a partition may have.

    Returns:
        How many files were merged into others.

    Raises:
        WriteConflict: If writers were faster every time.
        StorageError: If the table cannot be written.
    """
    merged = 0

    def merge() -> int:
        nonlocal merged
        for target, partitions in _crowded(table, most):
            found = table.optimize.compact(
                partitions,
                target,
                min_commit_interval=_COMMIT_EVERY,
                writer_properties=_as_written(table, partitions),
                commit_properties=_properties(run_id),
            )
            merged += int(found["numFilesRemoved"])
        return merged

    return _again(table, merge)


def vacuum(
    table: DeltaTable,
    files: ObjectStore,
    retention: timedelta = RETENTION,
    *,
    shorter: bool = False,
    run_id: str = "",
) -> Removed:
    """Remove files that no version inside the retention needs, those of killed writers too.

    Nothing is committed when there is nothing to remove.

    Args:
        table: The table; it stands at its newest version afterwards.
        files: Its folder.
        retention: How long such files are kept.
        shorter: Whether `retention` may be shorter than what is promised. At zero, the files of
            writers under way are removed too: only for a table that nobody writes.
        run_id: The run that the commits name.

    Returns:
        The files.

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

    def remove() -> Removed:
        if not sweep(dry_run=True):
            return Removed()
        before = _sizes(files)
        return _sum(before.get(path, 0) for path in sweep(dry_run=False))

    return _again(table, remove)


def shorten_log(
    table: DeltaTable,
    log: ObjectStore,
    retention: timedelta = RETENTION,
    clock: Clock = system_clock,
) -> Removed:
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
        The files of the log.

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
        gone = [entry for version, _, entry in found if old and version < max(old)]
        obstore.delete(log, sorted(entry["path"] for entry in gone))
    return _sum(entry["size"] for entry in gone)


def _maintain_one(
    layout: Layout,
    name: TableName,
    retention: timedelta,
    *,
    shorter: bool,
    most: int,
    run_id: str,
) -> Upkeep:
    uri = layout.table_uri(*name)
    done = Upkeep(name.layer, name.name)
    with _skipping(done):
        with storage_errors(uri):
            table = DeltaTable(uri, storage_options=dict(layout.storage_options) or None)
        done.before = done.after = _files(table).height
        # Each by itself: where a full disk stops the first, the second makes room.
        with _skipping(done):
            done.merged = compact(table, run_id, most=most)
        with _skipping(done):
            gone = vacuum(table, layout.store(uri), retention, shorter=shorter, run_id=run_id)
            done.removed, done.freed = gone.files, gone.bytes
        with _skipping(done):
            done.freed += shorten_log(table, layout.store(f"{uri}/_delta_log")).bytes
        done.after, done.version = _files(table).height, table.version()
    return done


@contextmanager
def _skipping(done: Upkeep) -> Iterator[None]:
    """Note what a table cannot have done to it, and go on."""
    try:
        yield
    except (DeltaError, IntelError, OSError, BaseError) as error:
        done.skipped = done.skipped or str(error).strip().partition("\n")[0]


def _crowded(table: DeltaTable, most: int) -> list[tuple[int, list[Any] | None]]:
    """Return which partitions have too many files, each with the size above which files stay."""
    columns = table.metadata().partition_columns
    keys = [pl.col(f"partition.{column}").cast(pl.String) for column in columns] or [pl.lit("")]
    found: dict[tuple[int, tuple[object, ...]], list[object]] = {}
    for values, part in _files(table).group_by(keys, maintain_order=True):
        if part.height > most:
            size = _stay_from(sorted(part["size_bytes"], reverse=True), most)
            # Those that differ in the last column alone go together, in one commit.
            found.setdefault((size, values[:-1]), []).append(values[-1])
    return [
        (
            size,
            [
                *((column, "=", value) for column, value in zip(columns, first, strict=False)),
                *((column, "in", last) for column in columns[-1:]),
            ]
            or None,
        )
        for (size, first), last in found.items()
    ]


def _as_written(table: DeltaTable, partitions: list[Any] | None) -> WriterProperties:
    """Return how the rows of some partitions are written anew: as a writer of them would."""
    dataset = table.to_pyarrow_dataset(file_pruning_predicate=partitions)
    scanner = dataset.scanner(batch_size=LOOKED_AT, batch_readahead=0, fragment_readahead=0)
    return writer_of(pl.DataFrame(scanner.head(LOOKED_AT)))


def _stay_from(sizes: list[int], most: int) -> int:
    """Return the size from which files of a partition are left alone.

    Args:
        sizes: Their sizes, largest first.
        most: How many may be left.
    """
    for kept in range(most - 1, 0, -1):
        if sizes[kept - 1] >= sum(sizes[kept:]):
            return sizes[kept - 1]
    # Files are filled in a row up to that size: two neighbours exceed it, so they are few enough.
    return max(_SMALL, 2 * sum(sizes) // most + 1)


def _files(table: DeltaTable) -> pl.DataFrame:
    return pl.DataFrame(table.get_add_actions(flatten=True))


def _sizes(store: ObjectStore) -> dict[str, int]:
    return {entry["path"]: entry["size"] for batch in obstore.list(store) for entry in batch}


def _sum(sizes: Iterable[int]) -> Removed:
    found = list(sizes)
    return Removed(len(found), sum(found))


def _again(table: DeltaTable, work: Callable[[], T]) -> T:
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
