"""The lake as SQL: a DuckDB connection with a view for every table, and the shipped `intel.duckdb`.

Belongs here: which tables there are, and what a view of each shows by default, as of a moment,
and as shown at a moment. Running what a user typed is in sqldoor.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import duckdb

from intel_assets.clock import Clock, system_clock
from intel_assets.errors import ConfigurationError, RetentionPassed, StorageError, UsageError
from intel_assets.lakehouse import extensions, sqldoor
from intel_assets.lakehouse.extensions import literal
from intel_assets.lakehouse.layout import LAYERS, Layout

if TYPE_CHECKING:
    from deltalake import DeltaTable

SHIPPED_NAME = "intel.duckdb"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TableName(NamedTuple):
    """A table's name in SQL: `layer.name`."""

    layer: str
    name: str

    def __str__(self) -> str:
        """Write it as SQL does."""
        return f"{self.layer}.{self.name}"


@dataclass(frozen=True)
class _Moment:
    """What the views show: `as_of` is known time, `shown_at` is table time."""

    as_of: datetime | None = None
    shown_at: datetime | None = None
    history: bool = False


@dataclass(frozen=True)
class _Stored:
    """A table as found in the lake: which version to read, and what its log says of it."""

    name: TableName
    uri: str
    version: int | None = None
    born: bool = True
    comment: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    damage: str = ""
    """Why its log cannot be read; empty when it can."""


