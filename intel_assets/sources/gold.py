"""Gold: tables made by SQL from the cleaned records of several sources, day by day.

Each day is a pure function of the cleaned days that stand when it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl
from deltalake import DeltaTable

from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.knowledge import content_digest
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.ops import Journal, PartitionState
from intel_assets.lakehouse.tables import Change, Table
from intel_assets.sources.cleaning import evaluate
from intel_assets.sources.results import LayerResult


@dataclass(frozen=True, kw_only=True)
class GoldSpec:
    """A table made from several sources.

    Attributes:
        contract: The table, of the layer `aggregated`.
        sql: One SELECT over `cleaned.<source>` that groups by `day`.
        sources: The cleaned tables that it reads, by source.
        history: For sources of which a day also reads days before it, how many.
        domain: Its group in the graph.
        owner: Who answers for it.
        code_version: Raised when the SQL changes what it makes.
    """

    contract: Contract
    sql: str
    sources: Mapping[str, Contract]
    domain: str
    owner: str
    history: Mapping[str, int] = field(default_factory=dict)
    code_version: str = "1"


def build(lake: Lake, spec: GoldSpec, days: Sequence[date], run_id: str) -> Iterator[LayerResult]:
    """Make days of a gold table anew; what did not change is not written.

    Yields:
        For each day in order, how its partition stands.

    Raises:
        ContractBroken: If what the SQL makes does not keep the contract; nothing is written then.
        StorageError: If the lake cannot be read or written.
    """
    table = Table(lake.layout, spec.contract)
    made: dict[date, pl.DataFrame] = {}
    touched: list[date] = []

    def change(stored: DeltaTable | None) -> Change | None:
        # The table is opened before its sources are read: a slower run never writes what a faster
        # one made old.
        found = _evaluate(lake, spec, days)
        before = table.read(days, at=stored) if stored else spec.contract.empty()
        made.clear()
        touched.clear()
        for day in days:
            part, was = (frame.filter(pl.col("day") == day) for frame in (found, before))
            made[day] = part
            touched.extend([day] if content_digest(part) != content_digest(was) else [])
        return Change(found.filter(pl.col("day").is_in(touched)), touched) if touched else None

    said = {"run_id": run_id, "source": spec.contract.name, "code_version": spec.code_version}
    commit = table.replace_partitions(change, said)
    results = [
        LayerResult(
            spec.contract.layer,
            spec.contract.name,
            made[day].height,
            content_digest(made[day]),
            commit.version,
            day in touched,
        )
        for day in days
    ]
    _record(lake, spec, dict(zip(days, results, strict=True)), run_id)
    yield from results


def _evaluate(lake: Lake, spec: GoldSpec, days: Sequence[date]) -> pl.DataFrame:
    cleaned = {
        name: Table(lake.layout, of).read(_reach(days, spec.history.get(name, 0)))
        for name, of in spec.sources.items()
    }
    found = evaluate(spec.sql, spec.contract, cleaned)
    # What is said of the days that are only read is said of half a past.
    return found.filter(pl.col("day").is_in(list(days)))


def _reach(days: Sequence[date], before: int) -> list[date]:
    """Return days with so many days before each of them."""
    back = range(before + 1)
    return sorted({day - timedelta(days=number) for day in days for number in back})


def _record(lake: Lake, spec: GoldSpec, results: Mapping[date, LayerResult], run_id: str) -> None:
    journal = Journal(lake.layout, spec.contract.name)
    known = dict(journal.partitions(list(results)).select("day", "digest").iter_rows())
    journal.record_partitions(
        [
            PartitionState(
                layer=one.layer,
                name=one.name,
                day=day,
                state="complete" if one.rows else "empty",
                rows=one.rows,
                digest=one.data_version,
                delta_version=one.delta_version if one.written else None,
            )
            for day, one in results.items()
            if known.get(day) != one.data_version
        ],
        code_version=spec.code_version,
        run_id=run_id,
        at=lake.clock(),
    )
