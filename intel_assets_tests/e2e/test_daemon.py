"""A real daemon against a played upstream, on a clock that is sped up and jumps.

Whatever goes wrong on the way: in the end every day that could be had is there, every other says
why it is not, and nothing was asked for too often or twice at once.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.coverage.tables import ATTEMPTS, COVERAGE
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.ops import FETCHES
from intel_assets.lakehouse.tables import Table
from intel_assets.sources.switches import switch
from intel_assets_tests.e2e.daemon_sources import (
    KILLED,
    METERED,
    NOON,
    PROMPT,
    STEADY,
    TODAY,
    TROUBLED,
    ago,
)
from intel_assets_tests.e2e.daemon_world import DAY, World, any_of, installed

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
KILLS = int(os.environ.get("INTEL_TEST_KILLS", "2"))
"""How many runs, and how many daemons, are killed; by hand it is tried with 20."""

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(3600)]

Install = Callable[..., AbstractContextManager[World]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    return lambda attribute, specs: installed(tmp_path / "home", attribute, specs, monkeypatch)


def days(first: date, last: date) -> Iterator[date]:
    return (first + n * DAY for n in range((last - first).days + 1))


def reason(world: World, source: str, day: date) -> str:
    rows = world.standing().states.filter(pl.col("source") == source, pl.col("day") == day)
    return str(rows["reason"].item())


def requests_a_day(world: World, source: str) -> dict[date, int]:
    """Count the requests to a source by the day on which they were made."""
    rows = Table(world.layout, FETCHES).read().filter(pl.col("source") == source)
    made = rows.unique("fetch_id").group_by(pl.col("received_at").dt.date())
    return dict(made.agg(pl.col("attempts").sum()).iter_rows())


def at(day: date, hours: float) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hours)


def test_through_holes_poison_quota_outages_and_kills_every_day_is_had_or_says_why(
    install: Install,
):
    hole, poison = ago(15), ago(20)
    with install("TROUBLES", TROUBLED) as world:
        for day in days(ago(30), TODAY + 6 * DAY):
            for source in ("steady", "short", "metered"):
                world.publish(source, day)
        world.withdraw("steady", hole)
        world.put("steady", f"{poison:%Y%m%d}.csv", "<html><body>Back soon.</body></html>\n")
        world.put("listed", "list.txt", "198.51.100.7\n198.51.100.8\n")

        # A lake with nothing in it, a list whose tick was missed, a quota for half of the days.
        world.start()
        world.pass_time(NOON + 2 * HOUR)
        told("the backlog", world)
        assert world.states("listed") == {TODAY: "complete"}
        assert world.states("short") == {ago(1): "complete", TODAY: "not_due"}
        assert set(world.states("metered").values()) == {"complete", "missing", "not_due"}
        assert requests_a_day(world, "metered") == {TODAY: 10}
        steady = world.states("steady")
        assert (steady.pop(hole), steady.pop(poison)) == ("missing", "failed")
        assert steady == dict.fromkeys(steady, "complete") | {TODAY: "not_due"}
        assert reason(world, "steady", hole) == "the source has not published it: asked 2 times"
        assert "this is a page and no list" in reason(world, "steady", poison)

        # The power fails, folders are deleted, and every schedule is missed.
        world.kill_all()
        for table in ("raw/steady", "cleaned/steady", "aggregated/steady_daily"):
            shutil.rmtree(Path(world.layout.base) / table / f"day={ago(5)}")
        shutil.rmtree(Path(world.layout.base) / "cleaned/steady" / f"day={ago(6)}")
        assert {world.states("steady")[day] for day in (ago(5), ago(6))} == {"missing"}
        world.jump(at(TODAY + DAY, 9))
        world.start()
        world.settle()
        told("a power cut", world)
        assert {world.states("steady")[day] for day in (ago(5), ago(6))} == {"complete"}
        assert {world.asked("steady")[f"{day:%Y%m%d}"] for day in (ago(5), ago(6))} == {1}
        assert world.states("listed") == {TODAY: "complete", TODAY + DAY: "complete"}
        assert set(list(world.states("metered").values())[:-1]) == {"complete"}
        assert max(requests_a_day(world, "metered").values()) <= 10

        # Two are off; two do not answer, for three days and for four.
        for source in ("metered", "listed"):
            switch(world.layout, source, on=False, why="seen enough", who="test", at=world.now)
        asked = {source: world.asked(source).total() for source in ("metered", "listed")}
        broken = {source: world.break_down(source) for source in ("steady", "short")}
        before = {source: world.asked(source).total() for source in broken}
        for wait, source in ((3, "steady"), (4, "short")):
            world.jump(at(TODAY + DAY, 9) + wait * DAY)
            world.settle()
            # A source that is down is asked by its schedule and by probes, each for a day.
            assert world.asked(source).total() - before[source] <= 2 + 2 * (wait - 2)
            world.simulator.faults.remove(broken[source])
            told(f"an outage of {source}", world)
        found = world.finish()
        told("the end", world)
        world.assert_sound()

        assert world.asked("metered").total() == asked["metered"]
        assert world.asked("listed").total() == asked["listed"]
        states = {(row["source"], row["day"]): row for row in found.states.iter_rows(named=True)}
        last = world.now.date()
        for day in days(ago(30), last - DAY):
            wanted = {hole: "missing", poison: "failed"}.get(day, "complete")
            assert states["steady", day]["state"] == wanted, day
        lost = [day for (source, day), row in states.items() if row["state"] == "lost"]
        assert lost == [TODAY + DAY, TODAY + 2 * DAY]
        for day in lost:
            until = at(day + 3 * DAY, 0)
            told_why = states["short", day]["reason"]
            assert f"the source reached back to it until {until:%Y-%m-%d %H:%M} UTC" in told_why
        for day in days(TODAY + 3 * DAY, last - DAY):
            assert states["short", day]["state"] == "complete"
        assert states["metered", TODAY + 3 * DAY]["state"] == "disabled"

        # Nothing was asked for more often than its attempts, its schedule and its probes allow.
        counted = world.asked("steady")
        assert {counted[f"{day:%Y%m%d}"] for day in (hole, poison)} == {STEADY.attempts}
        settled = [day for day in days(ago(30), ago(1)) if day not in (hole, poison)]
        assert {counted[f"{day:%Y%m%d}"] for day in settled} == {1}
        assert max(requests_a_day(world, "metered").values()) <= METERED.quota.requests
        # The clock jumped over the time in which it could still be had.
        assert history(world, "short", lost[0])[-1] == "lost"
        keys = Table(world.layout, ATTEMPTS).read()["run_key"]
        assert keys.is_unique().all()


def test_whatever_is_killed_and_whenever_every_day_is_had_and_none_twice(install: Install):
    (spec,) = KILLED
    dice = random.Random(KILLS)
    with install("KILLS", KILLED) as world:
        for day in days(spec.start, TODAY + 30 * DAY):
            world.publish(spec.name, day)
        world.start()
        killed = {"run": 0, "daemon": 0, "all": 0}
        turns = ["run"] * KILLS + dice.choices(["daemon", "all"], k=KILLS)
        dice.shuffle(turns)
        for what in turns:
            kill(what, world, dice)
            killed[what] += 1
            told(f"killed {killed}", world)
        # When a day has just ended its file is not due yet.
        world.jump(at(world.now.date(), 3))
        found = world.finish()
        told("the end", world)
        world.assert_sound()

        assert set(found.states["state"][:-1]) == {"complete"}
        rows = Table(world.layout, spec.raw).read().filter(pl.col("known_to").is_null())
        counts = rows.group_by("day").len().sort("day").filter(pl.col("day") < world.now.date())
        assert counts["day"].to_list() == list(days(spec.start, world.now.date() - DAY))
        assert counts["len"].unique().to_list() == [3]
        # Each attempt, and while a day lasted each tick, asked for a day once at most.
        planned = Table(world.layout, ATTEMPTS).read()
        for day in days(spec.start, ago(1)):
            covering = (pl.col("first") <= day) & (pl.col("last") >= day)
            tries = planned.filter(covering, pl.col("kind") != "replay").height
            assert world.asked(spec.name)[f"{day:%Y%m%d}"] <= tries <= spec.attempts, day
        # A worker can be hit when its run has just ended: a few kills may all have been such.
        assert len(ended(world)) > 0 or KILLS < 10


def kill(what: str, world: World, dice: random.Random) -> None:
    """Kill a run, the daemon or everything, at a moment that nobody chose."""
    while True:
        time.sleep(dice.uniform(0, 12))
        if not world.unfinished():
            world.jump(world.now + HOUR)  # To the next attempt, and the next tick.
        if what == "daemon":
            world.kill_daemon()
        elif what == "all":
            world.kill_all()
        else:
            world.wait(lambda: bool(world.workers()) or not world.unfinished(), "no run begins")
            time.sleep(dice.uniform(0, 6))
            worker = any_of(dice, world.workers())
            if worker is None:
                continue
            worker.kill()
            return
        world.start()
        return


def ended(world: World) -> list[str]:
    """Return the runs that were ended because they died."""
    return [source for source, _, _, status in world.runs() if status.value == "FAILURE"]


def test_a_record_is_in_sql_a_quarter_of_an_hour_after_it_was_published(install: Install):
    (spec,) = PROMPT
    with install("FRESH", PROMPT) as world:
        world.publish(spec.name, TODAY, 3)
        world.start()
        world.simulator.clock.run(1.0)
        quarters = (world.now + MINUTE - NOON) // (15 * MINUTE)
        tick = NOON + (quarters + 1) * 15 * MINUTE
        late = []
        for records in (4, 5):
            requests = world.asked(spec.name).total()
            world.jump(tick - 5 * SECOND)
            world.wait(lambda n=requests: world.asked(spec.name).total() > n, "no tick")
            # The worst moment: the source was asked just before.
            world.publish(spec.name, TODAY, records)
            published = world.now
            world.wait(lambda: world.unfinished() == 0, "the run does not end")
            tick += 15 * MINUTE
            world.jump(tick - 5 * SECOND)
            world.wait(lambda n=records: known(world) == n, "the record does not come")
            late.append(world.now - published)
            told(f"{records} records after {late[-1]}", world)
            tick += 15 * MINUTE
        assert max(late) <= 16 * MINUTE


def known(world: World) -> int:
    """Return how many records SQL shows."""
    with Catalog(world.layout).connect() as connection:
        found = connection.sql("SELECT count(*) FROM cleaned.prompt").fetchone()
    return int(found[0]) if found else 0


def history(world: World, source: str, day: date) -> list[str]:
    """Return the states that a day went through, without those of a moment."""
    rows = Table(world.layout, COVERAGE).read().sort("recorded_at")
    ours = rows.filter(pl.col("source") == source, pl.col("day") == day)["state"].to_list()
    told = [state for state in ours if state != "filling"]
    return [state for n, state in enumerate(told) if n == 0 or told[n - 1] != state]


def told(what: str, world: World) -> None:
    """Print where a test is."""
    print(
        f"{time.strftime('%H:%M:%S')} {what}: {world.now:%m-%d %H:%M}, {len(world.runs())} runs",
        flush=True,
    )