class Catalog:
    """The tables of one lake, or of one tenant in it, for DuckDB."""

    def __init__(
        self,
        layout: Layout,
        *,
        derived: Mapping[str, str] | None = None,
        clock: Clock = system_clock,
        retention: timedelta = timedelta(days=30),
    ) -> None:
        """Keep where the tables are.

        Args:
            layout: The lake.
            derived: The SQL of aggregated tables by name; None for all in the package.
            clock: Says now, against which `retention` counts.
            retention: How long the files of past versions are kept.
        """
        self._layout = layout
        self._derived = derived_sql() if derived is None else derived
        self._clock = clock
        self._retention = retention

    def connect(
        self,
        *,
        as_of: datetime | None = None,
        shown_at: datetime | None = None,
        history: bool = False,
    ) -> duckdb.DuckDBPyConnection:
        """Open an in-memory DuckDB in UTC, a schema per layer and a view per table.

        All views are pinned to the versions found now, so that they are one snapshot. By default
        they show the records that hold now. A table whose log cannot be read has a view that
        raises an error naming it.

        Args:
            as_of: Show what was known at that moment, read with today's code; aggregated tables
                are evaluated from their SQL.
            shown_at: Read the versions that the tables had at that moment.
            history: Show all versions of every record.

        Raises:
            UsageError: If a moment has no zone, or `as_of` and `history` are both asked for.
            RetentionPassed: If `shown_at` lies before what the tables still hold.
            ConfigurationError: If DuckDB cannot read such a lake.
            StorageError: If the lake cannot be listed.
        """
        moment = _Moment(_utc(as_of), _utc(shown_at), history)
        if moment.as_of and history:
            raise UsageError("Either as of a moment, or the whole history.", "Leave one out.")
        if moment.shown_at and moment.shown_at < self._clock() - self._retention:
            raise RetentionPassed(
                f"The tables as shown at {moment.shown_at.isoformat()} are gone: past versions "
                f"are kept for {self._retention.days} days.",
                "Ask with as-of, which has no such end.",
            )
        con = duckdb.connect()
        try:
            self._open_lake(con)
            self._create_views(con, self._stored(moment.shown_at), moment)
        except BaseException:
            con.close()
            raise
        return con

    def tables(self) -> list[TableName]:
        """Return the tables that exist in the lake, sorted.

        Raises:
            StorageError: If the lake cannot be listed.
        """
        if self._layout.is_local:
            return self._candidates()
        return [table.name for table in self._stored(None)]

    def write_shipped(self, path: Path | None = None) -> Path:
        """Write a DuckDB file with a view per table, for every other program that speaks DuckDB.

        Its views follow the tables (they are not pinned) and show what holds now. It is written
        aside and moved into place, so that readers of the old file are not disturbed and writers
        at the same time do not mix; the last one wins.

        Args:
            path: The file; None for `intel.duckdb` at the root of the lake.

        Raises:
            UsageError: If the lake is no folder of this machine.
            StorageError: If the lake cannot be listed, or the file cannot be written.
        """
        if not self._layout.is_local:
            raise UsageError(
                "A lake at a URI has no file of views, since it would have to hold the keys.",
                "Ask it with `intel sql`, or connect from Python.",
            )
        path = path or Path(self._layout.base) / SHIPPED_NAME
        aside = path.with_name(f".{path.name}.{uuid4().hex}")
        with _writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with duckdb.connect(str(aside)) as con:
                    self._open_lake(con)
                    self._create_views(con, self._stored(None), _Moment(), pinned=False)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
                aside.with_name(f"{aside.name}.wal").unlink(missing_ok=True)
        return path

    def _open_lake(self, con: duckdb.DuckDBPyConnection) -> None:
        extensions.load(con, "delta")
        if not self._layout.is_local:
            extensions.load(con, "httpfs")
            extensions.create_secret(con, self._layout)
        con.execute("SET TimeZone = 'UTC'")
        con.execute("; ".join(f"CREATE SCHEMA IF NOT EXISTS {layer}" for layer in LAYERS))

    def _candidates(self) -> list[TableName]:
        with _readable_lake(self._layout):
            return sorted(name for layer in LAYERS for name in self._names(layer))

    def _names(self, layer: str) -> Iterator[TableName]:
        uri = self._layout.layer_uri(layer)
        if self._layout.is_local:
            root = Path(uri)
            logs = root.glob("*/_delta_log") if root.is_dir() else ()
            # A log without an entry is a table that a full disk or a kill kept from being made.
            found = [log.parent.name for log in logs if any(log.iterdir())]
        else:
            prefixes = self._layout.store(uri).list_with_delimiter()["common_prefixes"]
            found = [prefix.rstrip("/").rpartition("/")[2] for prefix in prefixes]
        for name in found:
            try:
                self._layout.table_uri(layer, name)
            except UsageError:
                continue  # No table of ours: a table's name is a slug.
            yield TableName(layer, name)

    def _stored(self, shown_at: datetime | None) -> list[_Stored]:
        names = self._candidates()
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda name: self._look_at(name, shown_at), names)
            return [table for table in found if table is not None]

    def _look_at(self, name: TableName, shown_at: datetime | None) -> _Stored | None:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        uri = self._layout.table_uri(*name)
        try:
            table = DeltaTable(uri, storage_options=dict(self._layout.storage_options))
            version = table.version() if shown_at is None else _version_at(table, shown_at)
            if version is not None and version != table.version():
                table.load_as_version(version)
            return _Stored(
                name,
                uri,
                version=0 if version is None else version,
                born=version is not None,
                comment=table.metadata().description or "",
                columns={
                    column.name: _comment(column.metadata) for column in table.schema().fields
                },
            )
        except TableNotFoundError:
            if not self._layout.is_local:
                return None  # A folder of something else: at a URI only opening it tells.
            return _Stored(name, uri, damage=f"{name} cannot be read: its log is empty")
        except (DeltaError, OSError, ValueError) as error:
            why = _first_line(error, self._layout)
            return _Stored(name, uri, damage=f"{name} cannot be read: {why}")

    def _create_views(
        self,
        con: duckdb.DuckDBPyConnection,
        stored: list[_Stored],
        moment: _Moment,
        *,
        pinned: bool = True,
    ) -> None:
        evaluated = self._derived if moment.as_of else {}
        for table in stored:
            if table.name.layer == "aggregated" and table.name.name in evaluated:
                continue
            select = _select(table, moment, pinned=pinned)
            try:
                _create_view(con, table.name, select)
            except duckdb.Error as error:
                why = _first_line(error, self._layout)
                _create_view(con, table.name, _refusal(f"{table.name} cannot be read: {why}"))
        present = {table.name for table in stored}
        for name, sql in _in_order(con, evaluated):
            _create_derived(con, name, sql, present)
            present.add(name)
        _write_comments(con, stored)


def derived_sql() -> dict[str, str]:
    """Collect the SQL of aggregated tables from the package: `<domain>/sql/<table>.sql`."""
    return {
        file.name.removesuffix(".sql"): file.read_text(encoding="utf-8")
        for domain in files("intel_assets").iterdir()
        if domain.is_dir() and (domain / "sql").is_dir()
        for file in (domain / "sql").iterdir()
        if file.name.endswith(".sql")
    }


@contextmanager
def _readable_lake(layout: Layout) -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except (OSError, BaseError) as error:
        raise StorageError(
            f"The lake at {layout.base} cannot be listed: {_first_line(error, layout)}",
            "Check INTEL_LAKE and the storage options.",
        ) from None


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, duckdb.IOException) as error:
        raise StorageError(
            f"{path} cannot be written: {_first_line(error)}",
            "Let this user write there, and see that the disk is not full.",
        ) from None


