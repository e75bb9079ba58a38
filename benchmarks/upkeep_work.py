"""A feed that is asked every 15 minutes, and the upkeep of every night, on a simulated clock.

`python -m benchmarks.upkeep_work FOLDER DAYS TIMES` asks a small played TweetFeed so many times a
day for today and the day before, without Dagster, and does the upkeep of tables and landing once a
day. It tells how long runs took on the first and on the last day, and what the tables consist of
in the end.
"""

import json
import logging
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from deltalake import DeltaTable

from intel_assets.engine import Engine, open_engine
from intel_assets.ingest.documents import Window
from intel_assets.ingest.messages import HttpPolicy
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.maintenance import maintain
from intel_assets.settings import Settings
from intel_assets.simulator.server import Simulator
from intel_assets.sources.retention import purge
from intel_assets.threat import tweetfeed

# So fast that politeness is not what is measured.
SPEC = replace(tweetfeed.SPEC, policy=HttpPolicy(rate_per_second=10_000.0, burst=1_000))
BEGAN = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def ask(engine: Engine, now: datetime) -> tuple[float, float]:
    """Make the run of a tick and return its seconds, and those of the processor."""
    began, used = time.perf_counter(), time.process_time()
    with engine.upstream(SPEC) as upstream:
        days = Window((now - DAY).date(), now.date()).days
        for result in engine.pipeline(SPEC, f"{now:%d%H%M}").materialize(days, upstream):
            if result.state not in ("complete", "empty", "missing"):
                raise RuntimeError(f"{now}: {result}")
    return time.perf_counter() - began, time.process_time() - used


def keep(engine: Engine) -> float:
    """Do what is done every night and return its seconds."""
    began = time.perf_counter()
    skipped = [table.skipped for table in maintain(engine.settings.layout)]
    skipped.append(purge(engine.lake, SPEC).skipped)
    if any(skipped):
        raise RuntimeError(f"left: {skipped}")
    return time.perf_counter() - began


def most_files(engine: Engine) -> dict[str, int]:
    """Return, for each table, the most files that a partition consists of."""
    layout = engine.settings.layout
    found: dict[str, int] = {}
    for name in Catalog(layout).tables():
        partitions: dict[str, int] = {}
        for uri in DeltaTable(layout.table_uri(*name)).file_uris():
            partition = uri.rpartition("/")[0]
            partitions[partition] = partitions.get(partition, 0) + 1
        found[str(name)] = max(partitions.values(), default=0)
    return found


def live(folder: Path, days: int, times: int) -> dict[str, object]:
    """Let so many days pass, of so many runs each."""
    runs: list[list[tuple[float, float]]] = []
    nights: list[float] = []
    with Simulator(seed=7, volume=0.05) as simulator:
        settings = Settings(
            lake=str(folder / "lake"), state=folder / "state", simulator=simulator.url
        )
        with open_engine(settings, simulator.clock) as engine:
            for day in range(days):
                runs.append([])
                for tick in range(times):
                    now = BEGAN + day * DAY + tick * DAY / times
                    simulator.clock.set(now)
                    runs[-1].append(ask(engine, now))
                nights.append(keep(engine))
                print(day + 1, _middle(runs[-1]), nights[-1], file=sys.stderr, flush=True)
            files = most_files(engine)
            log = Path(settings.layout.table_uri("ops", "fetches")) / "_delta_log"
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            return {
                "runs": sum(map(len, runs)),
                "first": _middle(runs[0]),
                "last": _middle(runs[-1]),
                "night": nights[-1],
                "files": files,
                "log": len(list(log.iterdir())),
                "bytes": size,
            }


def _middle(runs: list[tuple[float, float]]) -> tuple[float, float]:
    return median(seconds for seconds, _ in runs), median(used for _, used in runs)


if __name__ == "__main__":
    logging.disable(logging.INFO)
    print(json.dumps(live(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
