"""What was known at a moment stays what was known at that moment, whatever is done to the lake."""

from __future__ import annotations

import csv
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.clock import start_of
from intel_assets.engine import open_engine
from intel_assets.ingest.documents import Window
from intel_assets.lakehouse.maintenance import maintain
from intel_assets.settings import Settings
from intel_assets.simulator.server import Simulator
from intel_assets.simulator.stage import floor_to
from intel_assets.simulator.tweetfeed_world import TweetFeedWorld, version
from intel_assets.simulator.urlhaus import WINDOW, csv_lines
from intel_assets.simulator.urlhaus_world import UrlhausWorld, UrlRecord
from intel_assets.simulator.world import stamp
from intel_assets_tests.conftest import (
    NOON,
    SEED,
    VOLUME,
    MakeLake,
    TestLake,
    assert_same,
    unhurried,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("knowledge")]

URLHAUS, TWEETFEED = unhurried("urlhaus"), unhurried("tweetfeed")
HOURS = (0, 9, 50, 77)
MOMENTS = [NOON + timedelta(hours=hours) for hours in HOURS]
DAYS = Window(NOON.date() - timedelta(days=20), MOMENTS[-1].date()).days
WORLD = UrlhausWorld(SEED, VOLUME)

SHORT = timedelta(days=4)

Truths = dict[datetime, dict[str, pl.DataFrame]]


def published(now: datetime) -> list[UrlRecord]:
    """Return what URLhaus says at a moment of the days that every dump of these tests covers."""
    found = WORLD.published(floor_to(now, 300), start_of(DAYS[0]))
    return [record for record in found if not record.date_added.startswith("0000")]


def dump(folder: Path, made: datetime, window: timedelta = WINDOW) -> Path:
    """Write the dump that URLhaus makes at a moment, or a shorter one, which is quicker."""
    path = folder / f"dump-{made:%Y%m%dT%H%M}.csv"
    made = floor_to(made, 300)
    path.write_bytes(b"".join(csv_lines(WORLD.published(made, made - window), made)))
    return path


def told(records: Iterable[UrlRecord]) -> Counter[tuple[object, ...]]:
    return Counter(
        (
            str(r.id),
            r.date_added,
            r.url,
            "online" if r.online else "offline",
            stamp(r.last_online) if r.last_online else "",
            r.threat,
            ",".join(r.tags) or "None",
            r.reporter,
        )
        for r in records
    )


def held(raw: pl.DataFrame) -> Counter[tuple[object, ...]]:
    frame = raw.filter(pl.col("day") >= DAYS[0])
    names = "id", "dateadded", "url", "url_status", "last_online", "threat", "tags", "reporter"
    return Counter(frame.select(names).fill_null("").rows())


def truths(lake: TestLake, source: str, moments: Iterable[datetime]) -> Truths:
    return {moment: lake.tables(source, as_of=moment) for moment in moments}


def assert_truths(lake: TestLake, source: str, expected: Truths) -> None:
    for moment, tables in expected.items():
        assert_same(lake.tables(source, as_of=moment), tables)


@dataclass(frozen=True)
class Watched:
    """A lake that asked at each of `MOMENTS`, and all that its catalog said then.

    Attributes:
        truths: By moment and table, the answers as of it.
        history: By table, all versions.
    """

    folder: Path
    truths: Truths
    history: dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("watched")
    with Simulator(seed=SEED, volume=VOLUME) as simulator:
        settings = Settings(lake=str(folder / "lake"), state=folder, simulator=simulator.url)
        with open_engine(settings, simulator.clock) as engine:
            lake = TestLake(engine)
            for moment in MOMENTS:
                simulator.clock.set(moment)
                lake.fetch(URLHAUS, [day for day in DAYS if day <= moment.date()])
            asked = {moment: lake.tables("urlhaus", as_of=moment) for moment in MOMENTS}
            return Watched(folder / "lake", asked, lake.tables("urlhaus", history=True))


@pytest.fixture
def watched(original: Watched, make_lake: MakeLake, tmp_path: Path) -> TestLake:
    """A copy of a lake that asked URLhaus while records came late, changed and went."""
    shutil.copytree(original.folder, tmp_path / "lake")
    return make_lake(clock=lambda: MOMENTS[-1] + timedelta(days=3))


def assert_as_before(lake: TestLake, original: Watched) -> None:
    assert_truths(lake, "urlhaus", original.truths)
    assert_same(lake.tables("urlhaus", history=True), original.history)


