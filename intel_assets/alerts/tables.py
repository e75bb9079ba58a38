"""The tables of alerts: what was said, and what became of saying it.

Rows are only ever added. The newest row of an alert, and of a delivery, is the one that counts.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pandera.polars as pa
import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from intel_assets.lakehouse.contracts import Contract, Instant, field
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.storage import storage_errors
from intel_assets.lakehouse.tables import MAX_TRIES, Table

SEVERITIES = ("warning", "critical")
"""The later is the worse."""

STATES = ("open", "worse", "reminded", "resolved")
"""What a row says of its alert: it is new (again), it got worse, it still stands, it is over."""

OUTCOMES = ("begun", "claimed", "failed", "delivered", "given_up")
"""begun: a target is told what comes from here on; claimed: a process is sending; failed: it is
tried again; given_up: it is not."""

_APPLICATION = "intel_assets.alerts"


class AlertRow(pa.DataFrameModel):
    """Something that was said of an alert."""

    rule: pl.String = field("The rule that found it, the partition of this table.")
    alert_id: pl.String = field("Digest of rule, source and subject: names the alert for ever.")
    source: pl.String = field("The source that it is about; empty if it is about none.")
    subject: pl.String = field("What it is about: the source, a disk, a channel.")
    severity: pl.String = field("warning or critical.", isin=SEVERITIES)
    state: pl.String = field("open, worse, reminded (it still stands) or resolved.", isin=STATES)
    message: pl.String = field("What is wrong.", cls="internal")
    advice: pl.String = field("What to do about it.", cls="internal")
    magnitude: pl.Float64 = field("How bad it is, in the rule's own measure.")
    opened_at: Instant = field("When the alert was opened, this time.")
    until: Instant = field("Until when nothing more is said of it unless it gets worse.")
    run_id: pl.String = field("The run that it is about; empty if it is about none.")
    recorded_at: Instant = field("When this row was written: no two of an alert are equal.")


class DeliveryRow(pa.DataFrameModel):
    """What became of telling a target of an alert's row."""

    alert_id: pl.String = field("The alert; empty for `begun`.")
    alert_recorded_at: Instant = field(
        "The row of the alert, by its `recorded_at`; for `begun`, from when on rows are told."
    )
    channel: pl.String = field("slack, webhook or email, the partition of this table.")
    target: pl.String = field("Host or address, without secrets.", cls="internal")
    outcome: pl.String = field("begun, claimed, failed, delivered or given_up.", isin=OUTCOMES)
    attempts: pl.Int64 = field("How often it was tried by then.", ge=0)
    error: pl.String = field("Why it failed.", cls="internal", nullable=True)
    recorded_at: Instant = field("When this row was written.")


ALERTS = Contract(
    "ops", "alerts", AlertRow, "What was said of every alert.", partition_by=("rule",)
)
DELIVERIES = Contract(
    "ops",
    "deliveries",
    DeliveryRow,
    "What became of telling it.",
    partition_by=("channel",),
)

Build = Callable[[pl.DataFrame], pl.DataFrame]


class Ledger:
    """A table to which rows are added that follow from the rows in it.

    Two processes never both add what follows from the same rows: a commit names this application
    as its author (a Delta `txn`), and of two such commits on one version the second fails, is
    read again and decided again. Compaction in between disturbs neither.
    """

    def __init__(self, layout: Layout, contract: Contract) -> None:
        """Name the table."""
        self._table = _Serial(layout, contract)

    def read(self, since: datetime | None = None, always: pl.Expr | None = None) -> pl.DataFrame:
        """Return the rows, oldest first.

        Args:
            since: Only those written after this moment ...
            always: ... and those that meet this condition.
        """
        return self._rows(self._table.open(), since, always)

    def extend(
        self, build: Build, since: datetime | None = None, always: pl.Expr | None = None
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Add what follows from the rows; return the rows as they were, and what was added.

        Args:
            build: Gets the rows as `read` returns them and returns those to add; a pure function,
                called again after a conflict.
            since: As for `read`.
            always: As for `read`.

        Raises:
            WriteConflict: If other writers won every time.
            StorageError: If the lake cannot be read or written.
        """
        before = self._table.contract.empty()

        def follow(table: DeltaTable) -> pl.DataFrame:
            nonlocal before
            before = self._rows(table, since, always)
            return build(before)

        added = self._table.extend(follow)
        return before, added

    def _rows(
        self, table: DeltaTable | None, since: datetime | None, always: pl.Expr | None
    ) -> pl.DataFrame:
        if table is None:
            return self._table.contract.empty()
        recent = pl.lit(True) if since is None else pl.col("recorded_at") > since
        wanted = recent if always is None else recent | always
        return self._table.read_where(wanted, table).sort("recorded_at")


class _Serial(Table):
    """A table whose writers come one after the other."""

    def extend(self, build: Callable[[DeltaTable], pl.DataFrame]) -> pl.DataFrame:
        for attempt in range(MAX_TRIES):
            try:
                # Made also where there is nothing to add, so that it can be asked.
                table = self.open() or self._create()
                rows = self.contract.conform(build(table))
                if rows.is_empty():
                    return rows
                with storage_errors(self.uri):
                    self._commit(table, rows)
            except CommitFailedError as error:
                self._wait(attempt, error)
            else:
                return rows
        raise self._conflict()

    def _commit(self, table: DeltaTable, rows: pl.DataFrame) -> None:
        author = Transaction(_APPLICATION, table.version() + 1)
        write_deltalake(
            table,
            rows,
            mode="append",
            commit_properties=CommitProperties(app_transactions=[author]),
        )


def newest(alerts: pl.DataFrame) -> pl.DataFrame:
    """Return the row of each alert that counts."""
    return alerts.sort("recorded_at").unique("alert_id", keep="last", maintain_order=True)


def target_key() -> pl.Expr:
    """Return what a target is the same by: a webhook that moved is still the webhook."""
    address = pl.format("{} {}", "channel", "target")
    return pl.when(pl.col("channel") == "email").then(address).otherwise("channel")


def standing(layout: Layout) -> pl.DataFrame:
    """Return the newest row of every alert that is not over, the worst and oldest first.

    Raises:
        StorageError: If the lake cannot be read.
    """
    rows = newest(Ledger(layout, ALERTS).read()).filter(pl.col("state") != "resolved")
    return rows.sort(["severity", "opened_at"])


def given_up(layout: Layout, since: datetime) -> pl.DataFrame:
    """Return the deliveries that were given up after a moment, oldest first.

    Raises:
        StorageError: If the lake cannot be read.
    """
    return Ledger(layout, DELIVERIES).read(since).filter(pl.col("outcome") == "given_up")
