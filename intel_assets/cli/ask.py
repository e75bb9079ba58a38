"""Commands that only ask: `sql` and `quarantine`; `status` is in status.py."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import duckdb
import typer

from intel_assets.cli import show
from intel_assets.clock import Clock, parse_day, parse_instant
from intel_assets.errors import UsageError
from intel_assets.lakehouse import sqldoor
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.format import check_format
from intel_assets.lakehouse.layout import LAYERS
from intel_assets.lakehouse.views import TableName
from intel_assets.settings import Settings, load_settings
from intel_assets.sources import registry
from intel_assets.world import world_clock

AsOf = Annotated[
    str | None, typer.Option("--as-of", metavar="T", help="What was known at that moment.")
]
ShownAt = Annotated[
    str | None,
    typer.Option("--shown-at", metavar="T", help="What the tables themselves held at that moment."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


def sql(
    query: Annotated[str, typer.Argument(help="One SELECT; `-` reads it from standard input.")],
    as_of: AsOf = None,
    shown_at: ShownAt = None,
    history: Annotated[
        bool, typer.Option("--history", help="All versions of every record, not what holds now.")
    ] = False,
    form: Annotated[
        show.Format, typer.Option("--format", help="How the answer is written.")
    ] = show.Format.TABLE,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file for the answer.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the plan instead.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.001,
            show_default=False,
            help="End the query after that; INTEL_QUERY_SECONDS if left out.",
        ),
    ] = None,
) -> None:
    """Ask the lake in SQL.

    Tables are `layer.name`, such as `aggregated.urlhaus_daily`. To list them, and the columns of
    one: `SELECT schema, name FROM (SHOW ALL TABLES)` and `DESCRIBE raw.urlhaus`.
    """
    settings = load_settings()
    text = sys.stdin.read() if query == "-" else query
    named = sqldoor.asked(text)
    wanted = None if named is None else {TableName(*one) for one in named}
    with locked(settings, as_of, shown_at, history=history, wanted=wanted) as connection:
        if explain:
            typer.echo(sqldoor.explain(connection, text))
            return
        seconds = timeout or settings.query_seconds
        show.answer(sqldoor.run(connection, text, timeout=seconds), form, out)


def quarantine(
    source: Annotated[str, typer.Argument(help="The source.")],
    day: Annotated[
        str | None, typer.Option("--day", metavar="DAY", help="Only that day (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many rows.")] = 50,
    json: AsJson = False,
) -> None:
    """Show the records of a source that break a rule, and which."""
    registry.known(source)
    wanted = parse_day(day) if day else None
    settings = load_settings()
    check_format(settings.layout)
    catalog = Catalog(settings.layout)
    if ("quarantine", source) not in catalog.tables():
        typer.echo(f"Nothing of {source} was ever rejected.", err=True)
        if json:
            show.records([], [])
        return
    with catalog.connect(wanted={TableName("quarantine", source)}) as connection:
        found = connection.execute(
            # The name is one of the registry's.
            'SELECT day, rule, "column", value, message, record_id, known_from, run_id '  # noqa: S608
            f'FROM quarantine."{source}" WHERE ? IS NULL OR day = CAST(? AS DATE) '
            "ORDER BY day DESC, record_id LIMIT ?",
            [wanted, wanted, limit],
        )
        columns = [column[0] for column in found.description or []]
        values = found.fetchall()
    (show.records if json else show.rows)(columns, values)


@contextmanager
def locked(
    settings: Settings,
    as_of: str | None,
    shown_at: str | None,
    *,
    history: bool,
    wanted: Collection[TableName] | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection that user SQL may run on: the visible tables, and nothing else."""
    check_format(settings.layout)
    clock = world_clock(settings)
    catalog = Catalog(settings.layout, clock=clock)
    connection = catalog.connect(
        as_of=past(as_of, clock) if as_of else None,
        shown_at=past(shown_at, clock) if shown_at else None,
        history=history,
        wanted=wanted,
    )
    with tempfile.TemporaryDirectory(prefix="intel-sql-") as spill, connection:
        sqldoor.lock(
            connection,
            [settings.layout.layer_uri(layer) for layer in LAYERS],
            memory_limit=settings.query_memory,
            temp_directory=spill,
        )
        yield connection


def past(text: str, clock: Clock) -> datetime:
    """Read a moment that is not in the future; today, as a day, means now.

    Raises:
        UsageError: If it is no moment, or lies in the future.
    """
    moment, now = parse_instant(text), clock()
    if moment.date() > now.date():
        raise UsageError(f"{text} lies in the future.", f"It is {now:%Y-%m-%dT%H:%MZ}.")
    return min(moment, now)


COMMANDS = {"sql": sql, "quarantine": quarantine}
