"""The workshop of gold: a table's SQL, run in DuckDB over one snapshot of the lake.

Memory is bound: what does not fit spills to disk, and only what is to be written comes out.
Which tables there are, and when they are made, is in gold.py.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import duckdb
import polars as pl

from intel_assets.errors import ContractBroken, StorageError
from intel_assets.lakehouse import sqldoor
from intel_assets.lakehouse.catalog import Catalog, derived_sql
from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.views import TableName

MEMORY = "1500MB"
"""What DuckDB takes before it spills; Polars and Delta need room besides."""

_PLAIN: Mapping[type[pl.DataType], str] = {
    pl.String: "VARCHAR",
    pl.Int32: "INTEGER",
    pl.Int64: "BIGINT",
    pl.Float64: "DOUBLE",
    pl.Boolean: "BOOLEAN",
    pl.Date: "DATE",
    pl.Datetime: "TIMESTAMPTZ",
}

Key = tuple[object, ...]
"""The values of a table's partition columns."""


def sql_type(dtype: pl.DataType) -> str:
    """Return the type of a column in DuckDB."""
    if isinstance(dtype, pl.List):
        return f"{sql_type(dtype.inner)}[]"  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        fields = ", ".join(f'"{f.name}" {sql_type(f.dtype)}' for f in dtype.fields)  # type: ignore[arg-type]
        return f"STRUCT({fields})"
    return _PLAIN.get(dtype.base_type(), str(dtype))


@dataclass(frozen=True)
class Part:
    """What a partition holds: how many rows, and a digest that does not depend on their order."""

    rows: int
    digest: str


NOTHING = Part(0, hashlib.sha256(b"0").hexdigest()[:32])


