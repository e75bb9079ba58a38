"""What the lake holds and what was asked, read from the tables: the only module here that reads.

Everything is read for all sources at once and stays in frames, so that ten years of sixty sources
take a second or two.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
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
    "run_id",
    "outcome",
    "error_class",
    "error",
    "attempts",
    "covers_from",
    "covers_to",
    "answers_from",
    "answers_to",
    "received_at",
    "folded_at",
]
_ENTRY = ["fetch_id", "recorded_at"]
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
_ALL = pl.lit(True)
_COMMIT = re.compile(r"\d{20}\.(?:json|checkpoint\..+)")
FLAGS = ("volume", "staleness")
"""The checks whose failure is a state."""
_PRESENT = {"source": pl.String(), "layer": pl.String(), "name": pl.String(), "day": pl.Date()}


@dataclass(frozen=True)
class Evidence:
    """What is known of some sources.

    Attributes:
        fetches: The newest row of every request (`ops.fetches`).
        partitions: Every row of `ops.partitions`.
        present: The partitions whose files stand: `source, layer, name, day`.
        attempts: What was planned (`ops.attempts`).
        checks: Those of `FLAGS` whose newest outcome for a day is a failure (`ops.checks`).
        history: The newest row of every day (`ops.coverage`), and `good_at`: when it was last seen
            to be good.
    """

    fetches: pl.DataFrame
    partitions: pl.DataFrame
    present: pl.DataFrame
    attempts: pl.DataFrame
    checks: pl.DataFrame
    history: pl.DataFrame


def together(parts: Sequence[Evidence]) -> Evidence:
    """Put what is known of some sources and of others into one."""
    return Evidence(
        **{
            one.name: pl.concat([getattr(part, one.name) for part in parts])
            for one in fields(Evidence)
        }
    )


class Records:
    """The lake's own records, each opened once: all that is read of them is of one moment."""

    def __init__(self, layout: Layout) -> None:
        """Open them.

        Raises:
            StorageError: If the lake cannot be read.
        """
        contracts = (FETCHES, PARTITIONS, CHECKS, ATTEMPTS, COVERAGE)
        self.layout = layout
        self._tables = {contract: Table(layout, contract) for contract in contracts}
        self._opened = {contract: table.open() for contract, table in self._tables.items()}

    def read(
        self,
        contract: Contract,
        sources: Sequence[str],
        columns: Sequence[str] | None = None,
        condition: pl.Expr = _ALL,
    ) -> pl.DataFrame:
        """Return some columns, all if left out, of the rows of some sources."""
        return self._tables[contract].read_columns(
            columns or list(contract.schema),
            pl.col("source").is_in(list(sources)) & condition,
            self._opened[contract],
        )


def gather(records: Records, specs: Sequence[SourceSpec]) -> Evidence:
    """Read what is known of some sources.

    Raises:
        StorageError: If the lake cannot be read.
    """
    names = [spec.name for spec in specs]
    partitions = records.read(PARTITIONS, names, [*_PARTITIONS, "delta_version"])
    raw = partitions.filter(pl.col("layer") == "raw").group_by("source")
    versions = dict(raw.agg(pl.col("delta_version").max()).iter_rows())
    return Evidence(
        fetches=_requests(records.read(FETCHES, names, _FETCHES + _ENTRY)),
        partitions=partitions.select(_PARTITIONS),
        present=present(records.layout, specs, versions),
        attempts=records.read(ATTEMPTS, names),
        checks=_failing(records, names),
        history=newest(records.read(COVERAGE, names)),
    )


