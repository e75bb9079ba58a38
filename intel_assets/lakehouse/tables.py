"""Reading and writing Delta tables: whole partitions at a time, nothing lost, nothing twice.

Every write goes through the table object that its data was read from, and the whole read, merge
and write is redone when another writer was faster. There is no overwrite without a predicate.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import polars as pl
import pyarrow as arrow
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from intel_assets.errors import WriteConflict
from intel_assets.lakehouse.contracts import Contract, delta_field
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.storage import storage_errors

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_TRIES = 12
# Measured: a predicate of more than 20 alternatives conflicts with disjoint new partitions.
MAX_RANGES = 20
LOOKED_AT = 10_000
_CONFIGURATION = {
    "delta.logRetentionDuration": "interval 30 days",
    "delta.deletedFileRetentionDuration": "interval 30 days",
    # Measured: it also drops the version that stood when the retention began (maintenance.py).
    "delta.enableExpiredLogCleanup": "false",
}


@dataclass(frozen=True)
class Commit:
    """A commit to a table, or the finding that none was needed.

    Attributes:
        version: The table's version after it; -1 if the table does not exist.
        written: Whether there was anything to write.
    """

    version: int
    written: bool


@dataclass(frozen=True)
class Change:
    """Partitions to replace: every row of `frame` lies in one of `days`."""

    frame: pl.DataFrame
    days: Sequence[date]


@dataclass(frozen=True)
class Rewrite:
    """Rows to write, and which of the stored rows they replace.

    Attributes:
        rows: The rows, in the contract's types; a reader's are written as they come, so that they
            need not fit into memory.
        where: Over the partition columns: the stored rows that go. None: nothing goes.
        seen: What of other tables was taken in: a version for each name. It stands with the rows
            or not at all, and a commit that was made with another of the same name conflicts.
        writer: How the files are written; as for any frame if left out.
    """

    rows: pl.DataFrame | arrow.RecordBatchReader
    where: str | None
    seen: Mapping[str, int] = field(default_factory=dict)
    writer: WriterProperties | None = None


class _LocalTable(DeltaTable):
    """A table in a folder: Delta quotes its paths like URLs, Polars opens what it is given."""

    @property
    def table_uri(self) -> str:
        return unquote(super().table_uri)

    def file_uris(self, *args: Any, **kwargs: Any) -> list[str]:
        return [unquote(uri) for uri in super().file_uris(*args, **kwargs)]


class Table:
    """One table of a lake, named by its contract."""

    def __init__(self, layout: Layout, contract: Contract) -> None:
        """Name a table; nothing is read yet."""
        self.contract = contract
        self._layout = layout
        self.uri = layout.table_uri(contract.layer, contract.name)
        self._options = dict(layout.storage_options) or None

    def open(self) -> DeltaTable | None:
        """Return the table as it stands, or None if it was never written."""
        try:
            with storage_errors(self.uri):
                kind = DeltaTable if "://" in self.uri else _LocalTable
                return kind(self.uri, storage_options=self._options)
        except TableNotFoundError:
            return None

    def read(
        self, days: Iterable[date] | None = None, at: DeltaTable | None = None
    ) -> pl.DataFrame:
        """Return the rows of some days, all versions, in the contract's types.

        Args:
            days: The days; None for all.
            at: The table object to read from; the newest if left out.
        """
        if days is None:
            return self.read_where(pl.lit(True), at)
        wanted = sorted(set(days))
        if not wanted:
            return self.contract.empty()
        within = pl.col("day").is_between(wanted[0], wanted[-1])
        return self.read_where(within & pl.col("day").is_in(wanted), at)

    def read_where(self, condition: pl.Expr, at: DeltaTable | None = None) -> pl.DataFrame:
        """Return the rows that meet a condition, in the contract's types."""
        table = at or self.open()
        if table is None:
            return self.contract.empty()
        with storage_errors(self.uri):
            frame = pl.scan_delta(table, storage_options=self._options).filter(condition).collect()
        return self.contract.conform(frame)

    def read_columns(
        self, columns: Sequence[str], condition: pl.Expr, at: DeltaTable | None = None
    ) -> pl.DataFrame:
        """Return some columns of the rows that meet a condition, in the contract's types.

        Columns that the table was made without are null.
        """
        wanted = pl.Schema({name: self.contract.schema[name] for name in columns})
        table = at or self.open()
        if table is None:
            return pl.DataFrame(schema=wanted)
        with storage_errors(self.uri):
            lazy = pl.scan_delta(table, storage_options=self._options).filter(condition)
            held = set(lazy.collect_schema())
            absent = [
                pl.lit(None, wanted[name]).alias(name) for name in columns if name not in held
            ]
            return lazy.with_columns(absent).select(columns).cast(wanted).collect()

    def drop_missing(self) -> int:
        """Take files out of the log that are not there any more; return how many there were.

        Without them the table can be read, and their partitions be written, again.
        """
        table = self.open()
        if table is None:
            return 0
        with storage_errors(self.uri):
            named = pl.DataFrame(table.get_add_actions(flatten=True))["path"]
            gone = set(named) - self._files()
            if gone:
                table.repair()
        return len(gone)

    def _files(self) -> set[str]:
        """Return the data files that are there, as the log names them."""
        if "://" not in self.uri:
            root = Path(self.uri)
            return {file.relative_to(root).as_posix() for file in root.rglob("*.parquet")}
        listed = self._layout.store(self.uri).list()
        return {found["path"] for batch in listed for found in batch}

    def days_present(self) -> set[date]:
        """Return the days that have at least one file."""
        table = self.open()
        if table is None:
            return set()
        # Ten times as quick as `partitions()`, which makes a Python object for each file.
        days = pl.DataFrame(table.get_add_actions(flatten=True))["partition.day"]
        return set(days.cast(pl.String).str.to_date().unique())

    def append(self, frame: pl.DataFrame, commit: Mapping[str, str]) -> Commit:
        """Add rows.

        Args:
            frame: Rows in the contract's types.
            commit: What the commit says of itself (`run_id`, `source`, `code_version`).

        Raises:
            WriteConflict: If other writers won every time.
            StorageError: If the lake cannot be written.
        """
        if frame.is_empty():
            return Commit(-1, written=False)
        for attempt in range(MAX_TRIES):
            try:
                return self._append(frame, commit)
            except CommitFailedError as error:
                # Rows never conflict with rows; two writers that make the table at once do.
                self._wait(attempt, error)
        raise self._conflict()

    def replace_partitions(
        self, build: Callable[[DeltaTable | None], Change | None], commit: Mapping[str, str]
    ) -> Commit:
        """Read, merge and replace whole partitions, redone when another writer was faster.

        Args:
            build: Gets the table as it stands and returns what to write, or None for nothing.
                It is called again after a conflict, so it must read everything it needs anew.
            commit: What the commit says of itself.

        Raises:
            WriteConflict: If other writers won every time.
            StorageError: If the lake cannot be written.
        """

        def attempt(table: DeltaTable | None) -> Commit:
            change = build(table)
            if change is None or not change.days:
                return Commit(table.version() if table else -1, written=False)
            return self.rewrite(table, self._of_days(change), commit)

        return self.redone(attempt)

    def redone(self, work: Callable[[DeltaTable | None], T]) -> T:
        """Do work on the table as it stands, again from its start when another writer was faster.

        Args:
            work: Gets the table; it must read everything it needs anew, and write with `rewrite`.

        Raises:
            WriteConflict: If other writers won every time.
        """
        for attempt in range(MAX_TRIES):
            try:
                return work(self.open())
            except CommitFailedError as error:
                self._wait(attempt, error)
        raise self._conflict()

    def rewrite(
        self, table: DeltaTable | None, change: Rewrite, commit: Mapping[str, str]
    ) -> Commit:
        """Write rows through the table object that what they were made of was read from.

        Args:
            table: The table as it was read; None makes it. It stands at the commit afterwards.
            change: The rows, and what they replace.
            commit: What the commit says of itself.

        Raises:
            CommitFailedError: If another writer was faster; for use within `redone`.
            StorageError: If the lake cannot be written.
        """
        if table is None:
            table = self._create()
            if table.version():
                raise CommitFailedError("another writer's first rows stand in it: build on them")
        rows, writer = change.rows, change.writer
        if isinstance(rows, pl.DataFrame):
            rows = self.contract.conform(rows)
            writer = writer or writer_of(rows)
            self._add_columns(table, rows)
            rows = _filled(rows, table)
        how: dict[str, Any] = {
            "writer_properties": writer,
            "commit_properties": CommitProperties(
                dict(commit), app_transactions=[Transaction(*one) for one in change.seen.items()]
            ),
        }
        with storage_errors(self.uri):
            if change.where is None:
                write_deltalake(table, rows, mode="append", **how)
            else:
                write_deltalake(table, rows, mode="overwrite", predicate=change.where, **how)
        return Commit(table.version(), written=True)

    def _wait(self, attempt: int, error: CommitFailedError) -> None:
        pause = random.uniform(0, min(2.0, 0.05 * 2**attempt))  # noqa: S311  (jitter)
        logger.info("%s: another writer was faster, again: %s", self.uri, error)
        time.sleep(pause)

    def _conflict(self) -> WriteConflict:
        return WriteConflict(
            f"{self.uri}: other writers won {MAX_TRIES} times.",
            "Run it again; if it stays, see which runs write the same days.",
        )

    def _append(self, frame: pl.DataFrame, commit: Mapping[str, str]) -> Commit:
        table = self.open() or self._create()
        with storage_errors(self.uri):
            write_deltalake(
                table,
                _filled(self.contract.conform(frame), table),
                mode="append",
                writer_properties=writer_of(self.contract.conform(frame)),
                commit_properties=CommitProperties(dict(commit)),
            )
        return Commit(table.version(), written=True)

    def _of_days(self, change: Change) -> Rewrite:
        frame = self.contract.conform(change.frame)
        outside = frame.filter(~pl.col("day").is_in(list(change.days)).fill_null(False)).height
        if outside:
            raise ValueError(f"{self.uri}: {outside} rows lie outside the days to replace")
        ranges = day_ranges(change.days)
        if len(ranges) > MAX_RANGES:
            raise ValueError(f"{self.uri}: {len(ranges)} ranges of days in one commit")
        return Rewrite(frame, where_days(ranges))

    def _create(self) -> DeltaTable:
        contract = self.contract
        with storage_errors(self.uri):
            return DeltaTable.create(
                self.uri,
                contract.delta_schema(),
                mode="ignore",
                partition_by=list(contract.partition_by),
                name=contract.name,
                description=contract.description,
                configuration=_CONFIGURATION,
                storage_options=self._options,
            )

    def _add_columns(self, table: DeltaTable, frame: pl.DataFrame) -> None:
        known = {field.name for field in table.schema().fields}
        new = [name for name in frame.columns if name not in known]
        if not new:
            return
        descriptions, classes = self.contract.descriptions, self.contract.classes
        table.alter.add_columns(
            [
                delta_field(
                    name,
                    frame.schema[name],
                    descriptions.get(name, "New in the source."),
                    classes.get(name, "public"),
                )
                for name in new
            ]
        )


