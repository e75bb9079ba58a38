"""The lake as SQL: a DuckDB connection with a view for every table, and the shipped `intel.duckdb`.

Belongs here: which tables there are, and in which version they are read. What their views show is
in views.py; running what a user typed is in sqldoor.py.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import uuid4

import duckdb

from intel_assets.clock import Clock, system_clock
from intel_assets.errors import RetentionPassed, StorageError, UsageError
from intel_assets.lakehouse import extensions, views
from intel_assets.lakehouse.extensions import first_line
from intel_assets.lakehouse.layout import LAYERS, Layout
from intel_assets.lakehouse.views import Moment, StoredTable, TableName, Union

if TYPE_CHECKING:
    from deltalake import DeltaTable

SHIPPED_NAME = "intel.duckdb"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Catalog:
    """The tables of one lake, or of one tenant in it, for DuckDB."""

    def __init__(
        self,
        layout: Layout,
        *,
        derived: Mapping[str, str] | None = None,
        unions: Sequence[Union] | None = None,
        blank: Mapping[TableName, Mapping[str, str]] | None = None,
        clock: Clock = system_clock,
        retention: timedelta = timedelta(days=30),
    ) -> None:
        """Keep where the tables are.

        Args:
            layout: The lake.
            derived: The SQL of tables by name, aggregated unless that says another layer; None for
                all in the package.
            unions: The views over cleaned tables of one model; None for all in the package.
            blank: The tables that are there, without a row, before the first is written, with
                the types of their columns; None for all in the package.
            clock: Says now, against which `retention` counts.
            retention: How long the files of past versions are kept.

        Raises:
            ConfigurationError: If no table can be kept in such a folder.
        """
        extensions.check_folder(layout)
        self._layout = layout
        self._derived = derived_sql() if derived is None else derived
        self._unions = packaged_unions() if unions is None else unions
        self._blank = packaged_blank() if blank is None else blank
        self._clock = clock
        self._retention = retention

    def connect(
        self,
        *,
        as_of: datetime | None = None,
        shown_at: datetime | None = None,
        history: bool = False,
        wanted: Collection[TableName] | None = None,
        held: Collection[TableName] = (),
    ) -> duckdb.DuckDBPyConnection:
        """Open an in-memory DuckDB in UTC, a schema per layer and a view per table.

        All views are pinned to the versions found now, so that they are one snapshot. By default
        they show the records that hold now. A table whose log cannot be read has a view that
        raises an error naming it. In SQL, `asked_at()` is the moment that is asked about: what
        hangs on the time that passed is counted from there.

        Args:
            as_of: Show what was known at that moment, read with today's code; aggregated tables
                are evaluated from their SQL.
            shown_at: Read the versions that the tables had at that moment.
            history: Show all versions of every record.
            wanted: The tables that will be asked; None for all. Whoever knows them need not wait
                for the others.
            held: Tables whose logs are read only now: whoever asks often does not wait for them
                each time. All their files must have the same columns, and be divided by texts.

        Raises:
            UsageError: If a moment has no zone, or `as_of` and `history` are both asked for.
            RetentionPassed: If `shown_at` lies before what the tables still hold.
            ConfigurationError: If DuckDB cannot read such a lake.
            StorageError: If the lake cannot be listed.
        """
        moment = Moment(_utc(as_of), _utc(shown_at), history)
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
            asked_at = moment.as_of or moment.shown_at or self._clock()
            con.execute(f"CREATE MACRO asked_at() AS TIMESTAMPTZ '{asked_at.isoformat()}'")
            stored = self._stored(moment.shown_at, held)
            views.create(
                con,
                self._layout,
                stored,
                self._derived,
                moment,
                unions=self._unions,
                blank=self._blank,
                wanted=wanted,
            )
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
        # DuckDB takes a question mark in a path for a URL's, and would lose its log while writing.
        with _writable(path), tempfile.TemporaryDirectory(prefix="intel-views-") as folder:
            made = Path(folder) / path.name
            with duckdb.connect(str(made)) as con:
                self._open_lake(con)
                con.execute("CREATE MACRO asked_at() AS now()")
                views.create(
                    con,
                    self._layout,
                    self._stored(None),
                    self._derived,
                    Moment(),
                    unions=self._unions,
                    blank=self._blank,
                    pinned=False,
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(made, aside)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
        return path

    def _open_lake(self, con: duckdb.DuckDBPyConnection) -> None:
        extensions.load(con, "delta")
        if not self._layout.is_local:
            extensions.load(con, "httpfs")
            extensions.create_secret(con, self._layout)
        con.execute("SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
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

    def _stored(
        self, shown_at: datetime | None, held: Collection[TableName] = ()
    ) -> list[StoredTable]:
        names = self._candidates()
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda name: self._look_at(name, shown_at, name in held), names)
            return [table for table in found if table is not None]

    def _look_at(
        self, name: TableName, shown_at: datetime | None, held: bool
    ) -> StoredTable | None:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        uri = self._layout.table_uri(*name)
        try:
            table = DeltaTable(uri, storage_options=dict(self._layout.storage_options))
            version = table.version() if shown_at is None else _version_at(table, shown_at)
            if version is not None and version != table.version():
                table.load_as_version(version)
            return StoredTable(
                name,
                uri,
                version=0 if version is None else version,
                born=version is not None,
                comment=table.metadata().description or "",
                columns={
                    column.name: _comment(column.metadata) for column in table.schema().fields
                },
                files=[unquote(uri) for uri in table.file_uris()] if held else (),
            )
        except TableNotFoundError:
            if not self._layout.is_local:
                return None  # A folder of something else: at a URI only opening it tells.
            return StoredTable(name, uri, damage=f"{name} cannot be read: its log is empty")
        except (DeltaError, OSError, ValueError) as error:
            why = first_line(error, self._layout)
            return StoredTable(name, uri, damage=f"{name} cannot be read: {why}")


@cache
def derived_sql() -> Mapping[str, str]:
    """Collect the SQL of tables from the package: `<folder>/sql/<table>.sql`.

    They are aggregated ones; any other is named with its layer: `ops.quota.sql`. What is summed up
    alike has one SELECT, `<folder>/alike/<kind>.sql`, with `{source}` for each of the sources that
    stand in `<kind>.txt`: it makes their `<source>_daily`.
    """
    found: dict[str, str] = {}
    for domain in files("intel_assets").iterdir():
        for file in (domain / "sql").iterdir() if (domain / "sql").is_dir() else ():
            if file.name.endswith(".sql"):
                found[file.name.removesuffix(".sql")] = file.read_text(encoding="utf-8")
        for file in (domain / "alike").iterdir() if (domain / "alike").is_dir() else ():
            if file.name.endswith(".txt"):
                kind = file.name.removesuffix(".txt")
                select = (domain / "alike" / f"{kind}.sql").read_text(encoding="utf-8")
                for source in file.read_text(encoding="utf-8").split():
                    found[f"{source}_daily"] = select.replace("{source}", source)
    return MappingProxyType(found)


def packaged_unions() -> list[Union]:
    """Collect the unions from the package: `<domain>/unions/<name>.txt`.

    A line is a column and its type; a `*` behind them marks what a member must have.
    """
    found = []
    for domain in files("intel_assets").iterdir():
        if domain.is_dir() and (domain / "unions").is_dir():
            for file in (domain / "unions").iterdir():
                lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
                keys = [column for column, _, *key in lines if key]
                columns = {column: kind for column, kind, *_ in lines}
                found.append(Union(file.name.removesuffix(".txt"), columns, keys))
    return found


def packaged_blank() -> dict[TableName, dict[str, str]]:
    """Collect the tables that are there without a row: `<domain>/blank/<layer>.<table>.txt`.

    A line is a column and its type.
    """
    found = {}
    for domain in files("intel_assets").iterdir():
        if domain.is_dir() and (domain / "blank").is_dir():
            for file in (domain / "blank").iterdir():
                layer, _, name = file.name.removesuffix(".txt").partition(".")
                lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
                found[TableName(layer, name)] = {column: kind for column, kind in lines}
    return found


@contextmanager
def _readable_lake(layout: Layout) -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except (OSError, BaseError) as error:
        raise StorageError(
            f"The lake at {layout.base} cannot be listed: {first_line(error, layout)}",
            "Check INTEL_LAKE and the storage options.",
        ) from None


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, duckdb.IOException) as error:
        raise StorageError(
            f"{path} cannot be written: {first_line(error)}",
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
