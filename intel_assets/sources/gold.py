"""Gold: tables made by SQL from what several sources say.

A table is made by days, each a pure function of the cleaned days that stand when it is written, or
as a whole, of one snapshot of the lake. What did not change is not written.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from graphlib import TopologicalSorter
from typing import Literal

import polars as pl
from deltalake import DeltaTable

from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.ops import Journal, PartitionState
from intel_assets.lakehouse.tables import (
    MAX_RANGES,
    Commit,
    Rewrite,
    Table,
    batches,
    day_ranges,
    where_days,
)
from intel_assets.sources.goldsql import NOTHING, Key, Part, days_between, days_of, workshop
from intel_assets.sources.results import LayerResult

MOST_ROWS = 1_000_000
"""Cleaned rows that are made into gold at a time, and rows that one commit writes."""


@dataclass(frozen=True, kw_only=True)
class GoldSpec:
    """A table made from several sources.

    Attributes:
        contract: The table, of the layer `aggregated`. By days it is partitioned by `day`; as a
            whole by whatever it likes, or by nothing.
        sql: One SELECT over `cleaned` and `aggregated` tables. By days, what it says of a day must
            hang on that day and the `history` before it alone.
        grain: `day`: a partition is made for each day; `whole`: it is made at once, of all that
            stands, and of its partitions those are written that changed.
        sources: The cleaned tables that it reads, by source.
        history: For sources of which a day also reads days before it, how many.
        reads: The gold tables that it reads, by name.
        domain: Its group in the graph.
        owner: Who answers for it.
        maker: Makes a whole that knows better than to evaluate all of its SQL every time.
        code_version: Raised when the SQL changes what it makes.
    """

    contract: Contract
    sql: str
    domain: str
    owner: str
    grain: Literal["day", "whole"] = "day"
    sources: Mapping[str, Contract] = field(default_factory=dict)
    history: Mapping[str, int] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    maker: Callable[[Lake, GoldSpec, str], LayerResult] | None = None
    code_version: str = "1"

    @property
    def name(self) -> str:
        """The table's name."""
        return self.contract.name


def in_order(specs: Sequence[GoldSpec]) -> list[GoldSpec]:
    """Return gold tables, each after those that it reads; without what is not there to be read."""
    by_name = {spec.name: spec for spec in specs}
    while lacking := [s for s in by_name.values() if not set(s.reads) <= by_name.keys()]:
        for spec in lacking:
            del by_name[spec.name]
    order = TopologicalSorter({spec.name: spec.reads for spec in by_name.values()}).static_order()
    return [by_name[name] for name in order]


# -- by days ------------------------------------------------------------------------------------


def build(lake: Lake, spec: GoldSpec, days: Sequence[date], run_id: str) -> Iterator[LayerResult]:
    """Make days of a gold table anew; what did not change is not written.

    Yields:
        For each day in order, how its partition stands.

    Raises:
        ContractBroken: If what the SQL makes does not keep the contract; of that batch of days
            nothing is written then.
        StorageError: If the lake cannot be read or written.
    """
    weights: Counter[date] = Counter()
    for contract in spec.sources.values():
        weights.update(_rows_by_day(Table(lake.layout, contract)))
    for batch in batches(days, weights, MOST_ROWS):
        yield from _build(lake, spec, batch, run_id)


def _build(lake: Lake, spec: GoldSpec, days: Sequence[date], run_id: str) -> list[LayerResult]:
    table = Table(lake.layout, spec.contract)

    def attempt(stored: DeltaTable | None) -> list[LayerResult]:
        # The table is opened before its sources are read: a slower run never writes what a faster
        # one made old.
        with workshop(lake, spec.contract, spec.sql) as shop:
            for name, contract in spec.sources.items():
                shop.stands_for(contract)
                first = days[0] - timedelta(days=spec.history.get(name, 0))
                shop.only("cleaned", name, days_between(first, days[-1]))
            # What is said of the days that are only read is said of half a past.
            shop.make(spec.sql, days_of(days))
            made, before = shop.made(), shop.stored(_version(stored), days_of(days))
            touched = [
                day for day in days if made.get((day,), NOTHING) != before.get((day,), NOTHING)
            ]
            rows = shop.rows(days_of(touched)) if touched else None
        commit = Commit(stored.version() if stored else -1, written=False)
        if rows is not None:
            change = Rewrite(rows, where_days(day_ranges(touched)))
            commit = table.rewrite(stored, change, _said(spec, run_id))
        return [
            _result(spec, made.get((day,), NOTHING), commit.version, day in touched) for day in days
        ]

    results = table.redone(attempt)
    _record(lake, spec, dict(zip(days, results, strict=True)), run_id)
    return results


