"""Sightings and indicators: what all feeds together say, then and now."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from intel_assets.ingest.documents import Window
from intel_assets.sources.gold import GoldSpec, build
from intel_assets.threat.gold import gold
from intel_assets_tests.conftest import NOON, MakeLake, TestLake, unhurried

DAY = NOON.date()


def sightings() -> GoldSpec:
    (spec,) = [one for one in gold() if one.contract.name == "sightings"]
    return spec


def snapshot(lake: TestLake, folder: Path, feed: str, day: date, *entries: str) -> None:
    """Land a list's snapshot of a day."""
    path = folder / f"{feed}-{day}.txt"
    path.write_text("\n".join(entries) + "\n", encoding="utf-8")
    at = datetime.combine(day, NOON.timetz())
    lake.land(unhurried(feed), {path: Window(day, day)}, at)


def post(lake: TestLake, folder: Path, day: date, *addresses: str) -> None:
    """Land a day of TweetFeed."""
    path = folder / f"tweetfeed-{day}.csv"
    path.write_text(
        "".join(
            f"{day} 10:00:00,ann,ip,{one},#c2,https://x.com/ann/status/{n}\n"
            for n, one in enumerate(addresses, 1)
        )
    )
    lake.land(
        unhurried("tweetfeed"), {path: Window(day, day)}, datetime.combine(day, NOON.timetz())
    )


def made(lake: TestLake, *days: date) -> None:
    list(build(lake.engine.lake, sightings(), days, "run"))


def changes(lake: TestLake, indicator: str) -> list[tuple[date, str]]:
    found = lake.sql(
        f"SELECT day, change FROM aggregated.sightings WHERE indicator = '{indicator}' ORDER BY day"
    )
    return found.rows()


def days(*numbers: int) -> list[date]:
    return [DAY - timedelta(days=20 - n) for n in numbers]


@pytest.fixture
def lake(make_lake: MakeLake, tmp_path: Path) -> TestLake:
    """Snapshots of four days in a row, none on the fifth, and one on the sixth."""
    lake = make_lake(clock=lambda: NOON)
    one, two, three, four, six = days(1, 2, 3, 4, 6)
    snapshot(lake, tmp_path, "ipsum", one, "198.18.0.1\t3", "198.18.0.2\t1")
    snapshot(lake, tmp_path, "ipsum", two, "198.18.0.1\t3")
    snapshot(lake, tmp_path, "ipsum", three, "198.18.0.1\t3", "198.18.0.2\t1", "198.18.0.3\t1")
    snapshot(lake, tmp_path, "ipsum", four, "198.18.0.1\t3")
    snapshot(lake, tmp_path, "ipsum", six, "198.18.0.1\t3")
    return lake


@pytest.mark.slow
def test_snapshots_say_what_came_stayed_went_and_came_back(lake: TestLake):
    made(lake, *days(1, 2, 3, 4, 5, 6))
    one, two, three, four, six = days(1, 2, 3, 4, 6)
    assert changes(lake, "198.18.0.1") == [
        (one, "added"),
        (two, "still"),
        (three, "still"),
        (four, "still"),
        (six, "still"),
    ]
    assert changes(lake, "198.18.0.2") == [
        (one, "added"),
        (two, "gone"),
        (three, "back"),
        (four, "gone"),
    ]
    assert changes(lake, "198.18.0.3") == [(three, "added"), (four, "gone")]


@pytest.mark.slow
def test_days_built_one_by_one_say_the_same_as_all_at_once(lake: TestLake):
    every = days(1, 2, 3, 4, 5, 6)
    for day in reversed(every):
        made(lake, day)
    single = lake.table("aggregated.sightings")
    made(lake, *every)
    assert lake.table("aggregated.sightings").equals(single)


@pytest.mark.slow
def test_what_is_stored_is_what_the_sql_says_as_of_now(lake: TestLake, tmp_path: Path):
    post(lake, tmp_path, days(3)[0], "198.18.0.9", "198.18.0.1")
    made(lake, *days(1, 2, 3, 4, 5, 6))
    stored = lake.table("aggregated.sightings")
    assert lake.table("aggregated.sightings", as_of=NOON).equals(stored)
    assert stored.height == 13


def indicator(lake: TestLake, value: str, at: datetime = NOON) -> dict[str, object]:
    asked = f"FROM aggregated.indicators WHERE indicator = '{value}'"
    (row,) = lake.sql(asked, as_of=at).iter_rows(named=True)
    return row


