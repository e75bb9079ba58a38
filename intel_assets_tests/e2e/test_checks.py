"""The checks of every day, and the record of how they came out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from intel_assets.ingest.documents import Window
from intel_assets.simulator.server import Simulator
from intel_assets.simulator.tweetfeed_world import TweetFeedWorld
from intel_assets.sources import checking
from intel_assets.sources.results import CheckResult, DayResult
from intel_assets_tests.conftest import NOON, SEED, VOLUME, MakeLake, TestLake, unhurried

pytestmark = pytest.mark.xdist_group("checks")

IPSUM, TWEETFEED = unhurried("ipsum"), unhurried("tweetfeed")
TODAY = NOON.date()


def check(results: list[DayResult], day: date, name: str) -> CheckResult:
    (result,) = (one for one in results if one.day == day)
    (found,) = (one for one in result.checks if one.name == name)
    return found


def outcomes(lake: TestLake, name: str, day: date | None = None) -> list[dict[str, Any]]:
    rows = lake.sql("FROM ops.checks ORDER BY recorded_at").filter(pl.col("name") == name)
    return rows.filter(pl.col("day") == day if day else pl.lit(True)).to_dicts()


def busy_days(count: int, at_least: int = 25) -> list[date]:
    """Return days of the played TweetFeed with enough lines to judge by, newest first."""
    world = TweetFeedWorld(SEED, VOLUME)
    days = (TODAY - timedelta(days=n) for n in range(4, 400))
    rich = (
        day
        for day in days
        if sum(len(tweet.lines) for tweet in world.tweets(day)) >= at_least
        and world.state(day) == "published"
    )
    return [next(rich) for _ in range(count)]


def test_an_empty_answer_for_a_day_that_had_records_fails_the_volume(
    make_lake: MakeLake, played: Simulator
) -> None:
    lake = make_lake(played)
    (day,) = busy_days(1)
    first = check(lake.fetch(TWEETFEED, [day]), day, "volume")
    assert (first.passed, first.usual) == (True, None)

    played.faults.add("empty", path=f"{day:%Y%m%d}.csv", times=None)
    played.clock.advance(60)
    found = lake.fetch(TWEETFEED, [day])
    assert [result.state for result in found] == ["empty"]
    collapsed = check(found, day, "volume")
    assert (collapsed.passed, collapsed.value, collapsed.usual) == (False, 0, first.value)
    assert not collapsed.blocking
    # Asked again, it is as wrong as it was; then the source mends it.
    assert not check(lake.fetch(TWEETFEED, [day]), day, "volume").passed
    played.faults.clear()
    played.clock.advance(60)
    assert check(lake.fetch(TWEETFEED, [day]), day, "volume").passed
    assert [row["passed"] for row in outcomes(lake, "volume", day)] == [True, False, True]


def test_an_empty_answer_fails_by_what_is_usual_on_that_weekday(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    lake = make_lake(clock=lambda: NOON)
    days = [TODAY - timedelta(days=n) for n in range(1, 30)]
    lake.land(TWEETFEED, {posts(tmp_path, day, 100): Window(day, day) for day in days[1:]}, NOON)
    found = land_posts(lake, tmp_path, days[0], 0)
    verdict = check(found, days[0], "volume")
    assert (verdict.passed, verdict.value, verdict.usual) == (False, 0, 100)
    assert "median of the 4 Tuesdays before" in verdict.description


def test_what_is_usual_is_known_within_one_run_too(make_lake: MakeLake, tmp_path: Path) -> None:
    lake = make_lake(clock=lambda: NOON)
    days = [TODAY - timedelta(days=n) for n in range(1, 30)]
    files = {posts(tmp_path, day, 100 if day != days[0] else 5): Window(day, day) for day in days}
    found = lake.land(TWEETFEED, files, NOON)
    assert check(found, days[0], "volume").usual == 100
    assert [r.day for r in found if not check(found, r.day, "volume").passed] == [days[0]]


def test_a_day_that_lasts_is_not_called_collapsed(make_lake: MakeLake, tmp_path: Path) -> None:
    now = [NOON]
    lake = make_lake(clock=lambda: now[0])
    before = [TODAY - timedelta(days=n) for n in range(1, 15)]
    lake.land(TWEETFEED, {posts(tmp_path, day, 100): Window(day, day) for day in before}, NOON)
    assert check(land_posts(lake, tmp_path, TODAY, 2), TODAY, "volume").passed
    now[0] += timedelta(days=1)
    assert not check(lake.replay(TWEETFEED, [TODAY]), TODAY, "volume").passed


def posts(folder: Path, day: date, count: int) -> Path:
    file = folder / f"{day}-{count}.csv"
    file.write_text(
        "".join(
            f"{day} 10:00:00,somebody,ip,198.18.0.{n},,https://x.com/somebody/status/{n}\n"
            for n in range(count)
        )
    )
    return file


def land_posts(lake: TestLake, folder: Path, day: date, count: int) -> list[DayResult]:
    return lake.land(TWEETFEED, {posts(folder, day, count): Window(day, day)}, NOON)


def test_an_outcome_is_recorded_when_it_changes_and_not_otherwise(
    make_lake: MakeLake, played: Simulator
) -> None:
    lake = make_lake(played)
    days = busy_days(3)
    lake.fetch(TWEETFEED, days)
    first = lake.sql("FROM ops.checks")
    assert sorted(first.select("day", "layer", "name").rows()) == sorted(
        (day, layer, name)
        for day in days
        for layer, name in (
            ("raw", "schema_drift"),
            ("raw", "volume"),
            ("cleaned", "contract"),
            ("cleaned", "unique"),
        )
    )
    severities = dict(first.select("name", "severity").iter_rows())
    assert severities == {
        "schema_drift": "warn",
        "volume": "warn",
        "contract": "error",
        "unique": "error",
    }
    assert set(first["run_id"]) == {"fetch"}
    played.clock.advance(3600)
    lake.fetch(TWEETFEED, days)
    lake.replay(TWEETFEED, days)
    assert lake.sql("FROM ops.checks").height == first.height


@pytest.mark.slow
def test_numbers_that_move_while_a_day_lasts_are_not_recorded_each_time(
    make_lake: MakeLake, played: Simulator
) -> None:
    (day,) = busy_days(1)
    lake = make_lake(played)
    values = []
    for hour in (6, 12, 18, 23):
        played.clock.set(datetime(day.year, day.month, day.day, hour, tzinfo=UTC))
        values.append(check(lake.fetch(TWEETFEED, [day]), day, "volume").value)
    assert values == sorted(set(values))
    assert [row["value"] for row in outcomes(lake, "volume", day)] == values[:1]
    played.clock.set(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=3))
    last = check(lake.fetch(TWEETFEED, [day]), day, "volume").value
    assert [row["value"] for row in outcomes(lake, "volume", day)] == [values[0], last]


@pytest.mark.slow
def test_a_list_that_stays_the_same_for_too_long_is_stale(
    make_lake: MakeLake, tmp_path: Path
) -> None:
    spec = replace(IPSUM, stale_after=timedelta(days=3))
    lake = make_lake()
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("192.0.2.1\n")
    other.write_text("192.0.2.2\n")
    verdicts = []
    for n, file in enumerate((other, one, one, one, one, one, other)):
        day = TODAY + timedelta(days=n)
        found = lake.land(spec, {file: None}, NOON + timedelta(days=n))
        verdict = check(found, day, "staleness")
        verdicts.append((verdict.passed, verdict.value, verdict.usual))
        assert not verdict.blocking
    assert verdicts == [
        (True, 0, 72),
        (True, 0, 72),
        (True, 24, 72),
        (True, 48, 72),
        (True, 72, 72),
        (False, 96, 72),
        (True, 0, 72),
    ]
    # A past day is judged by what had come until then, and a source that sets no bound not at all.
    late = TODAY + timedelta(days=5)
    assert check(lake.replay(spec, [late]), late, "staleness").value == 96
    results = lake.replay(replace(spec, stale_after=None), [late])
    assert "staleness" not in {c.name for result in results for c in result.checks}


def test_an_unchanged_body_that_is_asked_for_again_and_again_grows_stale(
    make_lake: MakeLake, played: Simulator
) -> None:
    spec = replace(IPSUM, stale_after=timedelta(hours=10))
    lake = make_lake(played)
    played.clock.set(datetime(2026, 6, 10, 2, tzinfo=UTC))
    verdicts = []
    for _ in range(5):
        verdicts.append(check(lake.fetch(spec, [TODAY]), TODAY, "staleness").passed)
        played.clock.advance(5 * 3600)
    assert verdicts == [True, True, True, False, False]


def test_two_versions_of_a_record_that_both_hold_fail_the_uniqueness() -> None:
    frame = pl.DataFrame(
        {
            "record_id": ["a", "a", "b", "b"],
            "known_to": [None, None, NOON, None],
        },
        schema={"record_id": pl.String, "known_to": pl.Datetime("us", "UTC")},
    )
    found = checking.unique(frame)
    assert (found.passed, found.severity, found.blocking) == (False, "error", False)
    assert found.numbers == {"records_twice": 1}
    assert checking.unique(frame[1:]).passed
