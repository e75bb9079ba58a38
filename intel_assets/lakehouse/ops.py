"""The lake's own records: which requests were made, and what every partition came to.

`ops.fetches` is the journal that raw is folded from: a request stands in it before anything of
its body is written to raw, and stands in it again, with its counts, once it is folded. The first
row alone is a body that still waits to be folded; the next run folds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, Instant, field
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Table


class FetchRow(pa.DataFrameModel):
    """A request and its answer; again with its counts when its body was folded."""

    source: pl.String = field("The source that was asked, the partition.")
    fetch_id: pl.String = field("Identifies the request; sorts as `received_at` does.")
    window_first: pl.Date = field("First day asked for.")
    window_last: pl.Date = field("Last day asked for.")
    url: pl.String = field("Address, with its secrets masked; a path for a landed file.")
    outcome: pl.String = field(
        "fetched, not_modified (304), landed (by hand), not_published (404) or failed."
    )
    status: pl.Int64 = field("HTTP status of the last answer.", nullable=True)
    attempts: pl.Int64 = field("Requests made, retries included.")
    bytes: pl.Int64 = field("Size of the body as received, in bytes.")
    body_sha256: pl.String = field("The body in landing.", nullable=True)
    etag: pl.String = field("The answer's ETag.", nullable=True)
    last_modified: pl.String = field("The answer's Last-Modified.", nullable=True)
    content_type: pl.String = field("The answer's Content-Type.", nullable=True)
    started_at: Instant = field("When the first attempt began.")
    received_at: Instant = field("When the body was complete: the known time of what it says.")
    seconds: pl.Float64 = field("From start to end, in seconds, waits included.")
    error_class: pl.String = field("Kind of failure.", nullable=True)
    error: pl.String = field("What failed.", nullable=True)
    covers_from: Instant = field("First moment that the body speaks of.", nullable=True)
    covers_to: Instant = field("Where what the body speaks of ends, exclusive.", nullable=True)
    answers_from: Instant = field(
        "First moment that is answered now: of a page, nothing or its whole pass; null where that "
        "is what the body speaks of.",
        nullable=True,
    )
    answers_to: Instant = field("Where what is answered ends, exclusive.", nullable=True)
    parsed: pl.Int64 = field("Records in the body.", nullable=True)
    added: pl.Int64 = field("Records not known before.", nullable=True)
    changed: pl.Int64 = field("Records known in another version.", nullable=True)
    unchanged: pl.Int64 = field("Records known in this version.", nullable=True)
    duplicates: pl.Int64 = field("Records that stood in the body twice.", nullable=True)
    withdrawn: pl.Int64 = field("Records that held, and are gone.", nullable=True)
    folded_at: Instant = field("When the body was folded into raw.", nullable=True)
    recorded_at: Instant = field("When this row was written.")
    run_id: pl.String = field("The run that made the request, or folded it.")


class PartitionRow(pa.DataFrameModel):
    """What a partition came to, one row each time that changed."""

    source: pl.String = field("The source, the partition of this table.")
    layer: pl.String = field("raw, cleaned, quarantine or aggregated.")
    name: pl.String = field("The table's name.")
    day: pl.Date = field("The partition.")
    state: pl.String = field(
        "complete, empty, missing (not published), rejected, not_covered or failed."
    )
    rows: pl.Int64 = field("Rows that hold.", nullable=True)
    rejected: pl.Int64 = field("Rows in quarantine that hold.", nullable=True)
    digest: pl.String = field("Digest of the content, for comparing.", nullable=True)
    delta_version: pl.Int64 = field("The Delta version it stands in.", nullable=True)
    code_version: pl.String = field("The version of the source's code.")
    message: pl.String = field("What went wrong, if anything did.", nullable=True)
    run_id: pl.String = field("The run.")
    recorded_at: Instant = field("When.")


class CheckRow(pa.DataFrameModel):
    """How a check of a day came out, one row each time that changed."""

    source: pl.String = field("The source, the partition of this table.")
    day: pl.Date = field("The day.")
    layer: pl.String = field("The layer that was looked at.")
    name: pl.String = field("The check.")
    passed: pl.Boolean = field("Whether it passed.")
    severity: pl.String = field("error or warn.")
    description: pl.String = field("What was found.")
    value: pl.Float64 = field("What was measured, if it is a number.", nullable=True)
    usual: pl.Float64 = field("What is usual.", nullable=True)
    run_id: pl.String = field("The run.")
    recorded_at: Instant = field("When.")


FETCHES = Contract(
    "ops", "fetches", FetchRow, "Every request and its answer.", partition_by=("source",)
)
PARTITIONS = Contract(
    "ops", "partitions", PartitionRow, "What every partition came to.", partition_by=("source",)
)
CHECKS = Contract(
    "ops", "checks", CheckRow, "How the checks of every day came out.", partition_by=("source",)
)


@dataclass(frozen=True)
class PartitionState:
    """What a partition of a table came to."""

    layer: str
    name: str
    day: date
    state: str
    rows: int | None = None
    rejected: int | None = None
    digest: str | None = None
    delta_version: int | None = None
    message: str | None = None


@dataclass(frozen=True)
class CheckOutcome:
    """How a check of a day came out."""

    day: date
    layer: str
    name: str
    passed: bool
    severity: str
    description: str
    value: float | None = None
    usual: float | None = None


class Journal:
    """The rows of one source in `ops.fetches`, `ops.partitions` and `ops.checks`."""

    def __init__(self, layout: Layout, source: str) -> None:
        """Name the source."""
        self.source = source
        self._fetches = Table(layout, FETCHES)
        self._partitions = Table(layout, PARTITIONS)
        self._checks = Table(layout, CHECKS)

    def record_fetches(self, rows: Sequence[Mapping[str, object]], run_id: str) -> None:
        """Write rows of `ops.fetches`."""
        if rows:
            frame = pl.DataFrame(rows, schema_overrides=FETCHES.schema, infer_schema_length=None)
            frame = frame.select(
                pl.col(c).cast(t) for c, t in FETCHES.schema.items() if c in frame.columns
            )
            self._fetches.append(frame, {"run_id": run_id, "source": self.source})

    def fetches(self) -> pl.DataFrame:
        """Return one row for each request: the first with its counts once it is folded.

        Until then the newest: a body that could not be parsed may be understood later. They come
        in the order received; at one moment the one that reaches further comes later, else in the
        order of their digests, so that it does not matter which entered the lake first.
        """
        rows = self._fetches.read_where(pl.col("source") == self.source)
        return (
            rows.sort("recorded_at", descending=True)
            .sort("folded_at", nulls_last=True, maintain_order=True)
            .unique("fetch_id", keep="first", maintain_order=True)
            .sort("received_at", "covers_to", "body_sha256", "fetch_id")
        )

    def record_partitions(
        self, states: Iterable[PartitionState], *, code_version: str, run_id: str, at: datetime
    ) -> None:
        """Write what partitions came to."""
        stamp = {
            "source": self.source,
            "code_version": code_version,
            "run_id": run_id,
            "recorded_at": at,
        }
        rows = [asdict(state) | stamp for state in states]
        if rows:
            frame = pl.DataFrame(rows, schema=PARTITIONS.schema)
            self._partitions.append(frame, {"run_id": run_id, "source": self.source})

    def partitions(self, days: Sequence[date]) -> pl.DataFrame:
        """Return the newest row for each table and day."""
        if not days:
            return PARTITIONS.empty()
        rows = self._partitions.read_where(
            (pl.col("source") == self.source) & pl.col("day").is_between(min(days), max(days))
        )
        return rows.sort("recorded_at").unique(["layer", "name", "day"], keep="last")

    def volumes(self, since: date, code_version: str) -> pl.DataFrame:
        """Return how many rows each day of raw has: `day`, `rows` and `most`.

        `rows` is what it was last good with, `most` the most that this code ever found in it.

        Args:
            since: The first day.
            code_version: The version of the source's code.
        """
        good = self._partitions.read_where(
            (pl.col("source") == self.source)
            & (pl.col("layer") == "raw")
            & pl.col("state").is_in(["complete", "empty"])
            & (pl.col("day") >= since)
        )
        ours = pl.col("code_version") == code_version
        return (
            good.sort("recorded_at")
            .group_by("day")
            .agg(pl.col("rows").last(), most=pl.col("rows").filter(ours).max())
        )

    def record_checks(self, outcomes: Iterable[CheckOutcome], *, run_id: str, at: datetime) -> None:
        """Write how checks came out."""
        stamp = {"source": self.source, "run_id": run_id, "recorded_at": at}
        rows = [asdict(outcome) | stamp for outcome in outcomes]
        if rows:
            frame = pl.DataFrame(rows, schema=CHECKS.schema)
            self._checks.append(frame, {"run_id": run_id, "source": self.source})

    def checks(self, days: Sequence[date]) -> pl.DataFrame:
        """Return the newest outcome of each check of each day."""
        if not days:
            return CHECKS.empty()
        rows = self._checks.read_where(
            (pl.col("source") == self.source) & pl.col("day").is_between(min(days), max(days))
        )
        return rows.sort("recorded_at").unique(["day", "layer", "name"], keep="last")
