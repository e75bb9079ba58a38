"""Contracts: the Pandera model of a table, and everything that follows from it.

A model is the single home of a table's columns, types, rules, descriptions and classes. Here it
becomes a typed empty frame, a Delta schema with comments, and the split of rows into accepted and
rejected. Nothing here reads or writes a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import pandera.polars as pa
import polars as pl
from deltalake.schema import ArrayType, Field, PrimitiveType, Schema, StructType
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaErrors

from intel_assets.errors import ContractBroken

Layer = Literal["raw", "cleaned", "aggregated", "quarantine", "ops"]
ColumnClass = Literal["public", "internal", "personal", "health", "secret"]
Instant = Annotated[pl.Datetime, "us", "UTC"]
Texts = Annotated[pl.List, pl.String]

INSTANT = pl.Datetime("us", "UTC")
_PRIMITIVES: Mapping[Any, str] = {
    pl.String: "string",
    pl.Int64: "long",
    pl.Int32: "integer",
    pl.Float64: "double",
    pl.Boolean: "boolean",
    pl.Date: "date",
}


def field(
    description: str,
    *,
    cls: ColumnClass = "public",
    source: str | None = None,
    **rules: Any,
) -> Any:
    """Describe a column of a model.

    Args:
        description: What it holds, with its unit.
        cls: Who may see its values; whatever prints or stores them obeys.
        source: The column of the table before this one that it is made from.
        **rules: Pandera's own (`nullable`, `ge`, `isin`, `str_matches`, ...).
    """
    return pa.Field(description=description, metadata={"class": cls, "source": source}, **rules)


class Record(pa.DataFrameModel):
    """The columns that every row of raw, cleaned and quarantine carries."""

    day: pl.Date = field("Day of the record (UTC), the partition; 1970-01-01 if it has none.")
    record_id: pl.String = field("The source's own identifier, else the digest as hexadecimals.")
    record_digest: pl.String = field(
        "XXH3-128 of the record's canonical text, hexadecimals: equal digests, equal records."
    )
    known_from: Instant = field("When the body that first said so was received.")
    known_to: Instant = field(
        "When a later body said otherwise; null while it holds.", nullable=True
    )


class RawRecord(Record):
    """A record as delivered: text, under the source's own names."""

    body_sha256: pl.String = field("The body in landing that the record came in.")


ENGINE_COLUMNS = frozenset(RawRecord.to_schema().columns)


class QuarantineRecord(Record):
    """A rule that a record broke; one row for each."""

    rule: pl.String = field("The rule that the record breaks.")
    column: pl.String = field("The column that breaks it.", nullable=True)
    value: pl.String = field(
        "The value as delivered; the column's class instead when it is personal or secret.",
        cls="internal",
        nullable=True,
    )
    message: pl.String = field("What was expected.")
    run_id: pl.String = field("The run that rejected it.")


