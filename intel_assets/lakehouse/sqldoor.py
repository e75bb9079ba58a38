"""One door for SQL that a user typed: what it may say, what it may reach, how long it may take.

Belongs here: checking, locking and running such statements, and DuckDB's errors as ours. Which
views there are is in catalog.py. Three walls stand behind each other: a statement is parsed and
must be one SELECT over visible tables (`check`); the connection can reach no file outside the
tables and can no longer be set otherwise (`lock`); and a query ends in time (`run`).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import duckdb

from intel_assets.errors import IntelError, StorageError, UsageError

Parameters = Sequence[object] | Mapping[str, object]

TABLE_FUNCTIONS = frozenset(
    {
        # They make rows of their arguments.
        *("range", "generate_series", "unnest", "repeat", "json_each", "json_tree"),
        # They describe tables, functions and types. Not duckdb_views: its SQL says where the lake
        # is. Not duckdb_settings, _secrets, _logs, _databases: they are about the machine.
        *("duckdb_columns", "duckdb_tables", "duckdb_schemas", "duckdb_functions"),
        *("duckdb_types", "duckdb_keywords", "pg_timezone_names"),
    }
)
"""The table functions that a user may call; all others are refused."""

REFUSED_FUNCTIONS = frozenset(
    {
        *("write_log", "write_blob", "nextval", "currval"),  # They write.
        *("sleep_ms", "pg_sleep"),  # They hold a thread without working.
        # They read settings, the environment or files. Some are table functions today, or of the
        # command line only: named here too, should a release make them scalar.
        *("current_setting", "getenv", "read_text", "read_blob", "glob", "pg_get_viewdef"),
        # They bind or run SQL that this door has not seen.
        *("json_serialize_plan", "json_execute_serialized_sql", "query", "query_table"),
        # The delta extension's helpers for its own tests.
        *("get_delta_test_expression", "parse_delta_filter_logline", "parse_duckdb_log_message"),
    }
)
"""The scalar functions and macros that a user may not call; a test holds that DuckDB has no other
function than those that were looked at."""

_METADATA_VIEWS = frozenset(
    {
        *(("", name) for name in TABLE_FUNCTIONS if name.startswith("duckdb_")),
        *(("information_schema", name) for name in ("tables", "columns", "schemata")),
    }
)
_SHOWS = frozenset({"tables", "__show_tables_expanded"})
_SPILL_LIMIT = "20GB"  # A runaway sort must not fill the disk on which the lake may stand.
_DO = "Ask with one SELECT over the tables that SHOW ALL TABLES lists."


def check(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuse a statement that is not one SELECT over visible tables with harmless functions.

    Raises:
        UsageError: Saying what is refused, or what is wrong with the statement.
    """
    nodes = list(_nodes(_readable(_serialized(con, sql))))
    visible = _visible(con)
    own = {name for node in nodes for name in _defined(node)}
    for node in nodes:
        _check_function(node)
        _check_table(node, visible, own)


