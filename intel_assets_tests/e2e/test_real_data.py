"""Recorded real data the whole way: from a file or over HTTP to SQL, every record accounted for."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from intel_assets.errors import ContractBroken, NotPublished
from intel_assets.simulator.server import Simulator
from intel_assets_tests.conftest import MakeLake, TestLake, assert_same, unhurried

pytestmark = pytest.mark.xdist_group("real_data")

URLHAUS, TWEETFEED = unhurried("urlhaus"), unhurried("tweetfeed")
RECEIVED = datetime(2026, 11, 1, 12, tzinfo=UTC)
PAYLOADS = "urlhaus_payloads_recent_2021-01-14.ndjson"
MISSING = [date(2023, 7, 20), date(2024, 1, 14), date(2026, 8, 31)]


@pytest.fixture
def dumps(samples: Path) -> list[Path]:
    threat = samples / "threat"
    return sorted([*threat.glob("urlhaus/*.csv"), *threat.glob("excerpts/urlhaus_[cj]*")])


@pytest.fixture
def day_files(samples: Path) -> dict[date, Path]:
    files = (samples / "threat" / "tweetfeed_daily").glob("20*.csv")
    return {date.fromisoformat(file.stem): file for file in sorted(files)}


def rows_of(file: Path) -> list[dict[str, str | None]]:
    """Read a URLhaus body with the standard library alone."""
    if file.suffix == ".ndjson":
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    lines = file.read_text("utf-8").splitlines()
    names = next(line for line in lines if line.lower().startswith(("# id,", "# dateadded")))
    names = names.lstrip("# ").lower().replace(" (utc)", "").split(",")
    fields = csv.reader(line for line in lines if not line.startswith("#"))
    return [dict(zip(names, row, strict=True)) for row in fields]


def tags_of(value: str | list[str] | None) -> list[str]:
    if isinstance(value, list):
        return value
    return [] if value in (None, "None", "") else value.split(",")


def assert_none_unaccounted(lake: TestLake, source: str) -> None:
    bodies = lake.sql("SELECT * FROM ops.fetches WHERE parsed IS NOT NULL")
    assert (
        bodies.select(
            (pl.col("parsed") - pl.sum_horizontal("added", "unchanged", "changed", "duplicates"))
            .ne_missing(0)
            .sum()
        ).item()
        == 0
    ), bodies.select("url", "parsed", "added", "unchanged", "changed", "duplicates")
    digests = {
        name: set(frame["record_digest"])
        for name, frame in lake.tables(source).items()
        if "record_digest" in frame.columns
    }
    good, bad = digests[f"cleaned.{source}"], digests.get(f"quarantine.{source}", set())
    assert digests[f"raw.{source}"] == good | bad
    assert not good & bad


def test_recorded_urlhaus_dumps_of_every_generation_arrive_in_sql(
    make_lake: MakeLake, dumps: list[Path]
) -> None:
    assert len(dumps) == 4
    lake = make_lake()
    results = lake.land(URLHAUS, dict.fromkeys(dumps), RECEIVED)

    expected = {file.name: rows_of(file) for file in dumps}
    assert {result.state for result in results} == {"complete"}
    parsed = dict(lake.sql("SELECT url, parsed FROM ops.fetches").iter_rows())
    assert parsed == {name: len(rows) for name, rows in expected.items()}
    assert parsed["urlhaus_csv_recent_2022-09-13.csv"] == 150

    every = [row for rows in expected.values() for row in rows]
    found = lake.table("cleaned.urlhaus")
    days = Counter(date.fromisoformat(str(row["dateadded"])[:10]) for row in every)
    assert Counter(found["day"]) == days
    assert sorted(days) == [
        date(2019, 2, 12),
        date(2019, 2, 13),
        date(2022, 9, 13),
        date(2024, 3, 19),
        date(2026, 2, 26),
    ]
    assert Counter(found["raw_value"]) == Counter(row["url"] for row in every)
    assert Counter(found["url_status"]) == Counter(row["url_status"] for row in every)
    assert Counter(found["threat"]) == Counter(row["threat"] for row in every)
    assert Counter(found["tags"].explode().drop_nulls()) == Counter(
        tag for row in every for tag in tags_of(row.get("tags"))
    )
    assert Counter(found["url_id"].drop_nulls()) == Counter(
        int(row["id"]) for row in every if row.get("id")
    )
    assert Counter(found["reporter"].drop_nulls()) == Counter(
        row["reporter"] for row in every if row.get("reporter")
    )
    assert_none_unaccounted(lake, "urlhaus")


def test_what_2019_called_by_other_names_is_kept_in_raw(
    make_lake: MakeLake, dumps: list[Path]
) -> None:
    lake = make_lake()
    old = next(file for file in dumps if "tld" in file.name)
    results = lake.land(URLHAUS, {old: None}, RECEIVED)

    raw = lake.table("raw.urlhaus")
    assert raw.select("host", "ipaddress", "asnumber", "country").sort("host").rows() == [
        ("cbd-planet.ch", "83.166.138.63", "29222", "CH"),
        ("marconuenlist.ch", "62.241.37.242", "29083", "DE"),
    ]
    drift = [c for result in results for c in result.checks if c.name == "schema_drift"]
    assert all(not check.passed and not check.blocking for check in drift)
    assert "country" in drift[0].description


def test_the_day_in_numbers_is_what_the_recorded_dump_says(
    make_lake: MakeLake, dumps: list[Path]
) -> None:
    lake = make_lake()
    dump = next(file for file in dumps if "2022-09-13" in file.name)
    lake.land(URLHAUS, {dump: None}, RECEIVED)

    rows = rows_of(dump)
    tags = Counter(tag for row in rows for tag in tags_of(row["tags"]))
    number = lake.table("aggregated.urlhaus_daily").row(0, named=True)
    assert number["urls"] == len(rows) == 150
    assert number["online"] == sum(row["url_status"] == "online" for row in rows) == 123
    assert number["offline"] == 27
    assert number["untagged"] == sum(not tags_of(row["tags"]) for row in rows)
    assert (number["top_tag"], number["top_tag_urls"]) == ("dll", tags["dll"]) == ("dll", 46)
    assert number["reporters"] == len({row["reporter"] for row in rows})


@pytest.mark.slow
def test_another_kind_of_record_is_refused_and_kept_as_evidence(
    make_lake: MakeLake, dumps: list[Path], samples: Path
) -> None:
    lake = make_lake()
    lake.land(URLHAUS, dict.fromkeys(dumps), RECEIVED)
    before, commits = lake.tables("urlhaus"), lake.commits("urlhaus")

    payloads = samples / "threat" / "excerpts" / PAYLOADS
    results = lake.land(URLHAUS, {payloads: None}, RECEIVED)

    assert [result.state for result in results] == ["failed"]
    error = results[0].error
    assert isinstance(error, ContractBroken)
    sha256 = hashlib.sha256(payloads.read_bytes()).hexdigest()
    for part in ("urlhaus", sha256[:16], "expected id, dateadded, url", "found md5_hash"):
        assert part in error.what
    row = lake.sql(f"FROM ops.fetches WHERE url = '{PAYLOADS}'").row(0, named=True)
    assert (row["body_sha256"], row["parsed"]) == (sha256, None)
    assert row["error_class"] == "ContractBroken"
    with lake.engine.lake.landing.open(sha256) as evidence:
        assert evidence.read_bytes() == payloads.read_bytes()
    assert lake.commits("urlhaus") == commits
    assert_same(lake.tables("urlhaus"), before)


def test_a_lake_may_stand_in_a_folder_whose_name_has_a_space(
    make_lake: MakeLake, dumps: list[Path]
) -> None:
    lake = make_lake(name="my lake")
    for received in (RECEIVED, RECEIVED.replace(day=2)):
        lake.land(URLHAUS, dict.fromkeys(dumps), received)
    assert lake.table("raw.urlhaus").height == sum(len(rows_of(file)) for file in dumps)


@pytest.mark.slow
def test_landing_the_same_dumps_again_commits_nothing(
    make_lake: MakeLake, dumps: list[Path]
) -> None:
    lake = make_lake()
    lake.land(URLHAUS, dict.fromkeys(dumps), RECEIVED)
    before, commits = lake.tables("urlhaus"), lake.commits("urlhaus")

    later = RECEIVED.replace(day=2)
    results = lake.land(URLHAUS, dict.fromkeys(dumps), later)

    assert {result.state for result in results} == {"complete"}
    assert lake.commits("urlhaus") == commits
    assert_same(lake.tables("urlhaus"), before)
    again = lake.sql("FROM ops.fetches").filter(received_at=later)
    assert again["unchanged"].to_list() == again["parsed"].to_list()
    assert_none_unaccounted(lake, "urlhaus")


@pytest.mark.slow
def test_every_recorded_tweetfeed_day_arrives_over_http(
    make_lake: MakeLake, day_files: dict[date, Path], samples: Path
) -> None:
    with Simulator(recordings=samples / "threat" / "tweetfeed_daily") as recorded:
        recorded.clock.set(RECEIVED)
        lake = make_lake(recorded)
        days = sorted({*day_files, *MISSING})
        results = {result.day: result for result in lake.fetch(TWEETFEED, days)}
        asked = len(recorded.requests)
        commits = lake.commits("tweetfeed")
        before = lake.tables("tweetfeed")
        recorded.clock.advance(3600)
        again = lake.fetch(TWEETFEED, days)

    expected = {
        day: list(csv.reader(file.open(newline="", encoding="utf-8")))
        for day, file in day_files.items()
    }
    total = sum(len(rows) for rows in expected.values())
    empty = {day for day, rows in expected.items() if not rows}
    assert asked == len(days)
    assert len(day_files) >= 38
    assert empty == {date(2021, 9, 7), date(2023, 10, 24)}

    # A day whose file is not there is not the same as a day whose file is empty.
    states = {day: result.state for day, result in results.items()}
    assert {day for day, state in states.items() if state == "empty"} == empty
    assert {day for day, state in states.items() if state == "missing"} == set(MISSING)
    assert all(isinstance(results[day].error, NotPublished) for day in MISSING)
    assert {state for day, state in states.items() if day not in {*empty, *MISSING}} == {"complete"}
    recorded_states = lake.sql(
        "SELECT day, state FROM ops.partitions WHERE layer = 'raw'"
        " QUALIFY row_number() OVER (PARTITION BY day ORDER BY recorded_at DESC) = 1"
    )
    assert dict(recorded_states.iter_rows()) == states

    raw = before["raw.tweetfeed"]
    assert Counter(raw["day"]) == Counter({d: len(r) for d, r in expected.items() if r})
    named = ("time_utc", "user", "type", "value", "tags", "tweet")
    found = Counter(tuple(value or "" for value in row) for row in raw.select(named).rows())
    assert found == Counter(tuple(row) for rows in expected.values() for row in rows)

    kinds = Counter(row[2] for rows in expected.values() for row in rows)
    if len(day_files) == 38:
        assert total == 14_613
        assert kinds == {"url": 6811, "domain": 5510, "ip": 1171, "sha256": 868, "md5": 253}
    assert Counter(raw["type"]) == kinds
    numbers = before["aggregated.tweetfeed_daily"]
    quarantined = before.get("quarantine.tweetfeed", pl.DataFrame({"record_id": []}))
    assert numbers["indicators"].sum() + quarantined["record_id"].n_unique() == total
    assert set(numbers["day"]) == set(day_files) - empty
    tags = Counter(tag for rows in expected.values() for row in rows for tag in row[4].split())
    cleaned = before["cleaned.tweetfeed"]["tags"].explode().drop_nulls()
    assert cleaned.len() + _tags_in(quarantined, raw) == tags.total()
    assert_none_unaccounted(lake, "tweetfeed")

    assert {result.state for result in again} == set(states.values())
    assert lake.commits("tweetfeed") == commits
    unchanged = lake.sql("FROM ops.fetches").filter(pl.col("received_at") > RECEIVED)
    assert Counter(unchanged["outcome"]) == {"not_modified": len(day_files), "not_published": 3}


def _tags_in(quarantined: pl.DataFrame, raw: pl.DataFrame) -> int:
    refused = raw.filter(pl.col("record_id").is_in(quarantined["record_id"].to_list()))
    return sum(len((text or "").split()) for text in refused["tags"])
