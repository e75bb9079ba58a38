"""Gold tables made by their SQL from a few rows in memory, and in a lake."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import polars as pl

from intel_assets.ingest.documents import Window
from intel_assets.lakehouse.catalog import Catalog, derived_sql, packaged_blank, packaged_unions
from intel_assets.lakehouse.views import TableName
from intel_assets.sources.gold import GoldSpec, build, build_whole
from intel_assets.sources.goldsql import sql_type
from intel_assets.threat.gold import feeds, sightings
from intel_assets.threat.gold.sightings import SIGHTINGS
from intel_assets_tests.conftest import NOON, TestLake, unhurried

FIRST = date(2026, 6, 1)
MADE_OF_SIGHTINGS = (
    "feeds",
    "decay",
    "own_entries",
    "indicator_parts",
    "indicator_facts",
    "list_hits",
    "warninglist_hits",
    "watchlist_hits",
    "threat_trends",
    "feed_overlap",
    "feed_measures",
)


def day(number: int) -> date:
    """Return a day of the world; the first is 0."""
    return FIRST + timedelta(days=number)


def at(number: int, hour: float = 0) -> datetime:
    """Return a moment of a day."""
    return datetime(2026, 6, 1, tzinfo=UTC) + timedelta(days=number, hours=hour)


def sighting(
    number: int, source: str, indicator: str, change: str = "seen", **given: Any
) -> dict[str, Any]:
    """Return a row of sightings; an event feed's says that it was first seen at ten."""
    hour = given.pop("hour", 10 if change == "seen" else 0)
    return {
        "day": day(number),
        "source": source,
        "indicator": indicator,
        "indicator_type": "ipv4",
        "change": change,
        "records": 1,
        "first_seen": at(number, hour),
        "detect": True,
        "reserved": False,
        "tlp": "clear",
    } | given


def listed(source: str, snapshots: Mapping[int, Iterable[str]]) -> Iterator[dict[str, Any]]:
    """Yield the sightings of a list's snapshots, by day."""
    before: set[str] = set()
    ever: set[str] = set()
    for number, held in sorted(snapshots.items()):
        now = set(held)
        for one in sorted(now):
            change = "still" if one in before else "back" if one in ever else "added"
            yield sighting(number, source, one, change)
        for one in sorted(before - now):
            yield sighting(number, source, one, "gone")
        before, ever = now, ever | now


@contextmanager
def tables(
    rows: Iterable[Mapping[str, Any]], **others: pl.DataFrame
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB whose sightings are these; all that is made of them is there.

    Args:
        rows: Of aggregated.sightings.
        **others: Tables besides, as `cleaned__indicators` or `aggregated__warninglist_hits`.
    """
    frame = pl.DataFrame(list(rows), schema=SIGHTINGS.schema)
    given = {"aggregated.sightings": frame} | {
        name.replace("__", "."): one for name, one in others.items()
    }
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for layer in ("cleaned", "aggregated", "ops"):
            con.execute(f"CREATE SCHEMA {layer}")
        con.execute(f"CREATE MACRO asked_at() AS TIMESTAMPTZ '{NOON.isoformat()}'")
        for name, one in given.items():
            columns = ", ".join(f'"{c}"::{sql_type(t)} AS "{c}"' for c, t in one.schema.items())
            con.register("one", one)
            con.execute(f"CREATE TABLE {name} AS SELECT {columns} FROM one")
        for union in packaged_unions():
            if f"cleaned.{union.name}" not in given:
                con.execute(f"CREATE VIEW cleaned.{union.name} AS {union.select({})}")
        for table, columns in packaged_blank().items():
            if str(table) not in given:
                listed = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
                con.execute(f"CREATE TABLE {table} ({listed})")
        for name in MADE_OF_SIGHTINGS:
            if f"aggregated.{name}" not in given:
                con.execute(f"CREATE VIEW aggregated.{name} AS {derived_sql()[name]}")
        yield con


def made(
    con: duckdb.DuckDBPyConnection, name: str, where: str = "true", *columns: str
) -> pl.DataFrame:
    """Run the SQL of a gold table, and return its rows in order."""
    shown = ", ".join(columns) or "*"
    return con.sql(f"SELECT {shown} FROM ({derived_sql()[name]}) WHERE {where} ORDER BY ALL").pl()


# -- in a lake -------------------------------------------------------------------------------------


def specs(*modules: ModuleType) -> list[GoldSpec]:
    """Return the tables of some families, behind the sightings."""
    return [spec for module in (sightings, *modules) for spec in module.tables(feeds())]


def build_all(lake: TestLake, tables: Iterable[GoldSpec], days: list[date]) -> dict[str, int]:
    """Make gold tables, and return how many partitions of each were written."""
    written = {}
    for spec in tables:
        if spec.grain == "whole":
            results = [build_whole(lake.engine.lake, spec, "run")]
        else:
            results = list(build(lake.engine.lake, spec, days, "run"))
        written[spec.name] = sum(result.written for result in results)
    return written


def held(lake: TestLake, *names: str, as_of: datetime | None = None) -> dict[str, pl.DataFrame]:
    """Return the rows of aggregated tables, in order; without waiting for other tables."""
    wanted = [TableName("aggregated", name) for name in names]
    catalog = Catalog(lake.engine.settings.layout, clock=lake.engine.lake.clock)
    with catalog.connect(as_of=as_of, wanted=wanted) as con:
        return {name: con.sql(f"FROM aggregated.{name} ORDER BY ALL").pl() for name in names}


def land(lake: TestLake, folder: Path, feed: str, number: int, body: str, suffix: str) -> None:
    """Land a feed's body of a day, received at its noon."""
    path = folder / f"{feed}-{number}.{suffix}"
    path.write_text(body, encoding="utf-8")
    window = Window(day(number), day(number))
    lake.land(unhurried(feed), {path: window}, at(number, 12))


def snapshot(lake: TestLake, folder: Path, feed: str, number: int, *entries: str) -> None:
    """Land a list's snapshot of a day."""
    land(lake, folder, feed, number, "\n".join(entries) + "\n", "txt")


def post(lake: TestLake, folder: Path, number: int, *addresses: str) -> None:
    """Land a day of TweetFeed, all of it at ten."""
    lines = (
        f"{day(number)} 10:00:00,ann,ip,{one},#c2,https://x.com/ann/status/{n}\n"
        for n, one in enumerate(addresses, 1)
    )
    land(lake, folder, "tweetfeed", number, "".join(lines), "csv")