def _failing(records: Records, names: Sequence[str]) -> pl.DataFrame:
    """Return the failures of checks that were not followed by a success."""
    keys, flag = ["source", "day", "name"], pl.col("name").is_in(FLAGS)
    failed = records.read(CHECKS, names, condition=flag & ~pl.col("passed"))
    failed = failed.sort("recorded_at").unique(keys, keep="last")
    if failed.is_empty():
        return failed
    passed = records.read(CHECKS, names, [*keys, "recorded_at"], flag & pl.col("passed"))
    after = passed.group_by(keys).agg(passed_at=pl.col("recorded_at").max())
    mended = (pl.col("passed_at") > pl.col("recorded_at")).fill_null(False)
    return failed.join(after, on=keys, how="left").filter(~mended).drop("passed_at")


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
    wanted = pl.col("source").is_in(list(sources))
    return _requests(Table(layout, FETCHES).read_columns(_FETCHES + _ENTRY, wanted))


def _requests(rows: pl.DataFrame) -> pl.DataFrame:
    # A request is written when it was made, and again when its body was folded: that row counts,
    # else the newest.
    folded = pl.col("folded_at").is_not_null()
    waiting = rows.filter(~folded).sort("recorded_at", descending=True)
    return (
        pl.concat([rows.filter(folded), waiting])
        .unique("fetch_id", keep="first", maintain_order=True)
        .drop(_ENTRY)
        .with_columns(pl.col("run_id").cast(pl.Categorical))
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


def present(
    layout: Layout, specs: Sequence[SourceSpec], versions: Mapping[str, int]
) -> pl.DataFrame:
    """Return the partitions whose files stand: in every table's folder, and in raw's log.

    A folder that somebody deleted shows in its absence. Raw's log is read besides, unless it is in
    the version that a run of its source recorded last: then nobody else changed it since. What a
    derived table's log says is compared by the reconciler, which takes its time.

    Args:
        layout: The lake.
        specs: The sources.
        versions: The version of raw that was recorded last, for each source.
    """
    found = [pl.DataFrame(schema=_PRESENT)]
    for spec in specs:
        for contract in (spec.raw, spec.cleaned, *(a.contract for a in spec.aggregates)):
            folders = pl.Series("day", _folders(layout, contract), pl.String)
            days = folders.str.strip_prefix("day=").str.to_date("%Y-%m-%d", strict=False)
            if contract.layer == "raw" and _version(layout, contract) != versions.get(spec.name):
                days = days.filter(days.is_in(_in_log(layout, contract).implode()))
            found.append(
                days.drop_nulls()
                .to_frame()
                .select(
                    source=pl.lit(spec.name),
                    layer=pl.lit(contract.layer),
                    name=pl.lit(contract.name),
                    day="day",
                )
            )
    return pl.concat(found)


def _version(layout: Layout, contract: Contract) -> int | None:
    """Return a table's version by the names in its log; None if that takes more than a look."""
    log = Path(layout.table_uri(contract.layer, contract.name)) / "_delta_log"
    if not layout.is_local or not log.is_dir():
        return None
    commits = [name for name in os.listdir(log) if _COMMIT.fullmatch(name)]  # noqa: PTH208
    return max((int(name[:20]) for name in commits), default=None)


def _in_log(layout: Layout, contract: Contract) -> pl.Series:
    table = Table(layout, contract).open()
    if table is None:
        return pl.Series("day", [], pl.Date)
    # Ten times as quick as `partitions()`, which makes a Python object for each file.
    return pl.DataFrame(table.get_add_actions(flatten=True))["partition.day"].cast(pl.Date)


def _folders(layout: Layout, contract: Contract) -> list[str]:
    uri = layout.table_uri(contract.layer, contract.name)
    if layout.is_local:
        # Twice as quick as a `Path` for each of ten years' days.
        names = os.listdir(uri) if Path(uri).is_dir() else []  # noqa: PTH208
    else:
        found = layout.store(uri).list_with_delimiter()["common_prefixes"]
        names = [prefix.rstrip("/").rpartition("/")[2] for prefix in found]
    return [name for name in names if name.startswith("day=")]


def first_days(evidence: Evidence) -> dict[str, date]:
    """Return the day on which each source was first asked."""
    asked = evidence.fetches.filter(pl.col("outcome") != "landed")
    first = asked.group_by("source").agg(pl.col("received_at").min().dt.date())
    return dict(first.iter_rows())