def test_each_moment_keeps_its_own_truth_on_raw_cleaned_and_aggregated(
    watched: TestLake, original: Watched
) -> None:
    everything = [told(published(moment)) for moment in MOMENTS]
    first, last = ({r.id: r for r in published(m)} for m in (MOMENTS[0], MOMENTS[-1]))
    # The world did change in every way: removals, late records and corrections.
    assert first.keys() - last.keys()
    assert [r for r in last.values() if r.id not in first and r.date_added < f"{NOON:%F %T}"]
    assert [r for r in first.values() if r.id in last and r.tags != last[r.id].tags]
    for moment, truth in zip(MOMENTS, everything, strict=True):
        tables = original.truths[moment]
        assert held(tables["raw.urlhaus"]) == truth
        records = [record for record in published(moment) if "://" in record.url]
        cleaned = tables["cleaned.urlhaus"].filter(pl.col("day") >= DAYS[0])
        assert Counter(cleaned.select("url_id", "raw_value", "url_status").rows()) == Counter(
            (r.id, r.url, "online" if r.online else "offline") for r in records
        )
        assert Counter(cleaned["tags"].explode().drop_nulls()) == Counter(
            tag for record in records for tag in record.tags
        )
        numbers = tables["aggregated.urlhaus_daily"].filter(pl.col("day") >= DAYS[0]).sort("day")
        by_day = {day: [r for r in records if r.date_added.startswith(str(day))] for day in DAYS}
        assert numbers.select("day", "urls", "online", "untagged", "reporters").rows() == [
            (
                day,
                len(of),
                sum(r.online for r in of),
                sum(not r.tags for r in of),
                len({r.reporter for r in of}),
            )
            for day, of in by_day.items()
            if of
        ]
    assert held(watched.table("raw.urlhaus")) == everything[-1]


def test_the_stored_aggregates_are_what_the_sql_says_of_now(
    watched: TestLake, original: Watched
) -> None:
    now = watched.table("aggregated.urlhaus_daily")
    assert now.equals(original.truths[MOMENTS[-1]]["aggregated.urlhaus_daily"])


def test_before_the_first_fetch_nothing_was_known(watched: TestLake) -> None:
    assert watched.tables("urlhaus", as_of=MOMENTS[0] - timedelta(microseconds=1)) == {}


def test_a_change_is_known_from_the_moment_it_was_received_and_not_before(
    watched: TestLake, original: Watched
) -> None:
    just_before = MOMENTS[2] - timedelta(microseconds=1)
    assert_same(watched.tables("urlhaus", as_of=just_before), original.truths[MOMENTS[1]])


def test_replay_changes_no_answer(watched: TestLake, original: Watched) -> None:
    results = watched.replay(URLHAUS, DAYS)
    assert {result.state for result in results} == {"complete"}
    assert_as_before(watched, original)


def test_compaction_and_vacuum_change_no_answer(watched: TestLake, original: Watched) -> None:
    layout = watched.engine.settings.layout
    done = maintain(layout, retention=timedelta(0), shorter=True, run_id="upkeep")
    assert sum(upkeep.merged for upkeep in done) > 0
    assert sum(upkeep.removed for upkeep in done) > 0
    assert_as_before(watched, original)


def test_a_rebuild_from_landing_and_the_journal_gives_every_table_again(
    watched: TestLake, original: Watched
) -> None:
    root = Path(watched.engine.settings.layout.base)
    for gone in ("raw", "cleaned", "aggregated", "quarantine", "ops/partitions"):
        shutil.rmtree(root / gone, ignore_errors=True)
    watched.replay(URLHAUS, sorted({*original.history["raw.urlhaus"]["day"]}))
    assert_as_before(watched, original)


def test_days_that_are_filled_later_were_not_known_before(
    played: Simulator, make_lake: MakeLake
) -> None:
    lake = make_lake(played)
    world = TweetFeedWorld(SEED, VOLUME)
    recent = Window(NOON.date() - timedelta(days=3), NOON.date()).days
    for moment in MOMENTS[:3]:
        played.clock.set(moment)
        lake.fetch(TWEETFEED, recent)
        lines = [
            row
            for day in recent
            for text in [world.lines(day, version(day, moment)) or ()]
            for row in csv.reader(line.decode() for line in text)
        ]
        raw = lake.table("raw.tweetfeed", as_of=moment)
        assert set(raw.select("time_utc", "user", "type", "value", "tags", "tweet").rows()) == {
            tuple(field or None if at == 4 else field for at, field in enumerate(row))
            for row in lines
        }
        assert raw.height == len({tuple(row) for row in lines})
    before = truths(lake, "tweetfeed", MOMENTS[:3])

    played.clock.set(MOMENTS[3])
    older = Window(recent[0] - timedelta(days=5), recent[0] - timedelta(days=1)).days
    lake.fetch(TWEETFEED, older)

    assert_truths(lake, "tweetfeed", before)
    assert set(lake.table("raw.tweetfeed")["day"]) > set(recent)
    lake.replay(TWEETFEED, [*older, *recent])
    assert_truths(lake, "tweetfeed", before)