@pytest.fixture
def known(lake: TestLake, tmp_path: Path) -> TestLake:
    """The same, with a feed that repeats the first, one of its own, and no warninglist met."""
    six = days(6)[0]
    snapshot(lake, tmp_path, "malicious_ip", six, "198.18.0.1", "198.18.0.8")
    post(lake, tmp_path, six, "198.18.0.1", "198.18.0.9", "10.0.0.1")
    path = tmp_path / "cloudflare.json"
    path.write_text(
        '{"name": "Cloud", "type": "cidr", "list": ["198.18.0.8/32"], '
        '"matching_attributes": ["ip-dst"], "version": 1}'
    )
    lake.land(unhurried("warninglists"), {path: None}, NOON)
    made(lake, *days(1, 2, 3, 4, 5, 6))
    return lake


@pytest.mark.slow
def test_feeds_that_repeat_others_make_nothing_more_certain(known: TestLake):
    # TweetFeed alone, and one of the two that repeat each other: 1 - 0.5 * 0.5.
    both = indicator(known, "198.18.0.1")
    assert both["sources"] == ["ipsum", "malicious_ip", "tweetfeed"]
    assert both["evidence"] == pytest.approx(75)
    assert indicator(known, "198.18.0.9")["evidence"] == pytest.approx(50)
    assert indicator(known, "198.18.0.8")["evidence"] == pytest.approx(50)
    # An address that the internet does not route is no evidence of anything.
    assert indicator(known, "10.0.0.1")["evidence"] == 0


@pytest.mark.slow
def test_what_every_list_dropped_is_withdrawn(known: TestLake):
    assert indicator(known, "198.18.0.2")["status"] == "withdrawn"
    assert indicator(known, "198.18.0.2")["evidence"] == 0
    assert indicator(known, "198.18.0.1")["status"] == "active"


@pytest.mark.slow
def test_a_warninglist_suppresses_and_says_why(known: TestLake):
    found = indicator(known, "198.18.0.8")
    assert found["suppressed"] is True
    assert found["suppression_reason"] == "Cloud: 198.18.0.8"
    assert indicator(known, "198.18.0.9")["suppressed"] is False


@pytest.mark.slow
def test_confidence_fades_with_time_and_as_of_a_moment_it_is_what_it_was(known: TestLake):
    now = indicator(known, "198.18.0.9")
    seen = now["last_seen"]
    assert isinstance(seen, datetime)
    age = (NOON - seen).total_seconds() / 86_400
    assert now["decay"] == pytest.approx(1 - (age / 60) ** 0.5, abs=1e-4)
    moments = [seen + timedelta(days=n, hours=3) for n in (0, 3, 9)]
    told = [indicator(known, "198.18.0.9", moment)["confidence"] for moment in moments]
    assert told == sorted(told, reverse=True)
    assert len(set(told)) == 3


@pytest.mark.slow
def test_nothing_that_came_later_changes_what_was_known(known: TestLake, tmp_path: Path):
    then = datetime.combine(days(6)[0], NOON.timetz()) + timedelta(hours=1)
    asked = "FROM aggregated.indicators ORDER BY ALL"
    before = known.sql(asked, as_of=then)
    five = days(5)[0]
    snapshot_late = tmp_path / "late.txt"
    snapshot_late.write_text("198.18.0.77\t2\n")
    known.land(unhurried("ipsum"), {snapshot_late: Window(five, five)}, NOON)
    made(known, *days(5, 6))
    assert known.sql(asked, as_of=then).equals(before)
    assert changes(known, "198.18.0.77") == [(five, "added"), (days(6)[0], "gone")]


def test_other_hashes_of_a_file_are_sighted_too(make_lake: MakeLake, tmp_path: Path):
    lake = make_lake(clock=lambda: NOON)
    path = tmp_path / "samples.ndjson"
    path.write_text(
        json.dumps(
            {
                "sha256_hash": "a" * 64,
                "md5_hash": "b" * 32,
                "sha1_hash": None,
                "first_seen": "2026-06-09 09:00:00",
            }
        )
    )
    lake.land(unhurried("malwarebazaar"), {path: None}, NOON)
    made(lake, DAY - timedelta(days=1))
    found = lake.table("aggregated.sightings").sort("indicator_type")
    assert found.select("indicator", "indicator_type", "records").rows() == [
        ("b" * 32, "md5", 1),
        ("a" * 64, "sha256", 1),
    ]