def _readable(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the tree of one SELECT; refuse every other."""
    if tree["error"]:
        if tree["error_type"] == "not implemented":
            raise UsageError("Only SELECT is allowed here.", _DO)
        raise UsageError(headline(tree["error_message"]), "Mend the SQL.")
    if len(tree["statements"]) != 1:
        raise UsageError(f"One statement is allowed, not {len(tree['statements'])}.", _DO)
    return tree


def references(con: duckdb.DuckDBPyConnection, sql: str) -> set[tuple[str, str]]:
    """Return the `(schema, table)` pairs that a SELECT reads; empty when it is no SELECT."""
    return {
        (node["schema_name"], node["table_name"])
        for node in _nodes(_serialized(con, sql))
        if node.get("type") == "BASE_TABLE"
    }


def asked(sql: str) -> set[tuple[str, str]] | None:
    """Return the tables that a user's SELECT names; None if it may be about all that there are.

    So is one that lists tables, or that names a table without its schema.

    Raises:
        UsageError: If it is no SELECT, or cannot be read.
    """
    with duckdb.connect() as con:
        tree = _serialized(con, sql)
    nodes = list(_nodes(_readable(tree)))
    own = {("", name) for node in nodes for name in _defined(node)}
    named = {
        (node["schema_name"], node["table_name"])
        for node in nodes
        if node.get("type") == "BASE_TABLE"
    } - own
    lists = any(node.get("type") in ("SHOW_REF", "TABLE_FUNCTION") for node in nodes)
    unsaid = any(not schema or (schema, name) in _METADATA_VIEWS for schema, name in named)
    return None if lists or unsaid else named


def lock(
    con: duckdb.DuckDBPyConnection,
    directories: Sequence[str],
    *,
    memory_limit: str = "2GB",
    threads: int | None = None,
    temp_directory: str | Path,
) -> None:
    """Close a connection: it reaches the files below some directories, and nothing else, for good.

    Args:
        con: The connection, with its views made.
        directories: The roots of the visible layers. Never the lake's root, the landing or the
            tenants: everything below a root can be read.
        memory_limit: How much memory the queries of this connection take, as DuckDB writes it.
        threads: How many threads; None for one per core.
        temp_directory: Where queries that need more than the memory spill, at most 20 GB.

    Raises:
        UsageError: If DuckDB does not understand a limit.
    """
    settings: dict[str, object] = {
        "memory_limit": memory_limit,
        "temp_directory": str(temp_directory),
        "max_temp_directory_size": _SPILL_LIMIT,
        "python_enable_replacements": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "allowed_directories": list(directories),
        "enable_external_access": False,
    }
    if threads is not None:
        settings["threads"] = threads
    with _explained():
        for name, value in settings.items():
            con.execute(f"SET {name} = ?", [value])
        con.execute("SET lock_configuration = true")


def run(
    con: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters = (), *, timeout: float
) -> duckdb.DuckDBPyRelation:
    """Check a statement and run it to its end.

    Args:
        con: A connection with views, locked when the statement comes from a user.
        sql: One SELECT.
        parameters: The values of `?` or `$name` in it.
        timeout: Seconds after which the query is ended.

    Returns:
        The relation, already computed: fetching from it runs nothing again.

    Raises:
        UsageError: If the statement is refused or wrong, or takes too long or too much memory.
        StorageError: If a table's files cannot be read.
    """
    check(con, sql)
    with _explained(), _time_limit(con, timeout):
        relation = con.sql(sql, params=parameters or None)
        relation.execute()
        return relation


def explain(
    con: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters = (), *, timeout: float = 30
) -> str:
    """Return DuckDB's plan of a checked statement, which is not run.

    Raises:
        UsageError: If the statement is refused or wrong.
        StorageError: If a table's files cannot be read.
    """
    check(con, sql)
    with _explained(), _time_limit(con, timeout):
        rows = con.execute(f"EXPLAIN {sql}", parameters or None).fetchall()
    return "\n".join(plan for _, plan in rows)


def headline(error: object) -> str:
    """Return DuckDB's message with its hint, without its excerpt of the statement, on one line."""
    lines = str(error).strip().partition("\n\n")[0].splitlines()[:2]
    line = " ".join(line.strip() for line in lines)
    return re.sub(r"^(Binder|Catalog|Parser|Invalid Input|IO) Error: ", "", line)


def _serialized(con: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    try:
        if "\0" in sql:  # What stands behind it could be read by one parser and not by the other.
            raise ValueError(sql)
        text = sql.encode().decode()
        row = con.execute("SELECT json_serialize_sql(CAST(? AS VARCHAR))", [text]).fetchone()
        tree: dict[str, Any] = json.loads(row[0]) if row else {}
    except (duckdb.Error, RecursionError, ValueError):
        raise UsageError("The SQL cannot be read: it is garbled, or nested too deeply.") from None
    return tree


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


def _visible(con: duckdb.DuckDBPyConnection) -> frozenset[tuple[str, str]]:
    """Return `(schema, name)` of every view and table that is not DuckDB's own, in small letters.

    What stands in the search path can be named without its schema as well.
    """
    rows = con.execute(
        "SELECT lower(schema_name), lower(view_name) FROM duckdb_views() WHERE NOT internal"
        " UNION ALL SELECT lower(schema_name), lower(table_name) FROM duckdb_tables()"
    ).fetchall()
    return frozenset(rows) | {("", name) for schema, name in rows if schema == "main"}


def _defined(node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the CTEs that a node defines.

    One that could be a file's name is left out: were it defined in one place and read in another
    where it is out of scope, DuckDB would take it for the file.
    """
    for entry in node.get("cte_map", {}).get("map", ()):
        name = str(entry["key"]).lower()
        if name.replace("_", "").replace(" ", "").isalnum():
            yield name


def _check_function(node: Mapping[str, Any]) -> None:
    if node.get("type") == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise UsageError(f"FROM {name or 'an expression'}(…) is not allowed here.", _DO)
    name = str(node.get("function_name", "")).lower()
    if name in REFUSED_FUNCTIONS:
        raise UsageError(f"The function {name} is not allowed here.", _DO)


def _check_table(
    node: Mapping[str, Any], visible: frozenset[tuple[str, str]], own: set[str]
) -> None:
    if node.get("type") == "SHOW_REF" and node["query"] is None:
        shown = node["table_name"].strip('"')
        if node["show_type"] != "SHOW_FROM" and shown not in _SHOWS:
            raise UsageError(f"SHOW {shown} is not allowed here.", _DO)
        return
    if node.get("type") != "BASE_TABLE":
        return
    name = (node["schema_name"].lower(), node["table_name"].lower())
    if node["catalog_name"].lower() in ("", "memory") and (
        name in visible | _METADATA_VIEWS or (name[0] == "" and name[1] in own)
    ):
        return
    full = ".".join(
        part for part in (node["catalog_name"], node["schema_name"], node["table_name"]) if part
    )
    raise UsageError(f"There is no table '{full}' here.", _near(name, visible))


def _near(name: tuple[str, str], visible: frozenset[tuple[str, str]]) -> str:
    names = {f"{schema}.{table}": table for schema, table in sorted(visible) if schema}
    wanted = name[1].rpartition(".")[2]
    near = [full for full, table in names.items() if table == wanted]
    near += get_close_matches(".".join(part for part in name if part), names, cutoff=0.7)
    near += [full for full in names if names[full] in get_close_matches(wanted, names.values())]
    near = list(dict.fromkeys(near))[:5] or [n for n in names if n.startswith(f"{name[0]}.")][:5]
    if not near:
        return "SHOW ALL TABLES lists those that are there."
    return f"Did you mean {' or '.join(near)}?"


@contextmanager
def _time_limit(con: duckdb.DuckDBPyConnection, timeout: float) -> Iterator[None]:
    """End what runs on a connection after some seconds."""
    done, late = threading.Event(), threading.Event()

    def watch() -> None:
        if done.wait(timeout):
            return
        late.set()
        while not done.wait(0.05):  # One that comes between two steps of a query is lost.
            con.interrupt()

    watcher = threading.Thread(target=watch, name="sql-time-limit", daemon=True)
    watcher.start()
    try:
        yield
    except duckdb.InterruptException:
        if not late.is_set():
            raise
        raise UsageError(
            f"The query took longer than {timeout:g} s and was ended.",
            "Ask for less, or give it a longer time limit.",
        ) from None
    finally:
        done.set()
        watcher.join()


@contextmanager
def _explained() -> Iterator[None]:
    """Turn DuckDB's errors into ours: its own sentence and hint, without the excerpt."""
    try:
        yield
    except IntelError:
        raise
    except (duckdb.IOException, duckdb.HTTPException) as error:
        raise StorageError(headline(error), "Check that the lake is whole.") from None
    except duckdb.OutOfMemoryException as error:
        raise UsageError(headline(error), "Ask for less, or give it more memory.") from None
    except (duckdb.Error, RecursionError, ValueError) as error:
        raise UsageError(headline(error)) from None
