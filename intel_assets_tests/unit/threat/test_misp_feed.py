"""MISP feeds: which events are asked for, which again, and what becomes of those that fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import polars as pl
import pytest

from intel_assets.errors import IntelError, NotPublished, ParseError
from intel_assets.ingest.documents import Document, Window
from intel_assets.simulator.server import Simulator
from intel_assets.sources.results import DayResult
from intel_assets.threat import misp_feed
from intel_assets.threat.misp_feed import (
    ELSEWHERE,
    Listed,
    listed,
    wanted,
)
from intel_assets.threat.misp_feeds import CIRCL_OSINT
from intel_assets_tests.conftest import NOON, UNHURRIED, MakeLake, TestLake
from intel_assets_tests.unit.sources.fetches import fetch

QUICK = replace(CIRCL_OSINT, policy=replace(UNHURRIED, attempts=1))
TODAY = NOON.date()
DAYS = [TODAY - timedelta(days=n) for n in range(3, -1, -1)]
WINDOW = Window(DAYS[0], TODAY)
START = date(2014, 10, 1)
DONE = {"complete", "empty"}


def uuid(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, name))


def one(name: str, day: str | None, version: int) -> Listed:
    return Listed(uuid(name), date.fromisoformat(day) if day else None, version)


def chosen(events: list[Listed], here: set[Listed], window: Window = WINDOW) -> list[list[Listed]]:
    return [*wanted(events, window, START, TODAY, here.__contains__)]


def test_an_event_is_asked_for_by_its_own_time():
    new, same = one("new", "2026-06-08", 5), one("same", "2026-06-09", 6)
    changed, late = one("changed", "2026-01-01", 9), one("late", "2015-01-01", 1)
    undated, older = one("undated", None, 2), one("older", "2014-09-30", 99)
    future = one("future", "2026-06-11", 7)
    events = [new, same, changed, late, undated, older, future]
    here = {same, replace(changed, version=8)}
    assert chosen(events, here) == [[new], [changed, future, undated, late]]
    # To fill old days, no more is asked for than these need.
    assert chosen(events, here, Window(START, DAYS[-2])) == [[late, changed, new], []]


def test_of_events_of_other_days_a_pass_takes_only_some_along_the_newest_change_first():
    events = [one(f"{n}", "2025-01-01", n) for n in range(3 * ELSEWHERE)]
    found: list[Listed] = []
    while others := chosen(events, set(found))[1]:
        assert len(others) == ELSEWHERE
        found += others
    assert found == events[::-1]


def test_a_manifest_is_read_past_what_is_no_event(tmp_path: Path):
    path = tmp_path / "manifest.json"
    told = {"date": "2026-06-09", "timestamp": "17"}
    entries = {
        uuid("a"): told,
        uuid("b"): {"date": "soon", "timestamp": None},
        "../../secret": told,
        "note": "hello",
    }
    path.write_text(json.dumps(entries))
    assert listed(path) == [one("a", "2026-06-09", 17), one("b", None, 0)]


@pytest.mark.parametrize("text", ["", "{}", "[]", "<html>", '{"a": 1}', '{"%s": {"da'])
def test_what_is_no_manifest_is_refused_and_no_empty_one_is_believed(text: str, tmp_path: Path):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    document = Document(fetch(url="https://www.circl.lu/doc/misp/feed-osint/manifest.json"), path)
    with pytest.raises(ParseError, match="line 1"):
        QUICK.parse(document)


class Feed:
    """A feed of our own, served over HTTP as a host would serve the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "www.circl.lu/doc/misp/feed-osint"
        self._folder.mkdir(parents=True)
        self._manifest: dict[str, dict[str, str]] = {}

    def put(
        self, name: str, day: date, version: int, *values: str, served: int | None = None
    ) -> None:
        """Publish a version of an event; `served` is the version that its file is still of."""
        told = {"date": f"{day}", "timestamp": str(version)}
        self._manifest[uuid(name)] = told
        attributes = [
            {"uuid": uuid(value), "type": "domain", "value": value, "to_ids": True}
            for value in values
        ]
        event = told | {"uuid": uuid(name), "timestamp": str(served or version)}
        self.write(uuid(name), {"Event": event | {"Attribute": attributes}})
        self.write("manifest", self._manifest)

    def write(self, name: str, body: object) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        (self._folder / f"{name}.json").write_text(text)

    def drop(self, name: str) -> None:
        (self._folder / f"{uuid(name)}.json").unlink()


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return Feed(tmp_path / "served")


