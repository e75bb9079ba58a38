"""The views of a lake's tables: what each shows by default, as of a moment, as shown at a moment.

Belongs here: the SQL of a view, of a table that was found or of an aggregated table's own SQL, and
the sentence that a view raises which cannot be asked. Finding the tables is in catalog.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from glob import escape
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import duckdb

from intel_assets.errors import ConfigurationError
from intel_assets.lakehouse import sqldoor
from intel_assets.lakehouse.extensions import address, first_line, literal
from intel_assets.lakehouse.layout import LAYERS, Layout

# The columns of contracts.QuarantineRecord, for whoever only asks: a contract imports Pandera.
_QUARANTINE = {
    "day": "DATE",
    "record_id": "VARCHAR",
    "record_digest": "VARCHAR",
    "known_from": "TIMESTAMPTZ",
    "known_to": "TIMESTAMPTZ",
    "rule": "VARCHAR",
    "column": "VARCHAR",
    "value": "VARCHAR",
    "message": "VARCHAR",
    "run_id": "VARCHAR",
}


class TableName(NamedTuple):
    """A table's name in SQL: `layer.name`."""

    layer: str
    name: str

    def __str__(self) -> str:
        """Write it as SQL does."""
        return f"{self.layer}.{self.name}"


_NEWEST: Mapping[tuple[str, str], tuple[str, str]] = {
    # A fetch is recorded when it was made and again when it was folded into the tables.
    ("ops", "fetches"): ("fetch_id", "folded_at NULLS LAST, recorded_at DESC"),
    ("ops", "coverage"): ("source, day", "recorded_at DESC"),
    ("ops", "alerts"): ("alert_id", "recorded_at DESC"),
    ("ops", "switches"): ("source", "recorded_at DESC"),
}
"""Tables that show one row a key: which key, and the order in which its first row stands.

As of a moment it is the first of the rows recorded until then; a history shows all rows.
"""


@dataclass(frozen=True)
class Moment:
    """What the views show: `as_of` is known time, `shown_at` is table time."""

    as_of: datetime | None = None
    shown_at: datetime | None = None
    history: bool = False


@dataclass(frozen=True)
class StoredTable:
    """A table as found in the lake: which version to read, and what its log says of it.

    Attributes:
        name: Its name in SQL.
        uri: Where it is.
        version: The version to read.
        born: Whether it was there at that moment.
        comment: What it holds.
        columns: The comment of each column.
        damage: Why its log cannot be read; empty when it can.
        files: Its files, if these are read without its log.
    """

    name: TableName
    uri: str
    version: int | None = None
    born: bool = True
    comment: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    damage: str = ""
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Union:
    """A view over every cleaned table that has the columns of a domain's common model.

    Attributes:
        name: Its name in the layer `cleaned`.
        columns: Its columns and their types, `source` (the table's name) before them. A table
            belongs to it if it has the columns of `keys`; those it lacks besides are null.
        keys: The columns that a member must have.
    """

    name: str
    columns: Mapping[str, str]
    keys: Sequence[str]

    def select(self, members: Mapping[str, Collection[str]]) -> str:
        """Return the SELECT over these tables, of which the columns are given."""
        parts = [
            self._of(f"cleaned.{_identifier(name)}", literal(name), held)
            for name, held in sorted(members.items())
            if set(self.keys) <= set(held)
        ]
        nothing = self._of("(SELECT 1) WHERE false", "NULL::VARCHAR", ())
        return " UNION ALL ".join(parts or [nothing])

    def _of(self, table: str, source: str, held: Collection[str]) -> str:
        columns = ", ".join(
            f"{_identifier(column)}::{kind} AS {_identifier(column)}"
            if column in held
            else f"NULL::{kind} AS {_identifier(column)}"
            for column, kind in self.columns.items()
        )
        return f"SELECT {source} AS source, {columns} FROM {table}"  # noqa: S608 (quoted)


