"""What the look-up benchmark asks: `python -m benchmarks.lookup_work warm|scan|day FOLDER N`."""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import polars as pl

from benchmarks.gold_work import make
from benchmarks.gold_world import FIRST, append, lake_at
from benchmarks.lookup_world import VALUES
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.tables import Table
from intel_assets.lakehouse.views import TableName
from intel_assets.threat.gold.indicators import INDICATOR_PARTS
from intel_assets.threat.lookup import HELD, look_up
from intel_assets.threat.model import IndicatorRecord

ASKED, NEW_DAY = 60, 50_000
WANTED = [TableName("aggregated", name) for name in ("indicators", "sightings")]


def some(number: int) -> list[str]:
    """Return indicators of every kind, each fifth of which is none that is known."""
    with duckdb.connect() as con:
        dice = random.Random(7)
        rows = {dice.randrange(number) for _ in range(ASKED)}
        listed = ", ".join(map(str, sorted(rows)))
        found = con.execute(
            f"SELECT indicator FROM ({VALUES}) WHERE n IN ({listed}) ORDER BY n",
            [number],
        ).fetchall()
    known = [str(value) for (value,) in found]
    unknown = [f"198.18.{n}.{n}" if n % 2 else f"a{n}.nowhere.test" for n in range(ASKED // 4)]
    return known + unknown


def warm(lake: Lake, number: int) -> dict[str, Any]:
    """Look indicators up, one after the other, over one connection."""
    values, taken, hits = some(number), [], 0
    catalog = Catalog(lake.layout, clock=lake.clock)
    with catalog.connect(wanted=WANTED, held=HELD) as con:
        for value in values[::3]:
            look_up(con, value)
        for value in values:
            began = time.perf_counter()
            hits += bool(look_up(con, value).hits)
            taken.append(1000 * (time.perf_counter() - began))
    return {"median": median(taken), "worst": max(taken), "asked": len(values), "known": hits}


def scan(lake: Lake, number: int) -> dict[str, Any]:
    """Look indicators up by reading all of them, as where nothing is sorted or divided."""
    taken = []
    with Catalog(lake.layout, clock=lake.clock).connect(wanted=WANTED) as con:
        for value in some(number)[:5]:
            began = time.perf_counter()
            con.execute(
                "FROM aggregated.indicator_parts WHERE reverse(indicator) = reverse(?)", [value]
            ).fetchall()
            taken.append(1000 * (time.perf_counter() - began))
    return {"median": median(taken)}


def day(lake: Lake, number: int) -> dict[str, Any]:
    """Let a feed tell of many indicators anew, of which one in five was not known."""
    before = _files(lake)
    dice = random.Random(8)
    rows = [dice.randrange(number + number // 4) for _ in range(NEW_DAY)]
    with duckdb.connect() as con:
        con.register("told", pl.DataFrame({"n": sorted(set(rows))}))
        frame = con.execute(
            f"SELECT DISTINCT ON (indicator) indicator, indicator_type, place AS host "
            f"FROM ({VALUES}) SEMI JOIN told USING (n)",
            [number + number // 4],
        ).pl()
    told = frame.with_columns(
        day=pl.lit(FIRST) + pl.duration(days=100),
        record_id=pl.col("indicator"),
        record_digest=pl.col("indicator"),
        known_from=pl.lit(datetime(2026, 6, 9, 12, tzinfo=UTC)),
        first_seen=pl.lit(datetime(2026, 6, 9, 9, tzinfo=UTC)),
        raw_value=pl.col("indicator"),
        tlp=pl.lit("clear"),
        detect=True,
        reserved=False,
    )
    append(lake, Contract("cleaned", "urlhaus", IndicatorRecord, "A feed."), told)
    took = make(lake, 100, 101)
    after = _files(lake)
    written = after.join(before, on="path", how="anti")["size_bytes"].sum()
    return {
        "bytes": int(before["size_bytes"].sum()),
        "written": int(written),
        "made": took["made"],
        "seconds": took["indicator_parts"],
    }


def _files(lake: Lake) -> pl.DataFrame:
    stored = Table(lake.layout, INDICATOR_PARTS).open()
    assert stored is not None
    return pl.DataFrame(stored.get_add_actions(flatten=True)).select("path", "size_bytes")


def main(what: str, folder: str, number: str) -> None:
    """Measure, and say what it took."""
    print(
        json.dumps(
            {"warm": warm, "scan": scan, "day": day}[what](lake_at(Path(folder)), int(number))
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
