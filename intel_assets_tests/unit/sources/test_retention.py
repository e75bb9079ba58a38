"""Which bodies leave landing, and that nothing which is known hangs on them."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from intel_assets.errors import DiskFull
from intel_assets.ingest.documents import Window
from intel_assets.lakehouse.landing import Landing
from intel_assets.simulator.urlhaus import csv_lines
from intel_assets.simulator.urlhaus_world import UrlRecord
from intel_assets.simulator.world import stamp
from intel_assets.sources.retention import STEP, Purged, purge, said_nothing
from intel_assets.sources.spec import SourceSpec
from intel_assets_tests.conftest import NOON, MakeLake, TestLake, assert_same, unhurried
from intel_assets_tests.unit.sources.fetches import fetch, folded, journal, row

KEPT_DAYS = 4
URLHAUS = replace(unhurried("urlhaus"), landing_days=KEPT_DAYS)
TWEETFEED = replace(unhurried("tweetfeed"), landing_days=KEPT_DAYS)
FIRST = NOON.date() - timedelta(days=2)
DAYS = Window(FIRST, NOON.date()).days
NIGHT = timedelta(days=1)


@dataclass
class World:
    """A source whose dumps change a little now and then, and a lake that takes them."""

    lake: TestLake
    folder: Path
    now: datetime = NOON
    records: dict[int, UrlRecord] = field(default_factory=dict)
    window: int = 0
    count: int = 0
    moments: list[datetime] = field(default_factory=list)

    def dump(self) -> Path:
        """Write the dump; its head says when it was made, so no two bodies are the same."""
        self.count += 1
        path = self.folder / f"dump-{self.count}.csv"
        shown = [self.records[number] for number in sorted(self.records, reverse=True)]
        path.write_bytes(b"".join(csv_lines(shown[: len(shown) - self.window], self.now)))
        return path

    def take(self, at: datetime | None = None) -> None:
        """Land a dump."""
        moment = at or self.now
        self.lake.land(URLHAUS, {self.dump(): None}, moment)
        self.moments.append(moment)

    def night(self, spec: SourceSpec = URLHAUS) -> Purged:
        """Let a day pass, and then look which bodies may go."""
        self.now += NIGHT
        return purge(self.lake.engine.lake, spec)

    def truths(self) -> dict[datetime | None, dict[str, pl.DataFrame]]:
        """Return all that is known: all versions, and what held at each moment."""
        found: dict[datetime | None, dict[str, pl.DataFrame]] = {
            moment: self.lake.tables("urlhaus", as_of=moment) for moment in self.moments
        }
        return found | {None: self.history()}

    def history(self) -> dict[str, pl.DataFrame]:
        """Return all versions of all records."""
        return self.lake.tables("urlhaus", history=True)

    def build_anew(self) -> None:
        """Take away all that follows from landing, and build it again."""
        root = Path(self.lake.engine.settings.layout.base)
        days = self.lake.table("raw.urlhaus", history=True)["day"].unique().sort().to_list()
        for gone in ("raw", "cleaned", "aggregated", "quarantine", "ops/partitions"):
            shutil.rmtree(root / gone, ignore_errors=True)
        self.lake.replay(URLHAUS, days)

    def bodies(self) -> set[str]:
        """Return the bodies that landing holds for reading."""
        landing = Path(self.lake.engine.lake.landing.uri)
        return {file.stem for file in landing.glob("??/*.zst")}

    def stages(self) -> dict[str, str]:
        """Return the last step of each body that is, or was, on its way out."""
        steps = self.lake.sql("FROM ops.purges").sort("recorded_at")
        return dict(steps.select("body_sha256", "stage").iter_rows())


def record(number: int, day: int = 0, tag: str = "elf") -> UrlRecord:
    at = datetime.combine(DAYS[day], NOON.time()) + timedelta(minutes=number)
    url = f"http://amber-{number}.example/x"
    return UrlRecord(number, stamp(int(at.timestamp())), url, True, None, "malware", (tag,), "me")


@pytest.fixture
def world(make_lake: MakeLake, tmp_path: Path) -> World:
    made: World = World(make_lake(clock=lambda: made.now), tmp_path)
    made.records = {number: record(number, number % 3) for number in range(1, 10)}
    return made


def assert_as_known(world: World, known: dict[datetime | None, dict[str, pl.DataFrame]]) -> None:
    for moment, tables in world.truths().items():
        assert_same(tables, known[moment])


@pytest.mark.slow
def test_a_body_that_said_nothing_new_goes_step_by_step(world: World) -> None:
    world.take()
    world.now += NIGHT
    world.take()
    assert len(world.bodies()) == 2
    for _ in range(KEPT_DAYS):
        assert world.night() == Purged("urlhaus")
    assert world.night().marked == 1
    assert len(world.bodies()) == 2
    assert world.night().aside == 1
    assert len(world.bodies()) == 1
    done = world.night()
    assert (done.gone, set(world.stages().values())) == (1, {"gone"})
    assert done.freed > 0
    assert world.night() == Purged("urlhaus")
    known = world.truths()
    world.build_anew()
    assert_as_known(world, known)


def test_twice_in_one_night_is_one_step(world: World) -> None:
    for _ in range(2):
        world.take()
        world.now += NIGHT
    world.now += timedelta(days=KEPT_DAYS)
    assert world.night().marked == 1
    assert purge(world.lake.engine.lake, URLHAUS) == Purged("urlhaus")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_whatever_goes_the_tables_built_anew_are_the_same_as_of_every_moment(
    world: World, seed: int
) -> None:
    dice = random.Random(seed)
    gone = 0
    for _ in range(24):
        change(world, dice)
        late = timedelta(hours=dice.choice([0, 0, 0, 30]))
        world.take(world.now - late)
        gone += world.night().gone
        if dice.random() < 0.1:
            known = world.history()
            world.build_anew()
            assert_same(world.history(), known)
    for _ in range(KEPT_DAYS + 3):
        gone += world.night().gone
    known_then = world.truths()
    world.build_anew()
    assert gone > 2
    assert len(world.bodies()) == world.count - gone
    assert_as_known(world, known_then)


def change(world: World, dice: random.Random) -> None:
    """Change the source as sources change: often not at all."""
    what = dice.choice(["nothing"] * 4 + ["add", "change", "withdraw", "window"])
    number = dice.choice(sorted(world.records))
    if what == "add":
        new = max(world.records) + 1
        world.records[new] = record(new, dice.randrange(3))
    elif what == "change":
        world.records[number] = record(number, number % 3, dice.choice(["elf", "exe", "sh"]))
    elif what == "withdraw" and len(world.records) > 4:
        del world.records[number]
    elif what == "window":
        world.window = dice.randrange(3)


def test_a_body_that_opened_or_closed_a_version_stays_for_ever(world: World) -> None:
    world.take()
    world.now += NIGHT
    del world.records[5]
    world.take()
    world.now += timedelta(days=400)
    assert world.night() == Purged("urlhaus")


def test_a_body_that_nobody_understood_stays(world: World, tmp_path: Path) -> None:
    world.take()
    page = tmp_path / "page.csv"
    page.write_text("<html>503</html>")
    world.lake.land(URLHAUS, {page: None}, world.now)
    world.now += timedelta(days=400)
    assert world.night() == Purged("urlhaus")


def test_a_body_that_another_source_received_too_stays(world: World, tmp_path: Path) -> None:
    world.take()
    world.now += NIGHT
    same = world.dump()
    world.lake.land(URLHAUS, {same: None}, world.now)
    world.lake.land(TWEETFEED, {same: Window(FIRST, FIRST)}, world.now)
    world.now += timedelta(days=400)
    assert world.night() == Purged("urlhaus")


def test_for_ever_is_for_ever_and_brings_back_what_was_going(world: World) -> None:
    for _ in range(2):
        world.take()
        world.now += NIGHT
    world.now += timedelta(days=KEPT_DAYS)
    world.night()
    world.night()
    assert len(world.bodies()) == 1
    done = world.night(replace(URLHAUS, landing_days=None))
    assert (done.kept, set(world.stages().values())) == (1, {"kept"})
    assert len(world.bodies()) == 2


@pytest.mark.slow
def test_a_body_that_comes_again_while_it_is_going_stays(world: World) -> None:
    world.take()
    world.now += NIGHT
    again = world.dump()
    world.lake.land(URLHAUS, {again: None}, world.now)
    world.now += timedelta(days=KEPT_DAYS)
    for aside in (0, 1):
        assert world.night().aside == aside
    world.lake.land(URLHAUS, {again: None}, world.now)
    assert len(world.bodies()) == 2
    assert world.night().kept == 1
    assert len(world.bodies()) == 2
    known = world.truths()
    world.build_anew()
    assert_as_known(world, known)


@pytest.mark.slow
def test_a_body_that_comes_again_after_it_went_is_one_like_any_other(world: World) -> None:
    world.take()
    world.now += NIGHT
    again = world.dump()
    world.lake.land(URLHAUS, {again: None}, world.now)
    world.now += timedelta(days=KEPT_DAYS)
    assert sum(world.night().gone for _ in range(4)) == 1
    del world.records[2]
    world.take()
    world.now += NIGHT
    world.records[2] = record(2, 2)
    world.lake.land(URLHAUS, {again: None}, world.now)
    assert len(world.bodies()) == 3
    known = world.truths()
    world.build_anew()
    assert_as_known(world, known)
    world.now += timedelta(days=400)
    assert world.night() == Purged("urlhaus")  # it brought a record back


@pytest.mark.slow
def test_no_body_goes_while_raw_has_a_hole(world: World) -> None:
    for _ in range(2):
        world.take()
        world.now += NIGHT
    world.now += timedelta(days=KEPT_DAYS)
    known = world.truths()
    assert world.night().marked == 1
    shutil.rmtree(Path(world.lake.engine.settings.layout.table_uri("raw", "urlhaus")))
    for _ in range(3):
        done = world.night()
        assert (done.marked, done.aside, done.gone) == (0, 0, 0)
        assert done.skipped == f"raw.urlhaus lacks 3 days that it had, the first is {FIRST}"
    world.lake.replay(URLHAUS, DAYS)
    assert_as_known(world, known)
    assert world.night().aside == 1


@pytest.mark.slow
@pytest.mark.parametrize("step", ["set_aside", "drop"])
def test_a_step_that_dies_in_the_middle_is_taken_up_again(
    world: World, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        world.take()
        world.now += NIGHT
    world.now += timedelta(days=KEPT_DAYS)
    known = world.truths()
    assert world.night().marked == 3
    if step == "drop":
        assert world.night().aside == 3
    done: list[str] = []
    real = getattr(Landing, step)

    def dying(landing: Landing, sha256: str) -> object:
        if len(done) == 2:
            raise DiskFull("No space is left.", "Free some.")
        done.append(sha256)
        return real(landing, sha256)

    monkeypatch.setattr(Landing, step, dying)
    with pytest.raises(DiskFull):
        world.night()
    assert "gone" not in world.stages().values()
    monkeypatch.setattr(Landing, step, real)
    for _ in range(3):
        world.night()
    assert set(world.stages().values()) == {"gone"}
    assert len(world.bodies()) == 1
    world.build_anew()
    assert_as_known(world, known)


@pytest.mark.slow
def test_an_empty_day_stays_empty_when_the_bodies_that_said_so_are_gone(world: World) -> None:
    quiet = DAYS[1]
    world.records = {n: r for n, r in world.records.items() if n % 3 != 1}
    for _ in range(3):
        world.take()
        world.now += NIGHT
    world.now += timedelta(days=KEPT_DAYS)
    while world.night() != Purged("urlhaus"):
        pass
    assert "gone" in world.stages().values()
    (result,) = world.lake.replay(URLHAUS, [quiet])
    assert result.state == "empty"


LATER = NOON + timedelta(days=400)


def quiet(number: int, **given: Any) -> dict[str, Any]:
    """A fetch whose body said nothing new, of one address."""
    return {**folded(row(fetch(number, **given))), "added": 0}


def going(*rows: dict[str, Any], old: datetime = LATER, now: datetime = LATER) -> set[str]:
    """Return what by the journal may go."""
    return set(said_nothing(journal(*rows), old, now))


def digest(number: int) -> str:
    return str(fetch(number).body_sha256)


def test_the_newest_body_of_an_address_stays_since_a_304_may_mean_it() -> None:
    assert going(quiet(1), quiet(2), quiet(3)) == {digest(1), digest(2)}
    elsewhere = quiet(2, url="https://example.test/other")
    assert going(quiet(1), elsewhere, quiet(3)) == {digest(1)}


def test_the_newest_that_was_understood_stays_behind_one_that_was_not() -> None:
    garbled = {**quiet(3), "parsed": None, "folded_at": None, "covers_from": None}
    assert going(quiet(1), quiet(2), garbled) == {digest(1)}


def test_a_body_that_was_newest_when_a_run_under_way_began_stays() -> None:
    soon = NOON + timedelta(hours=2) + STEP
    assert going(quiet(1), quiet(2), now=soon) == set()
    assert going(quiet(1), quiet(2), now=soon + timedelta(minutes=1)) == {digest(1)}


def test_a_body_is_as_old_as_the_last_time_that_it_came_or_was_folded() -> None:
    again = quiet(5, outcome="not_modified", status=304, body_sha256=digest(1))
    assert going(quiet(1), again, quiet(6), old=NOON + timedelta(hours=3)) == set()
    late = {**quiet(1), "recorded_at": NOON + timedelta(hours=5)}
    assert going(late, quiet(6), old=NOON + timedelta(hours=3)) == set()
    assert going(quiet(1), quiet(6), old=NOON + timedelta(hours=3)) == {digest(1)}


def test_bodies_that_came_at_one_moment_stay() -> None:
    moment = NOON + timedelta(hours=1)
    assert going(quiet(1), quiet(2, received_at=moment), quiet(3)) == set()


@pytest.mark.parametrize("count", ["added", "changed", "withdrawn"])
def test_a_body_that_was_folded_with_an_effect_stays(count: str) -> None:
    assert going({**quiet(1), count: 1}, quiet(2)) == set()


def test_a_body_that_waits_stays() -> None:
    assert going({**quiet(1), "folded_at": None}, quiet(2)) == set()


def test_what_came_of_a_request_that_failed_goes() -> None:
    failed = {**quiet(1, outcome="failed"), "parsed": None, "folded_at": None, "covers_from": None}
    assert going(failed, quiet(2)) == {digest(1)}