def create(
    con: duckdb.DuckDBPyConnection,
    layout: Layout,
    stored: Sequence[StoredTable],
    derived: Mapping[str, str],
    moment: Moment,
    *,
    unions: Sequence[Union] = (),
    blank: Mapping[TableName, Mapping[str, str]] | None = None,
    wanted: Collection[TableName] | None = None,
    pinned: bool = True,
) -> None:
    """Create a view for each table; one that cannot be asked raises an error that names it.

    Four kinds of tables are there before anything is stored: a source's quarantine and what is
    named as blank, without a row, the unions, and an aggregated table, evaluated from its SQL, as
    soon as the tables are there that it is made of.

    Args:
        con: A connection with a schema for each layer.
        layout: The lake; what is told of an error holds none of its keys.
        stored: The tables of the lake.
        derived: The SQL of tables by name; one without a layer is aggregated.
        moment: What the views show.
        unions: The views over cleaned tables of one model.
        blank: The types of the columns of tables that are there, without a row, before the first
            is written.
        wanted: The tables that are needed; None for all. Each has to be bound, with all that it
            is made of, and that takes its time. If there is none of that name, all are created:
            what is said of it names those that are near.
        pinned: Whether they stay at the versions found, or follow the tables.

    Raises:
        ConfigurationError: If aggregated tables are made of each other.
    """
    there = {table.name for table in stored}
    evaluated = {
        name: sql
        for name, sql in ((_table(name), sql) for name, sql in derived.items())
        if moment.as_of or name not in there
    }
    spotless = {
        name: columns
        for name, columns in {
            **{TableName("quarantine", n): _QUARANTINE for layer, n in there if layer == "raw"},
            **(blank or {}),
        }.items()
        if name not in there
    }
    united = {TableName("cleaned", union.name): union for union in unions}
    known = there | spotless.keys() | united.keys() | evaluated.keys()
    if wanted is None or not known.issuperset(wanted):
        needed = known
    else:
        members = [name for name in there if name.layer == "cleaned"]
        needed = _needed(con, evaluated, dict.fromkeys(united, members), wanted)
    for table in stored:
        if table.name in needed and table.name not in evaluated:
            _create_stored(con, layout, table, _select(table, moment, pinned=pinned))
    for name in sorted(spotless.keys() & needed):
        _create_view(con, name, _nothing_yet(name, spotless[name], layout, pinned=pinned))
    for name in united.keys() & needed:
        _create_union(con, united[name], stored)
    visible = there | spotless.keys() | (united.keys() & needed)
    evaluated = {name: sql for name, sql in evaluated.items() if name in needed}
    for name, sql in _in_order(con, evaluated):
        missing = sorted(_references(con, sql) - visible)
        if name in there or not missing:
            _create_derived(con, name, sql, missing, history=moment.history)
            visible.add(name)
    _write_comments(con, stored)


def _needed(
    con: duckdb.DuckDBPyConnection,
    evaluated: Mapping[TableName, str],
    united: Mapping[TableName, Collection[TableName]],
    wanted: Collection[TableName],
) -> set[TableName]:
    """Return what is wanted and all that it is made of."""
    found: set[TableName] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += united.get(name, ())
            if name in evaluated:
                waiting += _references(con, evaluated[name])
    return found


def _create_stored(
    con: duckdb.DuckDBPyConnection, layout: Layout, table: StoredTable, select: str
) -> None:
    try:
        _create_view(con, table.name, select)
    except duckdb.Error as error:
        why = first_line(error, layout)
        _create_view(con, table.name, _refusal(f"{table.name} cannot be read: {why}"))


def _create_union(
    con: duckdb.DuckDBPyConnection, union: Union, stored: Sequence[StoredTable]
) -> None:
    cleaned = [table for table in stored if table.name.layer == "cleaned"]
    name = TableName("cleaned", union.name)
    # Of a damaged table nobody knows whether it belongs here: without it, answers would be wrong.
    damaged = next((table.damage for table in cleaned if table.damage), None)
    select = union.select({table.name.name: table.columns.keys() for table in cleaned})
    _create_view(con, name, _refusal(f"{name}: {damaged}") if damaged else select)


def _select(table: StoredTable, moment: Moment, *, pinned: bool) -> str:
    """Return the SELECT that a table's view is."""
    if table.damage:
        return _refusal(table.damage)
    version = f", version => {table.version}" if pinned else ""
    source = f"SELECT * FROM delta_scan({literal(address(table.uri))}{version})"  # noqa: S608 (quoted)
    if table.files:
        listed = ", ".join(map(literal, table.files))
        source = f"SELECT * FROM read_parquet([{listed}], hive_types_autocast => false)"  # noqa: S608
    if not table.born:
        return f"{source} WHERE false"
    condition = "true"
    if {"known_from", "known_to"} <= table.columns.keys():
        condition = _known(moment)
    elif moment.as_of and "recorded_at" in table.columns:
        condition = f"recorded_at <= {_timestamp(moment.as_of)}"
    elif moment.as_of:
        return _refusal(f"{table.name} cannot be answered as of a moment: it holds no past")
    newest = None if moment.history else _NEWEST.get(table.name)
    if newest:
        keys, order = newest
        condition += f" QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1"
    return f"{source} WHERE {condition}"


