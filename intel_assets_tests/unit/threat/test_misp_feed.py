"""MISP feeds: events, what of them is asked for again, and what an attribute means."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.errors import ParseError
from intel_assets.ingest.documents import Window
from intel_assets.simulator.server import Simulator
from intel_assets.threat.misp_feed import OLDER_EVENTS, value_digests, wanted
from intel_assets.threat.misp_feeds import CIRCL_OSINT
from intel_assets_tests.conftest import NOON, UNHURRIED, MakeLake, TestLake
from intel_assets_tests.unit.threat.given import cleaned, landed

QUICK = replace(CIRCL_OSINT, policy=replace(UNHURRIED, attempts=1))
DAYS = [NOON.date() - timedelta(days=n) for n in range(29, -1, -1)]


def test_the_recorded_feed_is_read_whole(samples: Path):
    folder = samples / "threat/tweetfeed_misp_feed"
    digests = value_digests(folder / "hashes.csv")
    assert digests.height == 5_179
    events = [file for file in folder.glob("*-*.json")]
    assert len(events) == 14
    found = pl.concat([cleaned(QUICK, file).accepted for file in events])
    quarantined = pl.concat([cleaned(QUICK, file).quarantine for file in events])
    assert found.height + quarantined["record_digest"].n_unique() == 5_179
    # Every value's hash stands in hashes.csv, under its own event.
    made = pl.DataFrame(
        [
            (hashlib.md5(value.encode(), usedforsecurity=False).hexdigest(), uuid)
            for value, uuid in found.select("raw_value", "event_uuid").iter_rows()
        ],
        schema=["md5", "event_uuid"],
        orient="row",
    )
    assert made.join(digests, on=["md5", "event_uuid"], how="anti").is_empty()
    assert set(found["tlp"]) == {"clear"}
    assert found["detect"].all()
    assert set(found["indicator_type"]) >= {"url", "domain", "hostname", "ipv4", "md5", "sha256"}


def test_the_recorded_exports_are_read_whole(samples: Path, tmp_path: Path):
    folder = samples / "threat/misp_events"
    for name, attributes in (("eset_misp-xdspy-event", 71), ("eset_misp-kryptocibule", 191)):
        path = tmp_path / f"{name}.json"
        path.write_bytes(gzip.decompress((folder / f"{name}.json.gz").read_bytes()))
        found = cleaned(QUICK, path)
        rejected = found.quarantine["record_digest"].n_unique()
        assert found.accepted.height + rejected == attributes
        assert not found.refused
        # What ESET gives is context: nothing in it is meant for detection as it stands.
        assert not found.accepted["detect"].any()
    path = tmp_path / "intelmq.json"
    path.write_bytes(gzip.decompress((folder / "intelmq_misp_event.json.gz").read_bytes()))
    assert cleaned(QUICK, path).accepted.filter(indicator_type="url").height == 1


def event(folder: Path, *attributes: tuple[str, str], **given: object) -> Path:
    rows = [
        {"uuid": f"a{n}", "type": kind, "value": value, "to_ids": True, "timestamp": "1781000000"}
        for n, (kind, value) in enumerate(attributes)
    ]
    whole = {"uuid": "e", "date": "2026-06-09", "timestamp": "1781000000", "info": "I"}
    path = folder / "event.json"
    path.write_text(json.dumps({"Event": whole | {"Attribute": rows} | given}))
    return path


@pytest.mark.parametrize(
    ("kind", "value", "indicator", "is_a", "also"),
    [
        ("ip-dst", "198.18.0.1", "198.18.0.1", "ipv4", None),
        ("ip-src", "198.18.0.0/16", "198.18.0.0/16", "cidr", None),
        ("ip-dst|port", "2001:db8::1|443", "2001:db8::1", "ipv6", None),
        ("domain|ip", "A.example.com|198.18.0.1", "a.example.com", "hostname", ["ipv4:198.18.0.1"]),
        ("filename|sha256", f"x.exe|{'A' * 64}", "a" * 64, "sha256", None),
        ("vulnerability", "cve-2025-4664", "CVE-2025-4664", "cve", None),
        ("url", "hxxp://a[.]example/x", "http://a.example/x", "url", None),
        ("mutex", "Global\\x", "Global\\x", "mutex", None),
    ],
)
def test_the_part_that_detects_is_the_indicator(
    kind: str, value: str, indicator: str, is_a: str, also: list[str] | None, tmp_path: Path
):
    (row,) = cleaned(QUICK, event(tmp_path, (kind, value))).accepted.iter_rows(named=True)
    assert (row["indicator"], row["indicator_type"], row["also"]) == (indicator, is_a, also)
    assert row["port"] == (443 if kind.endswith("|port") else None)


def test_what_is_no_indicator_stands_in_quarantine_and_refuses_nothing(tmp_path: Path):
    found = cleaned(QUICK, event(tmp_path, *([("text", "words")] * 30), ("domain", "a.example")))
    assert found.accepted["indicator"].to_list() == ["a.example"]
    assert found.refused == {}


def test_tags_say_the_scope_and_deleted_means_no_detection(tmp_path: Path):
    deleted = {"uuid": "d", "type": "domain", "value": "b.example", "to_ids": True, "deleted": True}
    path = event(tmp_path, Attribute=[deleted], Tag=[{"name": "tlp:amber"}, {"name": "apt"}])
    (row,) = cleaned(QUICK, path).quarantine.select("column").unique().iter_rows(named=True)
    assert row["column"] == "first_seen"
    deleted["timestamp"] = "1781000000"
    path = event(tmp_path, Attribute=[deleted], Tag=[{"name": "tlp:amber"}, {"name": "apt"}])
    (row,) = cleaned(QUICK, path).accepted.iter_rows(named=True)
    assert (row["tlp"], row["tags"], row["detect"], row["deleted"]) == (
        "amber",
        ["tlp:amber", "apt"],
        False,
        True,
    )
    assert row["first_seen"] == datetime.fromtimestamp(1_781_000_000, UTC)


def told(day: str, timestamp: int) -> dict[str, object]:
    return {"date": day, "timestamp": str(timestamp)}


def test_an_event_is_asked_for_by_its_own_time():
    window = Window(date(2026, 6, 1), date(2026, 6, 10))
    manifest = {
        "new": told("2026-06-05", 5),
        "same": told("2026-06-06", 6),
        "changed": told("2026-01-01", 9),
        "late": told("2026-05-01", 1),
        "future": told("2026-06-11", 7),
    }
    known = {"same": "6", "changed": "8"}
    assert wanted(manifest, known, window) == ["changed", "late", "new"]


def test_of_events_that_came_late_only_some_are_taken_along():
    window = Window(date(2026, 6, 1), date(2026, 6, 10))
    manifest = {f"{n:03}": told(f"2025-{n % 12 + 1:02}-01", n) for n in range(99)}
    assert len(wanted(manifest, {}, window)) == OLDER_EVENTS


def attributes(lake: TestLake) -> set[str]:
    return set(lake.table("raw.circl_osint")["uuid"])


def test_a_second_pass_asks_for_what_changed_alone(make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    results = lake.fetch(QUICK, DAYS)
    assert {one.state for one in results if one.requested} <= {"complete", "empty"}
    first = len(played.requests)
    assert first > 20
    lake.fetch(QUICK, DAYS)
    assert len(played.requests) == first + 1
    before = attributes(lake)
    played.forget_requests()
    played.clock.advance(2 * 86_400)
    lake.fetch(QUICK, DAYS)
    asked = [one.path.rpartition("/")[2] for one in played.requests]
    assert asked[0] == "manifest.json"
    assert 0 < len(asked) - 1 < 8
    # An attribute that a changed event lacks is withdrawn, and no other.
    gone = before - attributes(lake)
    assert (
        len(gone)
        == lake.sql(
            "SELECT count(*) FROM raw.circl_osint WHERE known_to IS NOT NULL AND NOT EXISTS ("
            "SELECT 1 FROM raw.circl_osint AS now WHERE now.uuid = raw.circl_osint.uuid "
            "AND now.known_to IS NULL)",
            history=True,
        ).item()
    )
    assert 0 < len(gone) < 8


def test_an_event_that_fails_leaves_the_window_open_and_the_others_stand(
    make_lake: MakeLake, played: Simulator
):
    lake = make_lake(played)
    played.faults.add("503", host="circl", after=9, times=1)
    results = lake.fetch(QUICK, DAYS)
    assert {one.state for one in results if one.error} == {"failed"}
    assert lake.table("raw.circl_osint")["event_uuid"].n_unique() == 8
    played.forget_requests()
    results = lake.fetch(QUICK, DAYS)
    assert {one.state for one in results if one.requested} <= {"complete", "empty"}
    uuids = [one.path for one in played.requests if "manifest" not in one.path]
    assert len(uuids) == len(set(uuids))
    assert lake.table("raw.circl_osint")["event_uuid"].n_unique() == len(uuids) + 8


@pytest.mark.parametrize("text", ['{"Event": {"uuid"', "[1]", '{"a": 1}', "<html>"])
def test_what_is_no_event_is_refused(text: str, tmp_path: Path):
    path = tmp_path / "event.json"
    path.write_text(text)
    with pytest.raises(ParseError, match="line 1"):
        QUICK.parse(landed(path))