def _filled(frame: pl.DataFrame, table: DeltaTable) -> pl.DataFrame:
    """Add the columns that only other rows of the table fill, as nulls."""
    columns = pl.Schema(table.schema().to_arrow())
    absent = [pl.lit(None, columns[c]).alias(c) for c in columns if c not in frame.columns]
    return frame.with_columns(absent)


def writer_of(frame: pl.DataFrame) -> WriterProperties:
    """Return how a frame is written: no dictionary for texts of which few occur twice.

    Measured: collecting one that cannot help takes a fifth of the time and a tenth of the space.
    """
    head = frame.head(LOOKED_AT)
    texts = [name for name, dtype in head.schema.items() if dtype == pl.String]
    distinct = [name for name in texts if head[name].n_unique() > head.height / 2]
    plain = ColumnProperties(dictionary_enabled=False)
    return WriterProperties(
        compression="ZSTD",
        compression_level=1,
        column_properties=dict.fromkeys(distinct, plain),
    )


def where_days(ranges: Iterable[tuple[date, date]]) -> str:
    """Return the predicate of ranges of days."""
    return " OR ".join(
        f"(day >= DATE '{first}' AND day <= DATE '{last}')" for first, last in ranges
    )


def day_ranges(days: Iterable[date]) -> list[tuple[date, date]]:
    """Return days as ranges without holes, oldest first."""
    ranges: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if ranges and day - ranges[-1][1] == timedelta(days=1):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def batches(days: Iterable[date], weights: Mapping[date, int], most: int) -> list[list[date]]:
    """Divide days into batches that one commit can take.

    A batch holds at most 30 days and, unless a single day is larger, at most `most` in weight;
    and however few of its days turn out to have changed, they make at most `MAX_RANGES` ranges.

    Args:
        days: The days.
        weights: Rows of each day; days that are missing weigh nothing.
        most: Rows in a batch.
    """
    found: list[list[date]] = []
    weight = 0
    for day in sorted(set(days)):
        current = found[-1] if found else None
        if (
            current is None
            or len(current) >= 30
            or weight + weights.get(day, 0) > most
            or sum((1 + (b - a).days + 1) // 2 for a, b in day_ranges([*current, day])) > MAX_RANGES
        ):
            found.append([])
            weight = 0
        found[-1].append(day)
        weight += weights.get(day, 0)
    return found