def _nothing_yet(name: TableName, types: Mapping[str, str], layout: Layout, *, pinned: bool) -> str:
    """Return the SELECT of a table that no row has come to yet.

    One that should follow the tables cannot: it raises an error as soon as there is something to
    follow, whatever is asked of it.
    """
    late = literal(f"{name} is newer than this file: any `intel run` writes it anew")
    value = "NULL" if pinned else f"error({late})"
    columns = ", ".join(f"CAST({value} AS {t}) AS {_identifier(c)}" for c, t in types.items())
    if pinned:
        return f"SELECT {columns} WHERE false"
    log = literal(f"{escape(layout.table_uri(*name))}/_delta_log/*")
    return f"SELECT {columns} FROM glob({log}) WHERE CAST({value} AS BOOLEAN)"  # noqa: S608


def _known(moment: Moment) -> str:
    if moment.history:
        return "true"
    if moment.as_of is None:
        return "known_to IS NULL"
    at = _timestamp(moment.as_of)
    return f"known_from <= {at} AND (known_to IS NULL OR known_to > {at})"


def _refusal(sentence: str) -> str:
    """Return a SELECT that raises, whatever is asked of it.

    The filter raises when it is read, `count(*)` included; a column that is asked for by name is
    not found, and then DuckDB lists the columns there are: the sentence.
    """
    sentence = sentence.replace(",", ";")  # DuckDB cuts what it lists at commas.
    return (
        f"SELECT NULL AS {_identifier(sentence)} FROM range(1)"  # noqa: S608 (quoted)
        f" WHERE CAST(error({literal(sentence)}) AS BOOLEAN)"
    )


def _table(name: str) -> TableName:
    layer, _, table = name.rpartition(".")
    return TableName(layer or "aggregated", table)


def _in_order(
    con: duckdb.DuckDBPyConnection, derived: Mapping[TableName, str]
) -> Iterator[tuple[TableName, str]]:
    """Yield derived tables, each after those that its SQL refers to."""
    needs = {
        name: {reference for reference in _references(con, sql) if reference in derived}
        for name, sql in sorted(derived.items())
    }
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " -> ".join(name.name for name in error.args[1])
        raise ConfigurationError(
            f"Aggregated tables are made of each other: {circle}.",
            "Break the circle in their .sql files.",
        ) from None
    for name in order:
        yield name, derived[name]


def _references(con: duckdb.DuckDBPyConnection, sql: str) -> set[TableName]:
    return {
        TableName(layer, name) for layer, name in sqldoor.references(con, sql) if layer in LAYERS
    }


def _create_derived(
    con: duckdb.DuckDBPyConnection,
    name: TableName,
    sql: str,
    missing: Sequence[TableName],
    *,
    history: bool,
) -> None:
    if missing:
        _create_view(con, name, _refusal(f"{name} needs {missing[0]}, which is not in this lake"))
        return
    if history:  # Over every version of every record it would count each as often as it changed.
        _create_view(con, name, _refusal(f"{name} has no history: it is evaluated from its SQL"))
        return
    try:
        _create_view(con, name, sql.strip().rstrip(";"))
    except duckdb.Error as error:
        why = sqldoor.headline(error)
        _create_view(con, name, _refusal(f"{name} cannot be evaluated: {why}"))


def _create_view(con: duckdb.DuckDBPyConnection, name: TableName, select: str) -> None:
    con.execute(f"CREATE VIEW {name.layer}.{_identifier(name.name)} AS {select}")


def _write_comments(con: duckdb.DuckDBPyConnection, stored: Sequence[StoredTable]) -> None:
    # A view that refuses, or is evaluated from SQL, need not have the columns of its table.
    rows = con.execute("SELECT schema_name, table_name, column_name FROM duckdb_columns()")
    real = {(TableName(layer, name), column) for layer, name, column in rows.fetchall()}
    made = {name for name, _ in real}
    statements = []
    for table in stored:
        if table.name not in made:
            continue  # Not wanted.
        view = f"{table.name.layer}.{_identifier(table.name.name)}"
        if table.comment:
            statements.append(f"COMMENT ON VIEW {view} IS {literal(table.comment)}")
        statements += [
            f"COMMENT ON COLUMN {view}.{_identifier(column)} IS {literal(comment)}"
            for column, comment in table.columns.items()
            if comment and (table.name, column) in real
        ]
    if statements:
        con.execute(f"BEGIN; {'; '.join(statements)}; COMMIT")


def _timestamp(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.isoformat()}'"


def _identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