class Workshop:
    """A connection over the lake, in which one table is made."""

    def __init__(self, con: duckdb.DuckDBPyConnection, contract: Contract) -> None:
        """Name the table that is made.

        Args:
            con: A connection with a view for every table.
            contract: The table.
        """
        self.con = con
        self._contract = contract
        self._stored = f'aggregated."{contract.name}"'

    def stands_for(self, contract: Contract) -> None:
        """Let a table that the lake does not have be one without rows."""
        found = self.con.execute(
            "SELECT 1 FROM duckdb_views() WHERE schema_name = ? AND view_name = ?",
            [contract.layer, contract.name],
        ).fetchone()
        if found is None:
            columns = ", ".join(
                f'CAST(NULL AS {sql_type(dtype)}) AS "{name}"'
                for name, dtype in contract.schema.items()
            )
            self.con.execute(
                f'CREATE VIEW {contract.layer}."{contract.name}" AS SELECT {columns} WHERE false'
            )

    def only(self, layer: str, name: str, condition: str) -> None:
        """Let a table show no more than some of its rows, to all that is made of it."""
        self.con.execute(
            f'ALTER VIEW {layer}."{name}" RENAME TO "{name} (whole)"; '
            f'CREATE VIEW {layer}."{name}" AS '
            f'FROM {layer}."{name} (whole)" WHERE {condition}'
        )

    def among(self, layer: str, name: str, keys: Sequence[str], found: str) -> None:
        """Let a table show no more than the rows whose keys stand in another."""
        self.con.execute(
            f'ALTER VIEW {layer}."{name}" RENAME TO "{name} (whole)"; '
            f'CREATE VIEW {layer}."{name}" AS FROM {layer}."{name} (whole)" '
            f"SEMI JOIN {found} USING ({', '.join(keys)})"
        )

    def make(self, sql: str, where: str = "true") -> None:
        """Run a SELECT, and keep what it makes in the contract's types.

        Raises:
            ContractBroken: If it does not give the contract's columns, or a value is of no type.
            StorageError: If a table that it reads cannot be read.
        """
        columns = ", ".join(
            f'CAST("{name}" AS {sql_type(dtype)}) AS "{name}"'
            for name, dtype in self._contract.schema.items()
        )
        with self._explained():
            self.con.execute(
                f"CREATE TEMP TABLE made AS SELECT {columns} "  # noqa: S608 (of the package)
                f"FROM ({sql.strip().rstrip(';')}) WHERE {where}"
            )

    def made(self) -> dict[Key, Part]:
        """Return what was made of each partition."""
        return self._parts("made")

    def stored(self, version: int | None, where: str = "true") -> dict[Key, Part]:
        """Return what each partition holds in the lake.

        A table that has not the contract's columns yet holds nothing of what is to be there.

        Args:
            version: The table's version; None if it was never written.
            where: Which partitions.
        """
        if version is None:
            return {}
        described = self.con.execute(f"DESCRIBE {self._stored}").fetchall()
        if not set(self._contract.schema) <= {name for name, *_ in described}:
            return {}
        columns = ", ".join(f'"{name}"' for name in self._contract.schema)
        return self._parts(
            f"(SELECT {columns} FROM {self._stored} WHERE {where})"  # noqa: S608
        )

    def rows(self, where: str = "true", order: Sequence[str] = ()) -> pl.DataFrame:
        """Return rows of what was made, each of which keeps the contract.

        Raises:
            ContractBroken: If one does not.
        """
        by = ", ".join(f'"{name}"' for name in order) or "ALL"
        with self._explained():
            found = self.con.sql(f"FROM made WHERE {where} ORDER BY {by}").pl()
        return self.kept(found)

    def kept(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return rows in the contract's types; each of them keeps it.

        Raises:
            ContractBroken: If one does not.
        """
        contract = self._contract
        typed = frame.select(pl.col(name).cast(dtype) for name, dtype in contract.schema.items())
        split = contract.split(typed)
        if split.rejected.height:
            first = split.failures.row(0, named=True)
            raise ContractBroken(f"aggregated.{contract.name} breaks its contract: {first}")
        return typed

    def _parts(self, relation: str) -> dict[Key, Part]:
        keys = [f'"{name}"' for name in self._contract.partition_by]
        names = ", ".join([*keys, ""])
        group = f"GROUP BY {', '.join(keys)}" if keys else "HAVING count(*) > 0"
        with self._explained():
            found = self.con.execute(
                f"SELECT {names}count(*), sum(hash(one)::HUGEINT), bit_xor(hash(one)) "  # noqa: S608
                f"FROM {relation} AS one {group}"
            ).fetchall()
        return {
            tuple(row[: len(keys)]): Part(row[len(keys)], _digest(row[len(keys) :]))
            for row in found
        }

    @contextmanager
    def _explained(self) -> Iterator[None]:
        name = f"aggregated.{self._contract.name}"
        try:
            yield
        except (duckdb.IOException, duckdb.HTTPException) as error:
            raise StorageError(
                f"{name} cannot be made: {sqldoor.headline(error)}", "Check that the lake is whole."
            ) from error
        except duckdb.InvalidInputException as error:  # A view that says why it cannot be read.
            raise StorageError(f"{name} cannot be made: {sqldoor.headline(error)}") from error
        except duckdb.Error as error:
            raise ContractBroken(f"{name} cannot be made: {sqldoor.headline(error)}") from error


@contextmanager
def workshop(lake: Lake, contract: Contract, sql: str) -> Iterator[Workshop]:
    """Open the lake as it stands, to make a table of it.

    Args:
        lake: The lake.
        contract: The table.
        sql: What will be asked: of the tables that are not stored, those are there that it names.

    Raises:
        StorageError: If the lake cannot be listed.
    """
    with duckdb.connect() as con:
        named = sqldoor.references(con, sql) | {(contract.layer, contract.name)}
        wanted = {TableName(layer, name) for layer, name in named if layer}
    with (
        tempfile.TemporaryDirectory(prefix="gold-", dir=lake.landing.spool) as spill,
        Catalog(lake.layout, clock=lake.clock).connect(wanted=wanted) as con,
    ):
        con.execute("SET temp_directory = ?", [spill])
        con.execute(f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false")
        yield Workshop(con, contract)


def code_of(sql: str, stored: Collection[str]) -> str:
    """Return a digest of a SELECT and of all SQL behind it, as far as tables are not stored.

    Args:
        sql: The SELECT.
        stored: The aggregated tables at which it ends.
    """
    packaged, texts, pending = derived_sql(), {"": sql}, [sql]
    with duckdb.connect() as con:
        while pending:
            for layer, name in sqldoor.references(con, pending.pop()):
                if layer == "aggregated" and name in packaged.keys() - texts.keys() - set(stored):
                    texts[name] = packaged[name]
                    pending.append(packaged[name])
    whole = "\0".join(texts[name] for name in sorted(texts))
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def days_between(first: date, last: date) -> str:
    """Return the condition of a range of days."""
    return f"day BETWEEN DATE '{first}' AND DATE '{last}'"


def days_of(days: Sequence[date]) -> str:
    """Return the condition of some days."""
    listed = ", ".join(f"DATE '{day}'" for day in days)
    return f"day IN ({listed})" if days else "false"


def _digest(facts: Sequence[object]) -> str:
    return hashlib.sha256(" ".join(map(str, facts)).encode()).hexdigest()[:32]