@pytest.fixture
def host(feed: Feed, tmp_path: Path) -> Iterator[Simulator]:
    with Simulator(recordings=tmp_path / "served") as simulator:
        simulator.clock.set(NOON)
        yield simulator


def asked(simulator: Simulator) -> list[str]:
    """The events that were asked for since the last time."""
    names = [record.path.rpartition("/")[2].removesuffix(".json") for record in simulator.requests]
    simulator.forget_requests()
    assert names.pop(0) == "manifest"
    return names


def held(lake: TestLake) -> set[tuple[date, str]]:
    return set(lake.table("cleaned.circl_osint").select("day", "indicator").iter_rows())


def run(lake: TestLake, host: Simulator, days: list[date] = DAYS) -> list[DayResult]:
    """A pass, some time after the last one."""
    host.clock.advance(60)
    return lake.fetch(QUICK, days)


def states(results: list[DayResult]) -> dict[date, str]:
    return {result.day: result.state for result in results if result.requested}


def errors(results: list[DayResult]) -> set[type[IntelError]]:
    return {type(result.error) for result in results if result.error}


@pytest.mark.slow
def test_each_event_comes_again_when_it_changed_itself(
    feed: Feed, host: Simulator, make_lake: MakeLake
):
    lake = make_lake(host)
    feed.put("changed", DAYS[1], 1_781_000_000, "one.example", "two.example")
    feed.put("same", DAYS[1], 1_781_000_000, "three.example")
    feed.put("moved", DAYS[0], 1_781_000_000, "four.example", "five.example")
    assert set(states(run(lake, host)).values()) <= DONE
    assert asked(host) == [uuid("moved"), *sorted([uuid("changed"), uuid("same")])]

    feed.put("changed", DAYS[1], 1_781_000_001, "one.example", "six.example")
    feed.put("moved", DAYS[2], 1_781_000_001, "four.example")
    # Two were synchronised late: however old their times are, and even with nothing in one.
    feed.put("late", date(2020, 3, 1), 1_583_000_000, "late.example")
    feed.put("void", date(2020, 3, 2), 1_583_000_000)
    run(lake, host)
    assert set(asked(host)) == {uuid(name) for name in ("changed", "moved", "late", "void")}
    # What an event lacks is withdrawn, and one of another day than before leaves nothing behind.
    assert held(lake) == {
        (DAYS[1], "one.example"),
        (DAYS[1], "three.example"),
        (DAYS[1], "six.example"),
        (DAYS[2], "four.example"),
        (date(2020, 3, 1), "late.example"),
    }
    # What an event's change left alone is the record that it was.
    counts = lake.sql(
        "SELECT added, changed, unchanged, withdrawn FROM ops.fetches "
        f"WHERE url LIKE '%{uuid('changed')}.json#1781000001'"
    )
    assert counts.row(0) == (1, 0, 1, 1)

    run(lake, host)
    assert asked(host) == []