def _rows_by_day(table: Table) -> dict[date, int]:
    opened = table.open()
    if opened is None:
        return {}
    files = pl.DataFrame(opened.get_add_actions(flatten=True))
    days = pl.col("partition.day").cast(pl.String).str.to_date()
    return dict(files.group_by(days).agg(pl.col("num_records").sum()).iter_rows())


# -- as a whole ---------------------------------------------------------------------------------


def build_whole(lake: Lake, spec: GoldSpec, run_id: str) -> LayerResult:
    """Make a gold table anew, of one snapshot of the lake; partitions that are as before stay.

    Raises:
        ContractBroken: If what the SQL makes does not keep the contract.
        StorageError: If the lake cannot be read or written.
    """
    make = spec.maker or _evaluate
    return make(lake, spec, run_id)


def _evaluate(lake: Lake, spec: GoldSpec, run_id: str) -> LayerResult:
    table = Table(lake.layout, spec.contract)

    def attempt(stored: DeltaTable | None) -> LayerResult:
        with workshop(lake, spec.contract, spec.sql) as shop:
            for contract in spec.sources.values():
                shop.stands_for(contract)
            shop.make(spec.sql)
            made, before = shop.made(), shop.stored(_version(stored))
            keys = sorted(made.keys() | before.keys(), key=str)
            touched = {key for key in keys if made.get(key) != before.get(key)}
            version = stored.version() if stored else -1
            for where in _portions(spec.contract, keys, touched, made):
                change = Rewrite(shop.rows(where), where)
                version = table.rewrite(stored, change, _said(spec, run_id)).version
                stored = stored or table.open()
        rows = sum(part.rows for part in made.values())
        facts = " ".join(f"{key} {made[key]}" for key in sorted(made, key=str))
        whole = Part(rows, hashlib.sha256(facts.encode()).hexdigest()[:32])
        return _result(spec, whole, version, bool(touched))

    return table.redone(attempt)


def _portions(
    contract: Contract, keys: Sequence[Key], touched: set[Key], made: Mapping[Key, Part]
) -> Iterator[str]:
    """Yield what commits replace: neighbours together, as many rows as one commit takes."""
    runs: list[list[Key]] = []
    weight = 0
    for number, key in enumerate(keys):
        if key not in touched:
            continue
        rows = made.get(key, NOTHING).rows
        if not (runs and keys[number - 1] == runs[-1][-1] and weight + rows <= MOST_ROWS):
            runs.append([])
            weight = 0
        runs[-1].append(key)
        weight += rows
    yield from _together(contract.partition_by, runs, made)


def _together(
    columns: Sequence[str], runs: Sequence[Sequence[Key]], made: Mapping[Key, Part]
) -> Iterator[str]:
    portion: list[str] = []
    weight = 0
    for run in runs:
        rows = sum(made.get(key, NOTHING).rows for key in run)
        if portion and (len(portion) == MAX_RANGES or weight + rows > MOST_ROWS):
            yield " OR ".join(portion)
            portion, weight = [], 0
        portion.append(_where(columns, run))
        weight += rows
    if portion:
        yield " OR ".join(portion)


def _where(columns: Sequence[str], run: Sequence[Key]) -> str:
    """Return the predicate of partitions that follow each other."""
    if not columns:
        return "true"
    if len(columns) == 1:
        (column,) = columns
        return f"({column} >= {_literal(run[0][0])} AND {column} <= {_literal(run[-1][0])})"
    each = (
        " AND ".join(f"{c} = {_literal(v)}" for c, v in zip(columns, key, strict=True))
        for key in run
    )
    return f"({' OR '.join(each)})"


def _literal(value: object) -> str:
    quoted = str(value).replace("'", "''")
    return f"DATE '{quoted}'" if isinstance(value, date) else f"'{quoted}'"


# -- telling ------------------------------------------------------------------------------------


def _version(stored: DeltaTable | None) -> int | None:
    return stored.version() if stored else None


def _said(spec: GoldSpec, run_id: str) -> dict[str, str]:
    return {"run_id": run_id, "source": spec.name, "code_version": spec.code_version}


def _result(spec: GoldSpec, part: Part, version: int, written: bool) -> LayerResult:
    return LayerResult(spec.contract.layer, spec.name, part.rows, part.digest, version, written)


def _record(lake: Lake, spec: GoldSpec, results: Mapping[date, LayerResult], run_id: str) -> None:
    journal = Journal(lake.layout, spec.name)
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
