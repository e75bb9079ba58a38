"""A real history with real holes: 1,451 days of TweetFeed, of which 390 were never published.

The inventory says for each day how many bytes its file has; the bodies are made here. The loop is
the one of the gap sensor without Dagster, on a clock that jumps to whatever is due next.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.coverage.assess import Assessment, assess, record, record_attempts
from intel_assets.coverage.plan import Limits, plan
from intel_assets.coverage.tables import ATTEMPTS, COVERAGE
from intel_assets.lakehouse.tables import Table
from intel_assets.simulator.server import Simulator
from intel_assets.sources.spec import SourceSpec
from intel_assets_tests.conftest import MakeLake, TestLake, unhurried

HOST = "raw.githubusercontent.com"
FIRST, LAST = date(2021, 8, 8), date(2026, 8, 22)
NOW = datetime(2026, 8, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Upstream:
    """A host that has exactly the files that are put into a folder."""

    folder: Path
    simulator: Simulator

    def publish(self, day: date, lines: int) -> None:
        """Put the file of a day there; one without lines has no bytes."""
        file = self._file(day)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(_line(day, n) for n in range(lines)))

    def asked(self) -> Counter[date]:
        """Return how often each day was asked for."""
        names = [request.path.rpartition("/")[2] for request in self.simulator.requests]
        return Counter(date.fromisoformat(name.removesuffix(".csv")) for name in names)

    def _file(self, day: date) -> Path:
        place = f"0xDanielLopez/TweetFeed/master/{day:%Y}/{day:%Y%m}/{day:%Y%m%d}.csv"
        return self.folder / HOST / place


def _line(day: date, number: int) -> str:
    return (
        f"{day} 10:00:00,ioc_otter,domain,n{number}-{day:%Y%m%d}.example,#phishing,"
        f"https://x.com/ioc_otter/status/{day:%Y%m%d}{number:03}\n"
    )


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    folder = tmp_path / "published"
    folder.mkdir()
    with Simulator(recordings=folder) as simulator:
        simulator.clock.set(NOW)
        yield Upstream(folder, simulator)


Watch = Callable[[Assessment], None]


def fill(lake: TestLake, spec: SourceSpec, upstream: Upstream, watch: Watch) -> Assessment:
    """Fill gaps until nothing is due any more, and return how everything stands then."""
    clock, layout = upstream.simulator.clock, lake.engine.settings.layout
    for number in range(10_000):
        found = assess(layout, [spec], clock(), off={})
        watch(found)
        made = plan(found.states, [spec], Limits(probe_at=found.probe_at), clock())
        if made.asks:
            (ask,) = made.asks
            record_attempts(layout, {f"run-{number}": ask}, clock())
            clock.advance(1)
            results = lake.fetch(spec, ask.days)
            assert {result.day for result in results} == set(ask.days)
        elif made.held:
            clock.set(min(held.until for held in made.held if held.until))
        else:
            record(layout, found)
            return found
    raise AssertionError("it never ends")


def standing(found: Assessment) -> Mapping[str, int]:
    """Count the days of the inventory by state."""
    ours = found.states.filter(pl.col("day") <= LAST)
    return dict(ours.group_by("state").len().iter_rows())


def _quiet(_: Assessment) -> None:
    pass


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_real_inventory_of_tweetfeed_comes_to_exactly_its_states(
    samples: Path, upstream: Upstream, make_lake: MakeLake
) -> None:
    inventory = samples / "threat/tweetfeed_daily/_inventory_all_days.csv"
    with inventory.open(encoding="utf-8") as file:
        sizes = {date.fromisoformat(row["day"]): int(row["bytes"]) for row in csv.DictReader(file)}
    assert (min(sizes), max(sizes), len(sizes)) == (FIRST, LAST, 1451)
    for day, size in sizes.items():
        upstream.publish(day, 2 if size else 0)
    for after in range(1, 30):  # What comes while the clock jumps on is of no interest here.
        upstream.publish(LAST + after * DAY, 1)
    spec = replace(unhurried("tweetfeed"), start=FIRST, attempts=3)
    lake = make_lake(upstream.simulator)

    found = fill(lake, spec, upstream, _quiet)

    assert standing(found) == {"complete": 1439, "empty": 12, "missing": 390}
    ours = found.states.filter(pl.col("day") <= LAST)
    assert set(ours.filter(pl.col("state") == "complete")["day"]) == {
        day for day, size in sizes.items() if size
    }
    assert set(ours.filter(pl.col("state") == "empty")["day"]) == {
        day for day, size in sizes.items() if not size
    }
    holes = ours.filter(pl.col("state") == "missing")
    assert holes.select("remedy", "attempts", "deadline").unique().rows() == [("person", 3, None)]
    assert holes["reason"].unique().to_list() == ["the source has not published it: asked 3 times"]
    asked = upstream.asked()
    assert {asked[day] for day in sizes} == {1}
    assert {asked[day] for day in holes["day"]} == {3}
    assert asked.total() == 1451 + 390 * 3 + sum(n for day, n in asked.items() if day > LAST)
    assert max(asked.values()) <= spec.attempts
    runs = Table(lake.engine.settings.layout, ATTEMPTS).read()["attempt"].value_counts()
    # What the source says that it does not have is asked for together, however often.
    assert dict(runs.filter(pl.col("attempt") > 1).iter_rows()) == {2: 20, 3: 20}


@pytest.mark.slow
def test_a_day_that_is_restored_upstream_is_picked_up_by_itself(
    upstream: Upstream, make_lake: MakeLake
) -> None:
    days = [LAST - n * DAY for n in range(6)]
    for day in [*days, *(LAST + n * DAY for n in range(1, 30))]:
        upstream.publish(day, 2)
    hole, gone = days[2], days[4]
    for day in (hole, gone):
        upstream._file(day).unlink()
    spec = replace(unhurried("tweetfeed"), start=days[-1], attempts=4)
    lake = make_lake(upstream.simulator)

    def restore(found: Assessment) -> None:
        # Four hours later, after it was asked for three times.
        if found.now >= NOW + timedelta(hours=4) and not upstream._file(hole).exists():
            upstream.publish(hole, 3)

    found = fill(lake, spec, upstream, restore)

    stands = {row["day"]: row for row in found.states.iter_rows(named=True)}
    assert [stands[day]["state"] for day in days] == [
        "complete",
        "complete",
        "complete",
        "complete",
        "missing",
        "complete",
    ]
    assert (stands[hole]["rows"], stands[hole]["attempts"]) == (3, 0)
    assert stands[gone]["reason"] == "the source has not published it: asked 4 times"
    asked = upstream.asked()
    assert (asked[hole], asked[gone]) == (4, 4)
    assert all(asked[day] == 1 for day in days if day not in (hole, gone))
    assert Table(lake.engine.settings.layout, COVERAGE).read().height >= len(days)
