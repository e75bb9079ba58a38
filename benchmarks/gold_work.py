"""A contender of the gold benchmark: `... benchmarks.gold_work plain|full|day FOLDER DAYS`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gold_world import days, lake_at
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.views import TableName
from intel_assets.sources.gold import build, build_whole
from intel_assets.sources.goldsql import MEMORY
from intel_assets.threat.gold import gold

PARTS = "indicator_parts"


def plain(lake: Lake, folder: Path) -> dict[str, Any]:
    """Ask for all facts of all indicators in one query over what the feeds told."""
    wanted = [TableName("aggregated", PARTS)]
    with Catalog(lake.layout, clock=lake.clock).connect(wanted=wanted) as con:
        con.execute("SET temp_directory = ?", [str(folder / "spill")])
        con.execute(f"SET memory_limit = '{MEMORY}'; SET preserve_insertion_order = false")
        con.execute(f"CREATE TEMP TABLE made AS FROM aggregated.{PARTS}")
        ((rows,),) = con.execute("SELECT count(*) FROM made").fetchall()
    return {"indicators": rows}


def make(lake: Lake, first: int, last: int) -> dict[str, Any]:
    """Build days of the tables by day, then what is made as a whole."""
    took: dict[str, Any] = {}
    for spec in gold():
        began = time.perf_counter()
        if spec.grain == "whole":
            whole = build_whole(lake, spec, "benchmark")
            took |= {"indicators": whole.rows, "made": whole.numbers["made"]}
        else:
            rows = sum(one.rows for one in build(lake, spec, days(first, last), "benchmark"))
            took |= {f"{spec.name} rows": rows}
        took[spec.name] = time.perf_counter() - began
    return took


def main(contender: str, folder: str, number: str) -> None:
    """Measure, and say what it took."""
    lake, last = lake_at(Path(folder)), int(number)
    began = time.perf_counter()
    if contender == "plain":
        told = plain(lake, Path(folder))
    else:
        told = make(lake, last - 1 if contender == "day" else 0, last)
    print(json.dumps(told | {"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(*sys.argv[1:])