@dataclass(frozen=True)
class Split:
    """Rows that keep a contract, and the rules that the others break.

    Attributes:
        accepted: The rows that keep every rule, all columns.
        rejected: The rows that break one, all columns.
        failures: `row` (UInt32, position in the frame that was split), `rule`, `column`,
            `message`: one row for each rule broken.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    failures: pl.DataFrame


@dataclass(frozen=True)
class Contract:
    """A table: its name, its model, how it is partitioned and described."""

    layer: Layer
    name: str
    model: type[pa.DataFrameModel]
    description: str
    partition_by: tuple[str, ...] = ("day",)

    @cached_property
    def _columns(self) -> Mapping[str, Any]:
        columns: Mapping[str, Any] = self.model.to_schema().columns
        return columns

    @cached_property
    def _by_row(self) -> Any:
        """The rules for single rows.

        Pandera tells of rows that stand twice by way of Python values, and dies of some lists.
        """
        schema = copy(self.model.to_schema())
        schema.unique = None
        return schema

    @cached_property
    def schema(self) -> pl.Schema:
        """Columns and their Polars types, in the model's order."""
        return pl.Schema({name: col.dtype.type for name, col in self._columns.items()})

    @property
    def descriptions(self) -> Mapping[str, str]:
        """What each column holds."""
        return {name: col.description or "" for name, col in self._columns.items()}

    @property
    def classes(self) -> Mapping[str, ColumnClass]:
        """The class of each column."""
        return {
            name: (col.metadata or {}).get("class", "public") for name, col in self._columns.items()
        }

    @property
    def sources(self) -> Mapping[str, str]:
        """For each column that says so, the column of the layer before that it is made from."""
        found = {name: (col.metadata or {}).get("source") for name, col in self._columns.items()}
        return {name: source for name, source in found.items() if source}

    @property
    def required(self) -> frozenset[str]:
        """The columns that must be there."""
        return frozenset(name for name, col in self._columns.items() if col.required)

    def nullable(self, name: str) -> bool:
        """Whether a column may be null."""
        return bool(self._columns[name].nullable)

    def empty(self) -> pl.DataFrame:
        """Return a typed frame without rows."""
        return self.schema.to_frame()

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Put columns in the contract's order, optional ones as nulls, new ones behind as text."""
        missing = [
            pl.lit(None, self.schema[n]).alias(n) for n in self.schema if n not in frame.columns
        ]
        ordered = [*self.schema, *sorted(set(frame.columns) - set(self.schema))]
        return frame.with_columns(missing).select(ordered)

    def delta_schema(self, extra: Sequence[str] = ()) -> Schema:
        """Return the Delta schema: comments and classes as field metadata.

        Args:
            extra: Further text columns, those that a source added by itself.
        """
        fields = [
            delta_field(name, dtype, self.descriptions[name], self.classes[name])
            for name, dtype in self.schema.items()
        ]
        fields += [delta_field(name, pl.String(), "New in the source.") for name in extra]
        return Schema(fields)

    def require(self, found: Sequence[str]) -> None:
        """Refuse a frame that lacks columns, other than those that the engine adds.

        Raises:
            ContractBroken: With the columns expected and those found; or if a column has a name
                that no table can keep.
        """
        odd = [name for name in found if not name.strip() or not name.isprintable()]
        if odd:
            raise ContractBroken(
                f"{self.layer}.{self.name} got columns without a proper name: {odd!r}.",
                "Give them names in the parser and run `intel replay`.",
            )
        lost = sorted(self.required - set(found) - ENGINE_COLUMNS)
        if lost:
            expected = [name for name in self.schema if name not in ENGINE_COLUMNS]
            raise ContractBroken(
                f"{self.layer}.{self.name} lost its column {', '.join(lost)}: expected "
                f"{', '.join(expected)}; found {', '.join(found)}.",
                "If the source changed its format, mend the parser and run `intel replay`.",
            )

    def split(self, frame: pl.DataFrame) -> Split:
        """Divide a collected frame into rows that keep the contract and rows that do not.

        Pandera checks a LazyFrame by names and types alone, so this takes no LazyFrame.

        Raises:
            ContractBroken: If columns are missing or of another type.
            TypeError: If the frame is lazy.
        """
        if isinstance(frame, pl.LazyFrame):
            raise TypeError("a LazyFrame cannot be split: its values would not be looked at")
        self.require(frame.columns)
        failures = _FAILURES.to_frame()
        try:
            # PANDERA_* in the environment could turn the rules off.
            with config_context(True, ValidationDepth.SCHEMA_AND_DATA):
                self._by_row.validate(frame, lazy=True)
        except SchemaErrors as error:
            failures = _failures(error.failure_cases, self)
        twice = _twice(frame, self.model.to_schema().unique or [])
        failures = pl.concat([failures, twice]).sort("row", "column", "rule")
        bad = frame.with_row_index("row").select("row").join(failures, on="row", how="semi")["row"]
        keep = pl.repeat(True, frame.height, eager=True).scatter(bad, False) if bad.len() else None
        if keep is None:
            return Split(frame, frame.clear(), failures)
        return Split(frame.filter(keep), frame.filter(~keep), failures)


_FAILURES = pl.Schema(
    {"row": pl.UInt32, "rule": pl.String, "column": pl.String, "message": pl.String}
)


_MESSAGES = {"not_nullable": "must not be null"}


def _twice(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    if not columns:
        return _FAILURES.to_frame()
    rows = frame.select(columns).is_duplicated().arg_true()
    return pl.DataFrame({"row": rows}).select(
        pl.col("row").cast(pl.UInt32),
        rule=pl.lit("unique"),
        column=pl.lit(None, pl.String),
        message=pl.lit("must stand only once in a body"),
    )


def _failures(cases: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    whole = cases.filter(pl.col("index").is_null())
    if whole.height:
        first = whole.row(0, named=True)
        found = f"{first['failure_case']} ({first['check']})"
        raise ContractBroken(
            f"{contract.layer}.{contract.name} does not keep its contract as a whole: column "
            f"{first['column']}: found {found}.",
            "If the source changed its format, mend the parser and run `intel replay`.",
        )
    return cases.select(
        row=pl.col("index").cast(pl.UInt32),
        rule=pl.col("check").str.replace(r"\(.*", ""),
        column=pl.when(pl.col("column").is_in(list(contract.schema))).then(pl.col("column")),
        message=pl.col("check").replace(_MESSAGES),
    ).unique()


def delta_field(name: str, dtype: pl.DataType, comment: str, cls: ColumnClass = "public") -> Field:
    """Return a Delta field that carries its comment and class."""
    metadata = {"comment": comment, "intel.class": cls}
    return Field(name, _delta_type(dtype), nullable=True, metadata=metadata)


def _delta_type(dtype: Any) -> PrimitiveType | ArrayType | StructType:
    if isinstance(dtype, pl.List):
        return ArrayType(_delta_type(dtype.inner), contains_null=True)
    if isinstance(dtype, pl.Struct):
        return StructType([Field(one.name, _delta_type(one.dtype)) for one in dtype.fields])
    if isinstance(dtype, pl.Datetime):
        return PrimitiveType("timestamp")
    if isinstance(dtype, pl.Decimal):
        return PrimitiveType(f"decimal({dtype.precision},{dtype.scale})")
    return PrimitiveType(_PRIMITIVES[dtype if isinstance(dtype, type) else type(dtype)])
