"""What the lake holds and what was asked, read from the tables: the only module here that reads.

Everything is read for all sources at once and stays in frames, so that ten years of sixty sources
take a second or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from intel_assets.coverage.tables import ATTEMPTS, COVERAGE, STANDING
from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.ops import CHECKS, FETCHES, PARTITIONS
from intel_assets.lakehouse.tables import Table
from intel_assets.sources.spec import SourceSpec

_FETCHES = [
    "source",
    "fetch_id",
    "run_id",
    "window_first",
    "outcome",
    "parsed",
    "error_class",
    "error",
    "attempts",
    "covers_from",
    "covers_to",
    "received_at",
    "folded_at",
    "recorded_at",
]
_PARTITIONS = [
    "source",
    "layer",
    "name",
    "day",
    "state",
    "rows",
    "code_version",
    "message",
    "recorded_at",
]
_PRESENT = {"source": pl.String(), "layer": pl.String(), "name": pl.String(), "day": pl.Date()}


@dataclass(frozen=True)
class Evidence:
    """What is known of all sources.

    Attributes:
        fetches: The newest row of every request (`ops.fetches`).
        partitions: Every row of `ops.partitions`.
        present: The partitions whose files stand: `source, layer, name, day`.
        attempts: What was planned (`ops.attempts`).
        checks: The newest outcome of every check of a day (`ops.checks`).
        history: The newest row of every day (`ops.coverage`), and `good_at`: when it was last seen
            to be good.
    """

    fetches: pl.DataFrame
    partitions: pl.DataFrame
    present: pl.DataFrame
    attempts: pl.DataFrame
    checks: pl.DataFrame
    history: pl.DataFrame


def gather(layout: Layout, specs: Sequence[SourceSpec]) -> Evidence:
    """Read what is known of some sources.

    Raises:
        StorageError: If the lake cannot be read.
    """
    names = [spec.name for spec in specs]
    checks = _columns(layout, CHECKS, list(CHECKS.schema), names)
    history = _columns(layout, COVERAGE, list(COVERAGE.schema), names)
    return Evidence(
        fetches=fetches(layout, names),
        partitions=_columns(layout, PARTITIONS, _PARTITIONS, names),
        present=present(layout, specs),
        attempts=_columns(layout, ATTEMPTS, list(ATTEMPTS.schema), names),
        checks=checks.sort("recorded_at").unique(["source", "day", "name"], keep="last"),
        history=newest(history),
    )


def newest(history: pl.DataFrame) -> pl.DataFrame:
    """Return the newest row of every day, and `good_at`: when it was last seen to be good."""
    days = ["source", "day"]
    good = history.filter(pl.col("state").is_in(STANDING))
    return (
        history.sort("recorded_at")
        .unique(days, keep="last")
        .join(good.group_by(days).agg(good_at=pl.col("recorded_at").max()), on=days, how="left")
    )


def fetches(layout: Layout, sources: Sequence[str]) -> pl.DataFrame:
    """Return the newest row of every request to some sources, with what coverage needs of it."""
    rows = _columns(layout, FETCHES, _FETCHES, sources)
    # A request is written when it was made, and again when its body was folded.
    return (
        rows.sort("recorded_at", descending=True)
        .sort("folded_at", nulls_last=True, maintain_order=True)
        .unique("fetch_id", keep="first", maintain_order=True)
    )


def standing_partitions(layout: Layout, source: str) -> pl.DataFrame:
    """Return the newest good row of every partition of a source (`ops.partitions`).

    Besides: `refused`, whether the newest attempt at its day was refused by its contract.
    """
    rows = Table(layout, PARTITIONS).read_where(pl.col("source") == source).sort("recorded_at")
    good = rows.filter(pl.col("state").is_in(["complete", "empty"]))
    newest = rows.filter(pl.col("layer") == "cleaned").unique("day", keep="last")
    refused = newest.filter(pl.col("state") == "rejected")["day"].implode()
    return good.unique(["layer", "name", "day"], keep="last").with_columns(
        refused=pl.col("day").is_in(refused)
    )


def present(layout: Layout, specs: Sequence[SourceSpec]) -> pl.DataFrame:
    """Return the partitions whose files stand: in raw's log, and in every table's folder.

    Raw's log is the truth of what is held; a folder that somebody deleted shows in its absence
    alone. What a derived table's log says is compared by the reconciler, which takes its time.
    """
    wanted = [
        (spec.name, contract)
        for spec in specs
        for contract in (spec.raw, spec.cleaned, *(a.contract for a in spec.aggregates))
    ]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: _held(layout, *one), wanted))
    return pl.concat([pl.DataFrame(schema=_PRESENT), *found])


def _held(layout: Layout, source: str, contract: Contract) -> pl.DataFrame:
    folders = _folders(layout, contract)
    days = pl.Series("day", folders, pl.String).str.to_date(strict=False).drop_nulls()
    if contract.layer == "raw" and folders:
        days = days.filter(days.is_in(list(Table(layout, contract).days_present())))
    return days.to_frame().select(
        source=pl.lit(source), layer=pl.lit(contract.layer), name=pl.lit(contract.name), day="day"
    )


def _folders(layout: Layout, contract: Contract) -> list[str]:
    uri = layout.table_uri(contract.layer, contract.name)
    if layout.is_local:
        root = Path(uri)
        names = [entry.name for entry in root.iterdir()] if root.is_dir() else []
    else:
        found = layout.store(uri).list_with_delimiter()["common_prefixes"]
        names = [prefix.rstrip("/").rpartition("/")[2] for prefix in found]
    return [name.removeprefix("day=") for name in names if name.startswith("day=")]


def _columns(
    layout: Layout, contract: Contract, columns: list[str], sources: Sequence[str]
) -> pl.DataFrame:
    return Table(layout, contract).read_columns(columns, pl.col("source").is_in(list(sources)))


def first_days(evidence: Evidence) -> dict[str, date]:
    """Return the day on which each source was first asked."""
    asked = evidence.fetches.filter(pl.col("outcome") != "landed")
    first = asked.group_by("source").agg(pl.col("received_at").min().dt.date())
    return dict(first.iter_rows())
