"""OTX: pulses in pages, and what becomes of a pass that breaks off."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.errors import Unauthorized
from intel_assets.simulator.server import Simulator
from intel_assets.threat import otx
from intel_assets.threat.otx import SPEC
from intel_assets_tests.conftest import NOON, UNHURRIED, MakeLake
from intel_assets_tests.unit.threat.given import cleaned

QUICK = replace(SPEC, policy=replace(UNHURRIED, attempts=1))
DAYS = [NOON.date() - timedelta(days=n) for n in range(29, -1, -1)]
SUBSCRIBED = "/api/v1/pulses/subscribed"


def test_the_recorded_pulses_are_read_whole(samples: Path):
    found = cleaned(SPEC, samples / "threat/otx/intelmq_test_parser_otx.json")
    assert found.accepted.height + found.quarantine["record_digest"].n_unique() == 95
    assert found.quarantine.height <= 2
    assert found.accepted["pulse_id"].n_unique() == 5
    rocket = found.accepted.filter(pl.col("pulse_name").str.contains("Rocket Kitten"))
    first = rocket.filter(pl.col("indicator_type") == "url").row(0, named=True)
    assert first["indicator"] == "http://107.6.172.54/woolen/"
    assert first["first_seen"] == datetime(2015, 9, 2, 9, 21, 53, 93_000, tzinfo=UTC)
    assert first["tags"][:2] == ["spy kittens", "rocket kitten"]
    # Pulses of 2015 say nothing of sharing, and nothing is made up.
    scopes = dict(found.accepted.group_by("tlp").len().iter_rows())
    assert scopes == {None: 32, "green": 59, "clear": 2}
    assert found.accepted["confidence"].null_count() == found.accepted.height


def test_the_recorded_indicators_with_their_pulse_are_read_whole(samples: Path):
    file = samples / "threat/excerpts/otx_pulses_subscribed_flattened_2023-08-09.ndjson"
    found = cleaned(SPEC, file)
    assert found.quarantine.is_empty()
    assert found.accepted.height == len(file.read_text().splitlines())
    assert "green" in set(found.accepted["tlp"])


def pulse(*indicators: dict[str, object], **given: object) -> dict[str, object]:
    rows = [
        {"id": n, "created": "2026-06-09T10:00:00", "is_active": 1} | one
        for n, one in enumerate(indicators)
    ]
    return {"id": "p", "name": "P", "tlp": "amber", "indicators": rows} | given


def read(folder: Path, *pulses: dict[str, object]) -> list[dict[str, object]]:
    path = folder / "page.json"
    path.write_text(json.dumps({"results": pulses, "next": None}))
    found = cleaned(SPEC, path)
    return [*found.accepted.sort("record_id").iter_rows(named=True)]


@pytest.mark.parametrize(
    ("kind", "value", "indicator", "is_a"),
    [
        ("IPv4", "198.18.0.1", "198.18.0.1", "ipv4"),
        ("IPv4", "2001:db8::1", "2001:db8::1", "ipv6"),
        ("CIDR", "198.18.4.9/24", "198.18.4.0/24", "cidr"),
        ("CIDR", "198.18.4.9/32", "198.18.4.9", "ipv4"),
        ("domain", "http://a.example/x", "http://a.example/x", "url"),
        ("domain", "a[.]example.com", "a.example.com", "hostname"),
        ("hostname", "example.com", "example.com", "domain"),
        ("URI", "/gate.php", "/gate.php", "uri"),
        ("URI", "http://a.example/x", "http://a.example/x", "url"),
        ("FileHash-SHA1", "A" * 40, "a" * 40, "sha1"),
        ("FileHash-IMPHASH", "b" * 32, "b" * 32, "imphash"),
        ("email", "Ann@A.example", "ann@a.example", "email"),
        ("CVE", "cve-2025-4664", "CVE-2025-4664", "cve"),
        ("Mutex", "Local\\x", "Local\\x", "mutex"),
    ],
)
def test_an_indicator_is_what_its_value_shows(
    kind: str, value: str, indicator: str, is_a: str, tmp_path: Path
):
    (row,) = read(tmp_path, pulse({"indicator": value, "type": kind}))
    assert (row["indicator"], row["indicator_type"]) == (indicator, is_a)


def test_a_sharing_scope_is_no_confidence_and_a_private_address_is_flagged(tmp_path: Path):
    rows = read(
        tmp_path,
        pulse(
            {"indicator": "192.168.113.98", "type": "IPv4", "expiration": "2030-01-01T00:00:00"},
            {"indicator": "198.18.0.1", "type": "IPv4", "is_active": 0},
            TLP="white",
            tlp=None,
            attack_ids=[{"id": "T1059.001"}, "T1566"],
            malware_families=[{"display_name": "Mirai"}],
        ),
    )
    assert [row["reserved"] for row in rows] == [True, False]
    assert [row["detect"] for row in rows] == [True, False]
    assert [row["confidence"] for row in rows] == [None, None]
    assert rows[0]["expires"] == datetime(2030, 1, 1, tzinfo=UTC)
    assert rows[0]["techniques"] == ["T1059.001", "T1566"]
    assert rows[0]["malware"] == "Mirai"
    assert {row["tlp"] for row in rows} == {"clear"}


def pages(simulator: Simulator) -> list[int]:
    """The pages of pulses that were asked for, in order."""
    return [
        int(one.query.split("page=")[1].split("&")[0])
        for one in simulator.requests
        if one.path == SUBSCRIBED
    ]


def test_all_pages_come_and_the_last_answers_for_all_days(make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    results = lake.fetch(QUICK, DAYS)
    assert pages(played) == list(range(1, max(pages(played)) + 1))
    assert max(pages(played)) > 3
    assert {one.state for one in results if one.requested} <= {"complete", "empty"}
    found = lake.table("cleaned.otx")
    assert found["pulse_id"].n_unique() > 30
    # A list that was cut off is asked for whole.
    counts = Counter(found["pulse_id"])
    assert max(counts.values()) >= 39
    answered = lake.sql("SELECT count(*) FROM ops.fetches WHERE answers_from < answers_to").item()
    assert answered == 1


def test_an_identical_pass_commits_nothing(make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    lake.fetch(QUICK, DAYS)
    before = lake.commits("otx")
    lake.fetch(QUICK, DAYS)
    assert lake.commits("otx") == before


def test_what_came_before_a_page_failed_stays_and_the_next_attempt_goes_on_there(
    make_lake: MakeLake, played: Simulator
):
    lake = make_lake(played)
    played.faults.add("503", host=otx.API.split("/")[2], path=SUBSCRIBED, after=3, times=2)
    results = lake.fetch(QUICK, DAYS)
    assert {one.state for one in results if one.error} == {"failed"}
    came = lake.table("cleaned.otx")["pulse_id"].n_unique()
    assert came >= 25
    assert pages(played) == [1, 2, 3, 4]
    # Another attempt asks for the last page that came once more, and for nothing before it.
    lake.fetch(QUICK, DAYS)
    assert pages(played)[4:] == [3]
    results = lake.fetch(QUICK, DAYS)
    assert pages(played)[5:7] == [3, 4]
    assert {one.state for one in results if one.requested} <= {"complete", "empty"}
    whole = make_lake(played, "undisturbed")
    whole.fetch(QUICK, DAYS)
    columns = ["record_id", "indicator", "pulse_id"]
    assert (
        lake.table("cleaned.otx")
        .select(columns)
        .sort("record_id")
        .equals(whole.table("cleaned.otx").select(columns).sort("record_id"))
    )


def test_an_indicator_that_a_pulse_loses_is_withdrawn(make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    lake.fetch(QUICK, DAYS)
    before = lake.table("cleaned.otx")
    played.clock.advance(3 * 86_400)
    lake.fetch(QUICK, [NOON.date() + timedelta(days=n) for n in range(4)])
    gone = before.join(lake.table("cleaned.otx"), on="record_id", how="anti")
    assert 0 < gone.height < 30
    assert gone["pulse_id"].n_unique() == gone.height


def test_without_the_right_key_nothing_is_given(make_lake: MakeLake):
    with Simulator(auth_key="another") as simulator:
        simulator.clock.set(NOON)
        (result,) = make_lake(simulator).fetch(QUICK, [NOON.date()])
    assert isinstance(result.error, Unauthorized)
