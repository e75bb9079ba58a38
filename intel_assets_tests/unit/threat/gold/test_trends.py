"""Trends: how much is told of what by day, and what of it is odd."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.threat.gold import trends
from intel_assets.threat.gold.trends import LARGEST, OTHER, TRENDS
from intel_assets_tests.conftest import NOON, MakeLake
from intel_assets_tests.unit.threat.gold.given import (
    build_all,
    day,
    held,
    land,
    listed,
    made,
    post,
    sighting,
    snapshot,
    specs,
    tables,
)


def counts(rows: list[dict[str, Any]], dimension: str, **others: pl.DataFrame) -> dict[Any, Any]:
    """Sightings, indicators and new indicators, by number of the day and value."""
    with tables(rows, **others) as con:
        found = made(con, "threat_trends", f"dimension = '{dimension}'")
    return {((row[0] - day(0)).days, row[2]): row[3:] for row in found.iter_rows()}


def test_an_indicator_is_new_when_no_feed_told_of_it_in_the_ninety_days_before():
    rows = [
        *listed("ipsum", {0: "AB", 1: "ABC", 91: "C"}),
        sighting(0, "tweetfeed", "A"),
        sighting(1, "tweetfeed", "C"),
        sighting(2, "tweetfeed", "B"),
        sighting(90, "threatfox", "A"),
        sighting(93, "threatfox", "B"),
    ]
    assert counts(rows, "type") == {
        (0, "ipv4"): (3, 2, 2),
        (1, "ipv4"): (4, 3, 1),  # C, of which two tell
        (2, "ipv4"): (1, 1, 0),
        (90, "ipv4"): (1, 1, 0),  # the list had A 89 days ago
        (91, "ipv4"): (1, 1, 0),  # C is still there; that the others went is no sighting
        (93, "ipv4"): (1, 1, 1),  # of B nobody told for 91 days
    }


def test_what_has_several_values_counts_with_each():
    rows = [
        sighting(0, "tweetfeed", "A", tags=["c2", "rat"], malware="Mirai"),
        sighting(0, "threatfox", "A", tags=["rat"], malware="Mozi", threat="botnet_cc"),
        sighting(0, "threatfox", "B", malware="Mozi"),
    ]
    assert counts(rows, "tag") == {(0, "c2"): (1, 1, 1), (0, "rat"): (2, 1, 1)}
    assert counts(rows, "malware") == {(0, "Mirai"): (1, 1, 1), (0, "Mozi"): (2, 2, 2)}
    assert counts(rows, "threat") == {(0, "botnet_cc"): (1, 1, 1)}


def test_beyond_the_largest_values_of_a_day_the_others_stand_together():
    names = [f"tag{n:02}" for n in range(LARGEST + 3)]
    rows = [
        sighting(0, "tweetfeed", "A", tags=names),
        sighting(0, "threatfox", "A", tags=names),
        sighting(0, "tweetfeed", "B", tags=names[-1:]),
        sighting(0, "otx", "C", tags=names[-4:]),
    ]
    found = counts(rows, "tag")
    assert len(found) == LARGEST + 1
    assert found[0, names[-1]] == (4, 3, 3)
    # The last four are the largest; of those that have two sightings the last names are others.
    others = names[LARGEST - 4 : LARGEST - 1]
    assert not {(0, name) for name in others} & set(found)
    # Two sightings of one indicator, each with three of these tags.
    assert found[0, OTHER] == (2, 1, 1)


def test_countries_are_those_of_addresses_and_not_of_who_sent_a_file():
    told = [
        ("feodo", "A", "ipv4", "DE"),
        ("abuseipdb", "A", "ipv4", "DE"),
        ("abuseipdb", "B", "ipv4", "FR"),
        ("abuseipdb", "B", "ipv4", "FR"),
        ("malwarebazaar", "f" * 64, "sha256", "US"),
        ("abuseipdb_check", "C", "ipv4", "US"),  # was asked of it, and tells nothing by itself
    ]
    contexts = pl.DataFrame(
        told, schema=["source", "indicator", "indicator_type", "country"], orient="row"
    ).with_columns(day=pl.lit(day(0)))
    rows = [
        *listed("feodo", {0: "A"}),
        *listed("abuseipdb", {0: "AB"}),
        sighting(0, "malwarebazaar", "f" * 64, indicator_type="sha256"),
    ]
    found = counts(rows, "country", cleaned__contexts=contexts)
    assert found == {(0, "DE"): (2, 1, 1), (0, "FR"): (1, 1, 1)}


TOLD = st.lists(
    st.tuples(
        st.integers(0, 120),
        st.sampled_from(("threatfox", "tweetfeed", "otx")),
        st.sampled_from("ABCDEF"),
        st.sampled_from((None, "Mirai", "Mozi")),
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda one: one[:3],
)


@settings(max_examples=15, deadline=None)
@given(TOLD)
def test_counts_are_as_defined(told: list[tuple[int, str, str, str | None]]):
    rows = [sighting(n, feed, one, malware=family) for n, feed, one, family in told]
    days_of: dict[str, set[int]] = {}
    for n, _, one, _ in told:
        days_of.setdefault(one, set()).add(n)
    expected = {}
    for n, family in {(n, family) for n, _, _, family in told if family}:
        mine = Counter(one for m, _, one, name in told if (m, name) == (n, family))
        new = [one for one in mine if not any(n - 90 <= m < n for m in days_of[one])]
        expected[n, family] = (mine.total(), len(mine), len(new))
    assert counts(rows, "malware") == expected


# -- what is odd -----------------------------------------------------------------------------------


def trend(series: dict[int, int], value: str = "Mirai") -> pl.DataFrame:
    """Trends of which only what is new matters, by number of the day."""
    rows = [(day(n), "malware", value, 1, 1, new) for n, new in series.items()]
    return pl.DataFrame(rows, schema=TRENDS.schema, orient="row")


def odd(*series: pl.DataFrame) -> dict[int, tuple[Any, Any, bool]]:
    """What is usual, how far from it a day is, and whether it is odd; by number of the day."""
    columns = ("day", "usual", "deviation", "anomaly")
    with tables([], aggregated__threat_trends=pl.concat(series)) as con:
        found = made(con, "threat_anomalies", "value = 'Mirai'", *columns)
    return {(one - day(0)).days: tuple(rest) for one, *rest in found.iter_rows()}


def test_a_burst_is_odd_and_a_week_of_days_must_lie_before_it():
    found = odd(trend(dict.fromkeys(range(9), 8) | {6: 90, 9: 40}))
    assert found[6] == (None, None, False)
    assert found[7] == (8, 0, False)
    assert found[9] == (8, round((40 - 8) / 8**0.5, 2), True)


def test_a_value_that_falls_far_below_what_is_usual_is_odd():
    assert odd(trend(dict.fromkeys(range(10), 100) | {10: 60}))[10] == (100, -4, True)


def test_small_numbers_are_never_odd():
    assert odd(trend(dict.fromkeys(range(10), 0) | {10: 19}))[10] == (0, 19, False)
    assert odd(trend(dict.fromkeys(range(10), 0) | {10: 20}))[10] == (0, 20, True)


def test_what_scatters_widely_anyway_is_not_odd():
    wide = {n: 40 if n % 2 else 160 for n in range(28)}
    assert odd(trend(wide | {28: 250}))[28] == (100, round(150 / (1.4826 * 60), 2), False)


def test_a_day_without_a_value_counts_as_none_and_a_day_without_data_not_at_all():
    family = trend({0: 30, 2: 30, 9: 30})
    other = trend({n: 5 for n in (0, 1, 2, 3, 4, 5, 6, 9)}, "Mozi")
    assert odd(family, other)[9] == (0, 30, True)  # 30, 0, 30, 0, 0, 0, 0: seven days
    assert odd(family, trend({n: 5 for n in (0, 2, 5, 9)}, "Mozi"))[9] == (None, None, False)


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.integers(0, 60), st.integers(0, 200), min_size=8, max_size=40))
def test_what_is_usual_is_the_median_of_the_28_days_before(series: dict[int, int]):
    found = odd(trend(series), trend(dict.fromkeys(range(61), 1), "Mozi"))
    for n, new in series.items():
        before = [series.get(m, 0) for m in range(max(0, n - 28), n)]
        if len(before) < 7:
            assert found[n] == (None, None, False)
            continue
        usual = median(before)
        spread = median(abs(one - usual) for one in before)
        scale = max(1.4826 * spread, usual**0.5, 1)
        assert found[n][0] == usual
        assert found[n][1] == pytest.approx((new - usual) / scale, abs=0.006)
        assert found[n][2] == (max(new, usual) >= 20 and abs(new - usual) >= 3.5 * scale)


# -- in a lake -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_days_built_one_by_one_say_what_the_sql_says_as_of_now(make_lake: MakeLake, tmp_path: Path):
    lake = make_lake(clock=lambda: NOON)
    post(lake, tmp_path, 0, "198.18.0.1", "198.18.0.2")
    post(lake, tmp_path, 2, "198.18.0.1", "198.18.0.3")
    snapshot(lake, tmp_path, "ipsum", 1, "198.18.0.3\t3", "198.18.0.4\t1")
    snapshot(lake, tmp_path, "ipsum", 2, "198.18.0.3\t3")
    feodo = (
        '[{"ip_address": "198.18.0.5", "port": 443, "status": "online", "country": "DE", '
        '"first_seen": "2026-06-01 08:00:00", "last_online": "2026-06-02", "malware": "Emotet"}]'
    )
    land(lake, tmp_path, "feodo", 1, feodo, "json")
    made_of, days = specs(trends), [day(n) for n in range(3)]
    for part in (days[:1], days[1:]):
        written = build_all(lake, made_of, part)
        assert written == {"sightings": len(part), "threat_trends": len(part)}
    assert not any(build_all(lake, made_of, days).values())
    stored = held(lake, "threat_trends", "threat_anomalies")
    for name, frame in held(lake, *stored, as_of=NOON).items():
        assert frame.equals(stored[name]), name
    told = stored["threat_trends"]
    assert told.filter(dimension="country").rows() == [(day(1), "country", "DE", 1, 1, 1)]
    assert told.filter(dimension="type")["new_indicators"].to_list() == [2, 3, 0]


@pytest.mark.slow
def test_a_day_that_comes_late_makes_what_follows_no_longer_new(
    make_lake: MakeLake, tmp_path: Path
):
    lake = make_lake(clock=lambda: NOON)
    post(lake, tmp_path, 2, "198.18.0.1")
    made_of, days = specs(trends), [day(n) for n in range(3)]
    build_all(lake, made_of, days)
    post(lake, tmp_path, 0, "198.18.0.1")
    assert build_all(lake, made_of, days) == {"sightings": 1, "threat_trends": 2}
    found = held(lake, "threat_trends")["threat_trends"].filter(dimension="type")
    assert found["new_indicators"].to_list() == [1, 0]
    assert made_of[-1].history == {"sightings": 90}