def test_an_unchanged_body_commits_nothing_whether_304_or_200(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    body = dump(recordings, NOON).rename(recordings / "recent.csv")
    with Simulator(recordings=recordings) as recorded:
        recorded.clock.set(NOON)
        lake = make_lake(recorded)
        lake.fetch(URLHAUS, DAYS[:-4])
        before, commits = lake.tables("urlhaus"), lake.commits("urlhaus")
        recorded.clock.advance(60)
        not_modified = lake.fetch(URLHAUS, DAYS[:-4])
        recorded.clock.advance(60)
        os.utime(body, (0, 0))  # another tag, the same bytes
        same_body = lake.fetch(URLHAUS, DAYS[:-4])
    outcomes = lake.sql("SELECT outcome, status FROM ops.fetches ORDER BY received_at").rows()
    assert outcomes == [("fetched", 200), ("not_modified", 304), ("fetched", 200)]
    assert {result.state for result in (*not_modified, *same_body)} == {"complete"}
    assert not any(layer.written for result in same_body for layer in result.layers)
    assert lake.commits("urlhaus") == commits
    assert_same(lake.tables("urlhaus"), before)


def test_a_304_after_a_body_that_was_landed_between_restores_what_it_confirms(
    played: Simulator, make_lake: MakeLake, tmp_path: Path
) -> None:
    lake = make_lake(played)
    days = [day for day in DAYS if day <= NOON.date()]
    lake.fetch(URLHAUS, days)
    stale = dump(tmp_path, NOON - timedelta(days=2))
    lake.land(URLHAUS, {stale: None}, NOON + timedelta(seconds=30))
    assert held(lake.table("raw.urlhaus")) != told(published(NOON))
    played.clock.advance(60)
    lake.fetch(URLHAUS, days)
    assert lake.sql("FROM ops.fetches")["outcome"].to_list().count("not_modified") == 1
    assert held(lake.table("raw.urlhaus")) == told(published(NOON))


def shuffled(seed: int, files: list[tuple[Path, datetime]]) -> list[tuple[Path, datetime]]:
    order = list(files)
    random.Random(seed).shuffle(order)
    return order


@pytest.mark.parametrize("seed", range(1, 6))
def test_overlapping_dumps_landed_in_any_order_give_identical_tables(
    make_lake: MakeLake, tmp_path: Path, seed: int
) -> None:
    moments = [*MOMENTS, NOON + timedelta(days=5), NOON + timedelta(days=8)]
    files = [(dump(tmp_path, moment, SHORT), moment) for moment in moments]
    files.append((files[1][0], NOON + timedelta(days=6)))  # a cache gives an old dump again
    assert shuffled(seed, files) != files
    found = []
    for name, order in (("sorted", files), ("shuffled", shuffled(seed, files))):
        lake = make_lake(name=name, clock=lambda: NOON + timedelta(days=40))
        for path, received in order:
            lake.land(URLHAUS, {path: None}, received)
        found.append(lake.tables("urlhaus", history=True))
        found.append(lake.tables("urlhaus", as_of=MOMENTS[2]))
    assert_same(found[2], found[0])
    assert_same(found[3], found[1])


def test_dumps_received_at_one_moment_give_identical_tables_in_any_order(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    files = [dump(tmp_path, moment, SHORT) for moment in MOMENTS[:3]]
    newest = [r for r in published(MOMENTS[2]) if r.date_added > f"{MOMENTS[2] - SHORT:%F %T}"]
    received = NOON + timedelta(days=5)
    orders: list[list[list[Path]]] = [
        [files],
        [[files[2]], [files[1], files[0]]],
        [[files[1], files[2]], [files[0]]],
    ]
    found = []
    for number, order in enumerate(orders):
        lake = make_lake(name=f"lake{number}", clock=lambda: received)
        for batch in order:
            lake.land(URLHAUS, dict.fromkeys(batch), received)
        found.append(lake.tables("urlhaus", history=True))
        assert not told(newest) - held(lake.table("raw.urlhaus"))
    for tables in found[1:]:
        assert_same(tables, found[0])


def test_a_rolling_dump_that_moved_on_withdraws_nothing(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    lake = make_lake(clock=lambda: NOON + timedelta(days=60))
    land(lake, dump(tmp_path, NOON), NOON)
    later = NOON + timedelta(days=29)
    land(lake, dump(tmp_path, later), later)
    much_later = NOON + timedelta(days=50)
    land(lake, dump(tmp_path, much_later), much_later)
    outside = later - WINDOW
    history = lake.table("raw.urlhaus", history=True)
    old = history.filter(pl.col("dateadded") < stamp(int(outside.timestamp())))
    assert old.height > 100
    assert old["known_to"].null_count() == old.height


def test_a_stale_dump_received_later_withdraws_nothing_that_was_added_since(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    lake = make_lake(clock=lambda: NOON + timedelta(days=60))
    fresh, stale = NOON + timedelta(days=2), NOON
    land(lake, dump(tmp_path, fresh), fresh)
    since = f"dateadded > '{stale:%F %T}'"
    added = lake.sql(f"FROM raw.urlhaus WHERE {since}")
    assert added.height > 10
    land(lake, dump(tmp_path, stale), fresh + timedelta(hours=1))
    still = lake.sql(f"FROM raw.urlhaus WHERE {since}")
    assert set(still["id"]) == set(added["id"])
    # A fresh dump says again how it is.
    again = fresh + timedelta(hours=2)
    land(lake, dump(tmp_path, again), again)
    assert held(lake.table("raw.urlhaus")) == told(published(again))


def land(lake: TestLake, file: Path, received: datetime) -> None:
    lake.land(URLHAUS, {file: None}, received)
