"""What follows from sightings: links, overlap, scorecard and trends."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from intel_assets.ingest.documents import Window
from intel_assets_tests.conftest import NOON, MakeLake, TestLake, unhurried
from intel_assets_tests.orchestration.test_sightings import days, made, post, snapshot

RECORDED = date(2026, 8, 22)


@pytest.fixture
def lake(make_lake: MakeLake, tmp_path: Path) -> TestLake:
    """Two lists and a feed over six days; the feed is first, one list repeats the other's."""
    lake = make_lake(clock=lambda: NOON)
    every = days(1, 2, 3, 4, 5, 6)
    for number, day in enumerate(every):
        gone = () if number == 3 else ("198.18.0.2\t1",)
        snapshot(lake, tmp_path, "ipsum", day, "198.18.0.1\t3", *gone)
    snapshot(lake, tmp_path, "malicious_ip", every[3], "198.18.0.1", "198.18.0.8")
    post(lake, tmp_path, every[0], "198.18.0.9", "198.18.0.8")
    made(lake, *every)
    return lake


def test_overlap_counts_distinct_indicators_of_a_window(lake: TestLake):
    found = lake.sql(
        "SELECT feed, other, feed_indicators, shared, share_of_feed, jaccard "
        "FROM aggregated.feed_overlap WHERE window_days = 7 ORDER BY feed, other"
    )
    assert found.rows() == [
        ("ipsum", "malicious_ip", 2, 1, 0.5, 0.3333),
        ("malicious_ip", "ipsum", 2, 1, 0.5, 0.3333),
        ("malicious_ip", "tweetfeed", 2, 1, 0.5, 0.3333),
        ("tweetfeed", "malicious_ip", 2, 1, 0.5, 0.3333),
    ]


def test_the_scorecard_is_what_one_counts_by_hand(lake: TestLake):
    rows = {
        row["source"]: row
        for row in lake.sql(
            "FROM aggregated.feed_scorecard WHERE window_days = 7", as_of=NOON
        ).iter_rows(named=True)
    }
    ipsum, repeater, first = rows["ipsum"], rows["malicious_ip"], rows["tweetfeed"]
    assert (ipsum["sightings"], ipsum["indicators"], ipsum["unique_share"]) == (11, 2, 0.5)
    # .1 came, .2 came, went and came back: four moves among eleven listings.
    assert ipsum["churn"] == round(4 / 11, 4)
    assert ipsum["dwell_days"] == 5.5
    # The feed told of .8 three days, less ten hours, before the list had it.
    assert (first["first_share"], first["lead_hours"]) == (1.0, 62.0)
    assert (repeater["first_share"], repeater["lead_hours"]) == (0.0, None)
    assert ipsum["hours_since_newest"] > 0


def test_trends_count_what_is_new_and_name_what_is_odd(make_lake: MakeLake, tmp_path: Path):
    lake = make_lake(clock=lambda: NOON)
    every = days(*range(1, 12))
    for number, day in enumerate(every):
        count = 40 if number == 10 else 8
        post(lake, tmp_path, day, *(f"198.18.{number}.{n}" for n in range(1, count + 1)))
    made(lake, *every)
    found = lake.sql(
        "SELECT day, fresh, usual, anomaly FROM aggregated.threat_trends "
        "WHERE dimension = 'type' AND value = 'ipv4' ORDER BY day"
    ).rows()
    assert found[0] == (every[0], 8, None, False)
    assert found[9] == (every[9], 8, 8.0, False)
    assert found[10] == (every[10], 40, 8.0, True)
    tags = lake.sql("SELECT DISTINCT value FROM aggregated.threat_trends WHERE dimension = 'tag'")
    assert tags["value"].to_list() == ["c2"]


def test_links_tie_urls_names_files_and_malware(make_lake: MakeLake, tmp_path: Path):
    lake = make_lake(clock=lambda: NOON)
    path = tmp_path / "threatfox.ndjson"
    path.write_text(
        '{"id": "1", "ioc": "http://www.a.example/x", "ioc_type": "url", '
        '"threat_type": "botnet_cc", "malware_printable": "Mirai", "confidence_level": 75, '
        '"first_seen": "2026-06-09 09:00:00 UTC"}'
    )
    lake.land(unhurried("threatfox"), {path: None}, NOON)
    path = tmp_path / "samples.ndjson"
    path.write_text(
        f'{{"sha256_hash": "{"a" * 64}", "md5_hash": "{"b" * 32}", '
        '"first_seen": "2026-06-09 09:00:00"}'
    )
    lake.land(unhurried("malwarebazaar"), {path: None}, NOON)
    found = lake.sql(
        "SELECT indicator, relation, target, target_type FROM aggregated.indicator_links"
    )
    assert set(found.rows()) == {
        ("http://www.a.example/x", "hosted on", "www.a.example", "hostname"),
        ("http://www.a.example/x", "malware", "Mirai", "malware"),
        ("www.a.example", "part of", "a.example", "domain"),
        ("a" * 64, "same file", "b" * 32, "md5"),
    }


@pytest.mark.slow
def test_the_recorded_lists_of_one_day_overlap_as_published(
    make_lake: MakeLake, samples: Path, tmp_path: Path
):
    lake = make_lake(clock=lambda: datetime(2026, 8, 23, tzinfo=UTC))
    at = datetime(2026, 8, 22, 12, tzinfo=UTC)
    ipsum = tmp_path / "ipsum.txt"
    packed = samples / "threat/ip_reputation/ipsum_2026-08-22.txt.gz"
    ipsum.write_bytes(gzip.decompress(packed.read_bytes()))
    for feed, file in (
        ("ipsum", ipsum),
        ("malicious_ip", samples / "threat/ip_reputation/malicious-ip_full-40k_2026-08-22.txt"),
        ("threatfox_ips", samples / "threat/threatfox_ips_daily/2026-08-22.txt"),
    ):
        lake.land(unhurried(feed), {file: Window(RECORDED, RECORDED)}, at)
    made(lake, RECORDED)
    found = lake.sql(
        "SELECT feed, other, shared FROM aggregated.feed_overlap "
        "WHERE window_days = 1 AND feed < other ORDER BY feed, other"
    )
    assert found.rows() == [
        ("ipsum", "malicious_ip", 24_607),
        ("ipsum", "threatfox_ips", 243),
        ("malicious_ip", "threatfox_ips", 134),
    ]
    assert lake.sql("SELECT max(day) FROM aggregated.sightings").item() == RECORDED