@pytest.mark.slow
def test_an_event_that_fails_keeps_no_other_from_coming_and_its_window_open(
    feed: Feed, host: Simulator, make_lake: MakeLake
):
    lake = make_lake(host)
    names = ["gone", "empty", "page", "cut"]
    for name in names:
        feed.put(name, DAYS[0], 1, f"{name}.example")
    feed.put("good", DAYS[1], 1, "good.example")
    feed.drop("gone")
    feed.write(uuid("empty"), "")
    feed.write(uuid("page"), "<html>Maintenance</html>")
    feed.write(uuid("cut"), '{"Event": {"uuid": "')
    assert errors(run(lake, host)) & {NotPublished, ParseError}
    assert held(lake) == {(DAYS[1], "good.example")}
    answered = "SELECT count(*) FROM ops.fetches WHERE answers_from < answers_to"
    assert lake.sql(answered).item() == 0
    # Days that need none of them are answered for themselves.
    assert states(run(lake, host, DAYS[1:2])) == {DAYS[1]: "complete"}

    for name in names:
        feed.put(name, DAYS[0], 1, f"{name}.example")
    host.forget_requests()
    assert set(states(run(lake, host)).values()) <= DONE
    assert asked(host) == sorted(uuid(name) for name in names)
    assert {name for _, name in held(lake)} == {f"{name}.example" for name in [*names, "good"]}


@pytest.mark.slow
def test_a_version_that_a_cache_still_gives_is_not_taken_for_the_new_one(
    feed: Feed, host: Simulator, make_lake: MakeLake
):
    lake, day = make_lake(host), DAYS[1:2]
    feed.put("cached", *day, 2, "old.example", served=1)
    feed.put("wrong", *day, 4, "wrong.example", served=3)
    run(lake, host, day)
    feed.put("cached", *day, 2, "new.example")
    host.forget_requests()
    run(lake, host, day)
    assert len(asked(host)) == 2
    assert {name for _, name in held(lake)} == {"new.example", "wrong.example"}
    # A manifest that never agrees with its event makes nobody ask for ever.
    run(lake, host, day)
    assert asked(host) == []


def test_a_feed_of_many_events_is_asked_for_a_window_at_a_time(
    feed: Feed, host: Simulator, make_lake: MakeLake, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(misp_feed, "ELSEWHERE", 5)
    lake = make_lake(host)
    for number in range(12):
        feed.put(f"{number}", date(2020, 1, 1), number + 1)
    feed.put("inside", DAYS[1], 1, "a.example")
    run(lake, host, DAYS[1:2])
    assert asked(host) == [uuid("inside")]
    run(lake, host, DAYS[-1:])
    assert asked(host) == [uuid(f"{n}") for n in (11, 10, 9, 8, 7)]


@pytest.mark.slow
def test_the_recorded_feed_comes_whole_over_http_and_once(samples: Path, make_lake: MakeLake):
    days = [date(2026, 8, 9) + timedelta(days=n) for n in range(14)]
    with Simulator(recordings=samples / "threat/tweetfeed_misp_feed") as host:
        host.clock.set(datetime(2026, 8, 23, 1, tzinfo=UTC))
        lake = make_lake(host)
        assert states(lake.fetch(QUICK, days)) == dict.fromkeys(days, "complete")
        assert len(asked(host)) == 14
        lake.fetch(QUICK, days)
        assert asked(host) == []
    found = lake.sql("SELECT day, attributes, events FROM aggregated.circl_osint_daily")
    assert found.height == 14
    assert found["events"].to_list() == [1] * 14
    assert lake.table("raw.circl_osint").height == 5_179


@pytest.mark.slow
def test_the_played_feed_changes_and_comes_late(make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    assert set(states(lake.fetch(QUICK, DAYS)).values()) <= DONE
    first = asked(played)
    before = lake.table("cleaned.circl_osint")
    assert before["also"].drop_nulls().list.len().max() == 2
    assert before["malware"].null_count() < before.height
    played.clock.advance(5 * 86_400)
    lake.fetch(QUICK, [TODAY + timedelta(days=n) for n in range(6)])
    again = asked(played)
    assert 0 < len(set(again) & set(first)) < 8
    after = lake.table("cleaned.circl_osint")
    gone = before.join(after, on="record_id", how="anti")
    assert 0 < gone.height < 20
    assert not after.filter(deleted=True)["detect"].any()
    late = after.filter(~pl.col("event_uuid").is_in(before["event_uuid"].implode()))
    assert late.filter(pl.col("day") < TODAY).height > 0
