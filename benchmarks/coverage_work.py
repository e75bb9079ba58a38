"""What the coverage benchmark measures, in a process of its own.

`python -m benchmarks.coverage_work make|assess|look FOLDER SOURCES DAYS`. `assess` loads no
Dagster; `look` is a whole tick of the gap sensor, with an instance on disk.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from benchmarks import coverage_world as world


def assess(folder: Path, sources: int, days: int) -> dict[str, float]:
    """Say how everything stands, and plan."""
    from intel_assets.coverage.assess import assess, quota_left
    from intel_assets.coverage.plan import Limits, plan
    from intel_assets.lakehouse.layout import Layout

    specs = world.specs(sources, days)
    imported = _peak()
    began = time.perf_counter()
    found = assess(Layout(str(folder)), specs, world.NOW, off={})
    assessed = time.perf_counter()
    limits = Limits(4, quota_left(found.evidence.fetches, specs, found.now), (), found.probe_at)
    made = plan(found.states, specs, limits, found.now)
    planned = time.perf_counter()
    gaps = found.states.filter(found.states["remedy"] == "fetch").height
    return {
        "imported_mib": imported,
        "assess_s": assessed - began,
        "plan_s": planned - assessed,
        "days": found.states.height,
        "gaps": gaps,
        "asks": len(made.asks),
    }


def look(folder: Path, sources: int, days: int) -> dict[str, float]:
    """Tick twice: the second time nothing has changed but what the first planned."""
    import dagster as dg

    from intel_assets.orchestration import sensors
    from intel_assets.settings import Settings

    specs = world.specs(sources, days)
    settings = Settings(lake=str(folder), state=folder.parent / "state", mode="demo")
    sensors.world_clock = lambda _: lambda: world.NOW  # type: ignore[assignment]
    storage = folder.parent / "dagster"
    storage.mkdir(exist_ok=True)
    with dg.DagsterInstance.local_temp(str(storage)) as instance:
        began = time.perf_counter()
        first = sensors.look(instance, specs, settings, None)
        middle = time.perf_counter()
        again = sensors.look(instance, specs, settings, first.cursor)
        ended = time.perf_counter()
    return {
        "first_s": middle - began,
        "again_s": ended - middle,
        "asks": len(first.run_requests or ()) + len(again.run_requests or ()),
    }


def _peak() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    what, place, count, length = sys.argv[1:]
    if what == "make":
        world.write(Path(place), int(count), int(length))
        print("{}")
    else:
        step = assess if what == "assess" else look
        print(json.dumps(step(Path(place), int(count), int(length))))