def _version_at(table: DeltaTable, moment: datetime) -> int | None:
    """Return the version that a table had at a moment; None when there was no table yet.

    The commit's own timestamp decides, not the log file's (which `load_as_version` asks, and
    which a copy or a restored backup changes).

    Raises:
        RetentionPassed: If the log does not reach back that far.
    """
    wanted = (moment - _EPOCH) // timedelta(milliseconds=1)
    limit, seen = 16, 0
    while True:
        commits = table.history(limit)
        for commit in commits[seen:]:
            if commit.get("timestamp", wanted + 1) <= wanted:
                return int(commit["version"])
        if len(commits) < limit:
            break
        limit, seen = limit * 8, len(commits)
    if commits and commits[-1]["version"] == 0:
        return None
    raise RetentionPassed(
        f"The log of {table.table_uri} does not reach back to {moment.isoformat()}.",
        "Ask with as-of, which has no such end.",
    )


def _select(table: _Stored, moment: _Moment, *, pinned: bool) -> str:
    """Return the SELECT that a table's view is."""
    if table.damage:
        return _refusal(table.damage)
    version = f", version => {table.version}" if pinned else ""
    source = f"SELECT * FROM delta_scan({literal(table.uri)}{version})"  # noqa: S608 (quoted)
    if not table.born:
        return f"{source} WHERE false"
    condition = "true"
    if {"known_from", "known_to"} <= table.columns.keys():
        condition = _known(moment)
    elif moment.as_of and "recorded_at" in table.columns:
        condition = f"recorded_at <= {_timestamp(moment.as_of)}"
    elif moment.as_of:
        return _refusal(f"{table.name} cannot be answered as of a moment: it holds no past")
    if table.name == ("ops", "fetches") and not moment.history:
        # A fetch is recorded when it was made and again when it was folded into the tables.
        condition += (
            " QUALIFY row_number() OVER (PARTITION BY fetch_id"
            " ORDER BY folded_at NULLS LAST, recorded_at DESC) = 1"
        )
    return f"{source} WHERE {condition}"


def _known(moment: _Moment) -> str:
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


def _in_order(
    con: duckdb.DuckDBPyConnection, derived: Mapping[str, str]
) -> Iterator[tuple[TableName, str]]:
    """Yield derived tables, each after those that its SQL refers to."""
    needs = {
        name: {
            reference.name
            for reference in _references(con, sql)
            if reference.layer == "aggregated" and reference.name in derived
        }
        for name, sql in sorted(derived.items())
    }
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise ConfigurationError(
            f"Aggregated tables are made of each other: {' -> '.join(error.args[1])}.",
            "Break the circle in their .sql files.",
        ) from None
    for name in order:
        yield TableName("aggregated", name), derived[name]


def _references(con: duckdb.DuckDBPyConnection, sql: str) -> set[TableName]:
    return {
        TableName(layer, name) for layer, name in sqldoor.references(con, sql) if layer in LAYERS
    }


def _create_derived(
    con: duckdb.DuckDBPyConnection, name: TableName, sql: str, present: set[TableName]
) -> None:
    missing = sorted(_references(con, sql) - present)
    if missing:
        _create_view(con, name, _refusal(f"{name} needs {missing[0]}, which is not in this lake"))
        return
    try:
        _create_view(con, name, sql.strip().rstrip(";"))
    except duckdb.Error as error:
        why = sqldoor.headline(error)
        _create_view(con, name, _refusal(f"{name} cannot be evaluated: {why}"))


def _create_view(con: duckdb.DuckDBPyConnection, name: TableName, select: str) -> None:
    con.execute(f"CREATE VIEW {name.layer}.{_identifier(name.name)} AS {select}")


def _write_comments(con: duckdb.DuckDBPyConnection, stored: list[_Stored]) -> None:
    # A view that refuses, or is evaluated from SQL, need not have the columns of its table.
    rows = con.execute("SELECT schema_name, table_name, column_name FROM duckdb_columns()")
    real = {(TableName(layer, name), column) for layer, name, column in rows.fetchall()}
    statements = []
    for table in stored:
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


def _comment(metadata: Mapping[str, Any]) -> str:
    text = str(metadata.get("comment", ""))
    kind = str(metadata.get("intel.class", "public"))
    return text if kind == "public" else f"{text} ({kind})".strip()


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise UsageError(f"{moment.isoformat()} has no zone.", "Give a moment in UTC.")
    return moment.astimezone(UTC)


def _first_line(error: Exception, layout: Layout | None = None) -> str:
    line = str(error).strip().partition("\n")[0]
    for key, value in layout.storage_options.items() if layout else ():
        if value and any(word in key.lower() for word in ("key", "secret", "token", "password")):
            line = line.replace(value, "***")
    return line


def _timestamp(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.isoformat()}'"


def _identifier(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
