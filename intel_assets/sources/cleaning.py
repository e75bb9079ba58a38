"""Raw to cleaned, quarantine and aggregated: pure functions over frames."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import polars as pl

from intel_assets.errors import ContractBroken
from intel_assets.lakehouse.catalog import derived_sql, packaged_unions
from intel_assets.lakehouse.contracts import Contract, QuarantineRecord, Record
from intel_assets.lakehouse.sqldoor import references
from intel_assets.sources.spec import UNDATED, Aggregate, SourceSpec

# Arrow warns of buffers that Polars made, and reads them all the same.
os.environ.setdefault("ACERO_ALIGNMENT_HANDLING", "ignore")

HOLDS = pl.col("known_to").is_null()
_CARRIED = list(Record.to_schema().columns)


@dataclass(frozen=True)
class Cleaned:
    """Some days of a source, cleaned.

    Attributes:
        accepted: Rows that keep the contract.
        quarantine: A row for each rule that a record breaks, in quarantine's columns.
        rejected: Records of each day that hold and are rejected.
        refused: Days with too many of them, with the reason.
    """

    accepted: pl.DataFrame
    quarantine: pl.DataFrame
    rejected: Mapping[date, int]
    refused: Mapping[date, str]


def quarantine_contract(spec: SourceSpec) -> Contract:
    """Return the contract of a source's quarantine."""
    return Contract(
        "quarantine", spec.name, QuarantineRecord, f"Records of {spec.title} that break a rule."
    )


def clean(spec: SourceSpec, raw: pl.DataFrame, run_id: str) -> Cleaned:
    """Clean records and divide them by the contract.

    Args:
        spec: The source.
        raw: Versions of records, as raw holds them.
        run_id: The run that rejects.

    Raises:
        ContractBroken: If what `clean` makes lacks columns, or loses or invents records.
    """
    made = spec.clean(raw.lazy()).collect()
    if made.height != raw.height or not set(_CARRIED) <= set(made.columns):
        raise ContractBroken(
            f"{spec.name}: clean made {made.height} rows of {raw.height}, columns "
            f"{', '.join(made.columns)}.",
            "It must keep every row and carry the columns of Record along.",
        )
    split = spec.cleaned.split(made.select(list(spec.cleaned.schema)))
    failures = _with_undated(made, split.failures)
    quarantine = _quarantine(spec, raw, made, failures, run_id)
    bad = made.with_row_index("row").join(failures, on="row", how="semi")
    rejected = _count(bad.filter(HOLDS))
    refused = _refused(spec, _count(made.filter(HOLDS)), rejected)
    dated = split.accepted.filter(pl.col("day") != UNDATED)
    return Cleaned(dated, quarantine, rejected, refused)


def _with_undated(made: pl.DataFrame, failures: pl.DataFrame) -> pl.DataFrame:
    """Add to the failures the records without a day that break no other rule."""
    undated = made.with_row_index("row").filter(pl.col("day") == UNDATED).select("row")
    more = undated.join(failures, on="row", how="anti").with_columns(
        rule=pl.lit("dated"),
        column=pl.lit(None, pl.String),
        message=pl.lit("its time is missing, or lies where the source cannot know of it"),
    )
    return pl.concat([failures, more.select(failures.columns)]) if more.height else failures


def aggregate(
    aggregate: Aggregate, cleaned: Contract, frame: pl.DataFrame, threads: int = 2
) -> pl.DataFrame:
    """Run an aggregate's SQL over cleaned rows that hold.

    Raises:
        ContractBroken: If the result does not keep the aggregate's contract.
    """
    return evaluate(aggregate.sql, aggregate.contract, {cleaned.name: frame}, threads)


def evaluate(
    sql: str, contract: Contract, cleaned: Mapping[str, pl.DataFrame], threads: int = 2
) -> pl.DataFrame:
    """Run a SELECT over the rows that hold of some cleaned tables, by their names.

    It may refer to aggregated tables that are made of nothing: facts that are written in SQL.

    Raises:
        ContractBroken: If the result does not keep the contract.
    """
    with duckdb.connect(config={"threads": threads}) as connection:
        connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA cleaned; CREATE SCHEMA aggregated")
        for layer, name in references(connection, sql):
            if layer == "aggregated":
                connection.execute(f'CREATE VIEW aggregated."{name}" AS {derived_sql()[name]}')
        for name, frame in cleaned.items():
            # Views of text instead of copies.
            held = frame.filter(HOLDS).to_arrow(compat_level=pl.CompatLevel.newest())
            connection.register(f"held_{name}", held)
            connection.execute(f'CREATE VIEW cleaned."{name}" AS FROM "held_{name}"')
        for union in packaged_unions():
            select = union.select({name: frame.columns for name, frame in cleaned.items()})
            connection.execute(f'CREATE VIEW cleaned."{union.name}" AS {select}')
        found = connection.sql(sql).pl()
    typed = found.select(pl.col(name).cast(dtype) for name, dtype in contract.schema.items())
    split = contract.split(typed)
    if split.rejected.height:
        raise ContractBroken(
            f"aggregated.{contract.name} breaks its contract: {split.failures.row(0, named=True)}"
        )
    return typed


def _quarantine(
    spec: SourceSpec,
    raw: pl.DataFrame,
    made: pl.DataFrame,
    failures: pl.DataFrame,
    run_id: str,
) -> pl.DataFrame:
    contract = quarantine_contract(spec)
    if failures.is_empty():
        return contract.empty()
    carried = made.with_row_index("row").select("row", *_CARRIED)
    rows = failures.join(carried, on="row", how="left").with_columns(
        value=pl.lit(None, pl.String), run_id=pl.lit(run_id)
    )
    parts = []
    for (name,), part in rows.group_by("column", maintain_order=True):
        parts.append(part.with_columns(value=_shown(spec, raw, part, name)))
    return contract.conform(pl.concat(parts).drop("row")).sort("day", "record_digest", "rule")


def _shown(spec: SourceSpec, raw: pl.DataFrame, part: pl.DataFrame, name: object) -> pl.Series:
    """Return the values of a column as delivered, or its class where it is not to be shown."""
    empty = pl.repeat(None, part.height, dtype=pl.String, eager=True)
    if not isinstance(name, str):
        return empty
    source = spec.cleaned.sources.get(name)
    hidden = {spec.cleaned.classes[name]}
    hidden |= {spec.raw.classes[source]} if source and source in spec.raw.schema else set()
    hidden &= {"personal", "health", "secret"}
    if hidden:
        return pl.repeat(f"({min(hidden)})", part.height, dtype=pl.String, eager=True)
    if source is None or source not in raw.columns:
        return empty
    return raw[source].cast(pl.String).gather(part["row"])


def _count(frame: pl.DataFrame) -> dict[date, int]:
    return dict(frame.group_by("day").len().iter_rows())


def _refused(
    spec: SourceSpec, rows: Mapping[date, int], rejected: Mapping[date, int]
) -> dict[date, str]:
    return {
        day: f"{count} of {rows[day]} rows break the contract of cleaned.{spec.name}; "
        f"`intel quarantine {spec.name}` shows them."
        for day, count in rejected.items()
        if day != UNDATED and count >= spec.refuse_rows and count > spec.refuse_share * rows[day]
    }


def days_of(frame: pl.DataFrame, days: Sequence[date]) -> dict[date, pl.DataFrame]:
    """Divide a frame by day; days without rows get an empty frame."""
    parts = {key[0]: part for key, part in frame.partition_by("day", as_dict=True).items()}
    return {day: parts.get(day, frame.clear()) for day in days}
