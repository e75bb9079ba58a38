"""A lake that was kept for ten years: sixty sources, a partition and a tiny file for every day.

Each table's files are names of one file on disk, committed at once, so that making it takes a
minute and not an hour. What is read of it (the logs, the folders, the records of the lake) is what
a grown lake has.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
from deltalake import DeltaTable, write_deltalake
from deltalake.transaction import AddAction

from intel_assets.coverage.tables import ATTEMPTS, COVERAGE
from intel_assets.lakehouse.contracts import INSTANT, Contract
from intel_assets.lakehouse.format import check_format
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.ops import CHECKS, FETCHES, PARTITIONS
from intel_assets.sources.spec import Aggregate, SourceSpec
from intel_assets.threat import tweetfeed

NOW = datetime(2026, 8, 23, 12, tzinfo=UTC)
HOLES = 50
"""Of a source that is kept up, every so-manieth day is missing and was tried."""
MERGED = 4
"""Every so-manieth table of raw was compacted since its last run: its log is read."""
NEW = 10
"""So many of the sources were never asked for the older half of their days."""
_ID = "6a29ec47-1f1b-4e6e-a6bb-fb2d0b1f1d1c"
CHECKED = ("schema_drift", "volume", "contract", "unique")


def specs(sources: int, days: int) -> list[SourceSpec]:
    """Return the sources."""
    first = NOW.date() - timedelta(days=days)
    return [_spec(f"feed_{number:02}", first) for number in range(sources)]


def _spec(name: str, first: date) -> SourceSpec:
    base = tweetfeed.SPEC
    (daily,) = base.aggregates
    return replace(
        base,
        name=name,
        start=first,
        raw=replace(base.raw, name=name),
        cleaned=replace(base.cleaned, name=name),
        aggregates=(Aggregate(replace(daily.contract, name=f"{name}_daily"), daily.sql),),
    )


def write(folder: Path, sources: int, days: int) -> None:
    """Write the lake of so many sources and days."""
    layout = Layout(str(folder))
    check_format(layout, create=True)
    made = specs(sources, days)
    frames: dict[Contract, list[pl.DataFrame]] = {
        contract: [] for contract in (FETCHES, PARTITIONS, CHECKS, ATTEMPTS, COVERAGE)
    }
    for number, spec in enumerate(made):
        held = _held(spec, half=number >= sources - NEW)
        for contract in (spec.raw, spec.cleaned, *(a.contract for a in spec.aggregates)):
            _table(layout, contract, held["day"].to_list())
        frames[FETCHES].append(_fetches(spec, held))
        frames[PARTITIONS].append(_partitions(spec, held))
        frames[CHECKS].append(_checks(spec, held))
        frames[ATTEMPTS].append(_attempts(spec, held))
        frames[COVERAGE].append(_history(spec, held))
    for contract, rows in frames.items():
        write_deltalake(
            layout.table_uri(contract.layer, contract.name),
            contract.conform(pl.concat(rows)),
            partition_by=list(contract.partition_by),
        )


def _held(spec: SourceSpec, *, half: bool) -> pl.DataFrame:
    """Return the days that a source holds."""
    days = pl.date_range(spec.start, NOW.date() - timedelta(days=1), eager=True).alias("day")
    if half:
        days = days.slice(days.len() // 2)
    return days.to_frame().with_row_index().filter(pl.col("index") % HOLES != 0).drop("index")


def _table(layout: Layout, contract: Contract, days: Sequence[date]) -> None:
    uri = layout.table_uri(contract.layer, contract.name)
    table = DeltaTable.create(uri, contract.delta_schema(), partition_by=["day"])
    first = Path(uri) / "first.parquet"
    contract.empty().drop("day").write_parquet(first)
    actions, size, stats = [], first.stat().st_size, _stats(contract)
    for day in days:
        path = f"day={day}/part-00000-{_ID}-c000.zstd.parquet"
        file = Path(uri) / path
        file.parent.mkdir()
        os.link(first, file)
        actions.append(AddAction(path, size, {"day": str(day)}, 1_780_000_000_000, True, stats))
    first.unlink()
    table.create_write_transaction(actions, "append", table.schema(), partition_by=["day"])
    # As upkeep leaves the log of a grown table.
    DeltaTable(uri).create_checkpoint()


def _stats(contract: Contract) -> str:
    """Return what a log says of a file: the least and the greatest of each column."""
    names = [name for name in contract.schema if name != "day"]
    texts = [name for name in names if contract.schema[name] == pl.String]
    least = dict.fromkeys(texts, "https://amber-brook.example/2026/12345")
    facts = {"numRecords": 40, "minValues": least, "maxValues": least}
    return json.dumps(facts | {"nullCount": dict.fromkeys(names, 0)})


def _stamped(spec: SourceSpec, held: pl.DataFrame) -> pl.DataFrame:
    """Return the days with the moment at which each was fetched, an hour after its end."""
    came = pl.col("day").cast(INSTANT) + timedelta(hours=25)
    return held.with_columns(source=pl.lit(spec.name), recorded_at=came, run_id=_run("day"))


def _run(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).hash().cast(pl.String).str.zfill(36)


def _fetches(spec: SourceSpec, held: pl.DataFrame) -> pl.DataFrame:
    """Two requests for each day, while it lasted and after it, each noted before and after."""
    start = pl.col("day").cast(INSTANT)
    rows = [
        _stamped(spec, held).with_columns(
            fetch_id=pl.concat_str(pl.lit(spec.name), "day", pl.lit(str(number))),
            window_first="day",
            window_last="day",
            url=pl.format("https://example.test/{}/{}.csv", pl.lit(spec.name), "day"),
            outcome=pl.lit("fetched"),
            status=pl.lit(200),
            attempts=pl.lit(1),
            bytes=pl.lit(4_000),
            body_sha256=pl.concat_str(_run("day"), _run("source")).str.head(64),
            content_type=pl.lit("text/plain"),
            started_at=start + after,
            received_at=start + after,
            seconds=pl.lit(0.2),
            covers_from=start,
            covers_to=start + timedelta(days=1),
            parsed=pl.lit(40),
            added=pl.lit(40) if folded else pl.lit(None),
            folded_at=(start + after) if folded else pl.lit(None, INSTANT),
            recorded_at=start + after,
        )
        for number, after in enumerate((timedelta(hours=20), timedelta(hours=25)))
        for folded in (False, True)
    ]
    return FETCHES.conform(pl.concat([_typed(row, FETCHES).drop("day") for row in rows]))


def _partitions(spec: SourceSpec, held: pl.DataFrame) -> pl.DataFrame:
    tables = [spec.raw, spec.cleaned, *(a.contract for a in spec.aggregates)]
    rows = [
        _stamped(spec, held).with_columns(
            layer=pl.lit(contract.layer),
            name=pl.lit(contract.name),
            state=pl.lit("complete"),
            rows=pl.lit(40),
            digest=_run("day"),
            delta_version=pl.lit(0 if int(spec.name[-2:]) % MERGED == 0 else 1),
            code_version=pl.lit(spec.code_version),
        )
        for contract in tables
    ]
    return PARTITIONS.conform(pl.concat([_typed(row, PARTITIONS) for row in rows]))


def _checks(spec: SourceSpec, held: pl.DataFrame) -> pl.DataFrame:
    rows = [
        _stamped(spec, held).with_columns(
            layer=pl.lit("raw"),
            name=pl.lit(name),
            passed=pl.col("day").dt.ordinal_day() != 200,
            severity=pl.lit("warn"),
            description=pl.lit("40 rows; usual are 40 (median of the 8 days of its kind before)."),
            value=pl.lit(40.0),
            usual=pl.lit(40.0),
        )
        for name in CHECKED
    ]
    return CHECKS.conform(pl.concat([_typed(row, CHECKS) for row in rows]))


def _attempts(spec: SourceSpec, held: pl.DataFrame) -> pl.DataFrame:
    """Runs of thirty days that filled the past, and three for each hole."""
    missing = set(_expected(spec)) - set(held["day"])
    kept = sorted(day for day in missing if day > held["day"].min())  # type: ignore[operator]
    runs = [(day, day + timedelta(days=29), 1) for day in held["day"].to_list()[::30]]
    runs += [(day, day, attempt) for day in kept for attempt in (1, 2, 3)]
    rows = [
        {
            "source": spec.name,
            "first": first,
            "last": last,
            "attempt": attempt,
            "kind": "fetch",
            "run_key": f"{spec.name}:{first}:{attempt}",
            "requests": (last - first).days + 1,
            "why": f"{first} is missing",
            "planned_at": NOW - timedelta(days=40 * attempt),
        }
        for first, last, attempt in runs
    ]
    return pl.DataFrame(rows, schema=ATTEMPTS.schema)


def _history(spec: SourceSpec, held: pl.DataFrame) -> pl.DataFrame:
    """What was seen of each day: missing, filling, complete; a hole stays missing."""
    rows = []
    for number, state in enumerate(("missing", "filling", "complete")):
        days = held if number else pl.DataFrame({"day": _expected(spec)})
        seen = pl.lit(NOW - timedelta(days=200 - number))
        rows.append(
            days.with_columns(
                source=pl.lit(spec.name),
                state=pl.lit(state),
                reason=pl.lit("not asked for yet" if state == "missing" else None, pl.String),
                remedy=pl.lit("fetch" if state == "missing" else "none"),
                attempts=pl.lit(0),
                rows=pl.lit(40 if state == "complete" else None, pl.Int64),
                since=seen,
                recorded_at=seen,
            )
        )
    return COVERAGE.conform(pl.concat([_typed(row, COVERAGE) for row in rows]))


def _expected(spec: SourceSpec) -> list[date]:
    return pl.date_range(spec.start, NOW.date() - timedelta(days=1), eager=True).to_list()


def _typed(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    types = {name: dtype for name, dtype in contract.schema.items() if name in rows.columns}
    return rows.cast(types)  # type: ignore[arg-type]
