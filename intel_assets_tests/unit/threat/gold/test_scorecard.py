"""What feeds are worth: each number as somebody counts it by hand, and as it is defined."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.ingest.documents import Window
from intel_assets.lakehouse.contracts import INSTANT
from intel_assets.threat.gold import feeds, scorecard
from intel_assets.threat.gold.scorecard import MEASURES, OVERLAP, OVERLAP_WINDOWS, SCORED_WINDOWS
from intel_assets_tests.conftest import NOON, MakeLake, unhurried
from intel_assets_tests.unit.threat.gold.given import (
    at,
    build_all,
    day,
    held,
    listed,
    made,
    post,
    sighting,
    snapshot,
    specs,
    tables,
)

RECORDED = date(2026, 8, 22)


@pytest.fixture(scope="module")
def world() -> Iterator[duckdb.DuckDBPyConnection]:
    """Two lists, of which one repeats the other, and two feeds, over six days."""
    rows = [
        *listed("ipsum", {0: "AB", 1: "AC", 2: "ABC", 3: "ACD", 5: "ADEFG"}),
        *listed("malicious_ip", {4: "Q", 5: "QDF"}),
        *(sighting(0, "tweetfeed", one) for one in "ACX"),
        sighting(2, "tweetfeed", "D"),
        sighting(3, "tweetfeed", "E"),
        sighting(5, "tweetfeed", "B"),
        sighting(0, "threatfox", "X", hour=8),
        sighting(3, "threatfox", "E", hour=16),
    ]
    hits = pl.DataFrame(
        {"indicator": ["X", "X"], "indicator_type": ["ipv4"] * 2, "list": ["a", "b"]}
    )
    records = pl.DataFrame(
        [
            ("ipsum", day(5), at(5), at(5, 12)),
            ("ipsum", day(4), at(4), at(8)),  # landed late: not the newest snapshot
            ("tweetfeed", day(5), at(5, 10), at(5, 11)),
            ("tweetfeed", day(5), at(99), at(5, 11)),  # from the future: not believed
        ],
        schema={"source": pl.String, "day": pl.Date, "first_seen": INSTANT, "known_from": INSTANT},
        orient="row",
    )
    with tables(rows, aggregated__warninglist_hits=hits, cleaned__indicators=records) as con:
        yield con


def measures(con: duckdb.DuckDBPyConnection, source: str, window: int = 7) -> dict[str, Any]:
    where = f"source = '{source}' AND window_days = {window}"
    (row,) = made(con, "feed_measures", where).iter_rows(named=True)
    return {name: value for name, value in row.items() if name not in ("source", "window_days")}


def test_a_list_is_what_one_counts_by_hand(world: duckdb.DuckDBPyConnection):
    assert measures(world, "ipsum") == {
        "sightings": 2 + 2 + 3 + 3 + 5,
        "indicators": 7,
        "unique_share": round(1 / 7, 6),  # G
        # A and B stood there before; F only the list that repeats this one has. Of C, D and E
        # TweetFeed told a day or two before.
        "compared": 3,
        "first_share": 0,
        "lead_hours": None,
        "dwell_days": 2,  # A 5, C 3, B 2, D 2, E 1, F 1, G 1
        # Moved: C came and B went; B came; D came and B went; E, F, G came and C went. The last
        # snapshot is two days behind the one before.
        "churn": (2 + 1 + 2 + 4) / (2 + 3 + 3 + 2 * 5),
        "withdrawn_share": 1 / 2,  # C came and stayed; B came back and was gone the next day
        "warninglist_share": 0,
        "newest_at": at(5, 12),
    }


def test_a_feed_is_what_one_counts_by_hand(world: duckdb.DuckDBPyConnection):
    assert measures(world, "tweetfeed") == {
        "sightings": 6,
        "indicators": 6,
        "unique_share": 0,
        # Not A: the list had it in its first snapshot, perhaps for long.
        "compared": 5,
        "first_share": 3 / 5,  # C, D, E; of X ThreatFox told two hours before, and B is old
        "lead_hours": 24,  # C 24, D 24, and E 6: ThreatFox was next
        "dwell_days": 1,
        "churn": None,
        "withdrawn_share": None,
        "warninglist_share": round(1 / 6, 6),
        "newest_at": at(5, 10),
    }
    first = measures(world, "threatfox")
    assert (first["compared"], first["first_share"], first["lead_hours"]) == (2, 0.5, 2)
    assert (first["unique_share"], first["warninglist_share"]) == (0, 0.5)


def test_a_list_that_repeats_another_is_not_compared_with_it(world: duckdb.DuckDBPyConnection):
    repeater = measures(world, "malicious_ip")
    assert (repeater["compared"], repeater["first_share"]) == (1, 0)  # D, with TweetFeed
    assert repeater["unique_share"] == round(1 / 3, 6)
    assert repeater["churn"] == round(2 / 3, 6)
    assert repeater["withdrawn_share"] is None  # nothing came but with the last snapshot


def test_a_window_ends_with_the_newest_day_and_looks_no_further_back():
    rows = [
        sighting(0, "tweetfeed", "A"),
        sighting(1, "tweetfeed", "B"),
        sighting(7, "tweetfeed", "C"),
        sighting(0, "threatfox", "C"),
        *listed("ipsum", {0: "Z", 7: "Z"}),
    ]
    with tables(rows) as con:
        found = [measures(con, "tweetfeed", window) for window in SCORED_WINDOWS]
        assert [one["indicators"] for one in found] == [2, 3, 3]
        # ThreatFox told of C before the shortest window: there it is nobody else's.
        assert [one["unique_share"] for one in found] == [1, round(2 / 3, 6), round(2 / 3, 6)]
        # But TweetFeed was not first, in whatever window.
        assert [(one["compared"], one["first_share"]) for one in found] == [(1, 0)] * 3
        assert made(con, "feed_measures", "source = 'threatfox' AND window_days = 7").is_empty()


def test_what_came_back_to_a_list_has_stood_there_before_all_that_is_looked_at():
    rows = [
        *listed("ipsum", {0: "Z", 1: "Z", 2: "Z"}),
        sighting(2, "ipsum", "A", "back"),
        sighting(1, "tweetfeed", "A"),
    ]
    with tables(rows) as con:
        told = measures(con, "tweetfeed")
        assert (told["compared"], told["first_share"]) == (1, 0)
        assert measures(con, "ipsum")["compared"] == 0


def test_freshness_is_counted_when_it_is_asked(world: duckdb.DuckDBPyConnection):
    found = made(world, "feed_scorecard", "source = 'tweetfeed' AND window_days = 7")
    (row,) = found.iter_rows(named=True)
    assert row["hours_since_newest"] == (NOON - at(5, 10)) / timedelta(hours=1)
    assert (row["closest_feed"], row["closest_share"]) == ("ipsum", round(5 / 6, 6))


# -- by definition ---------------------------------------------------------------------------------

EVENT_FEEDS, LISTS = ("threatfox", "tweetfeed", "urlhaus"), ("ipsum", "malicious_ip", "sslbl")
LETTERS = st.sampled_from("ABCDE")
WORLDS = st.tuples(
    st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from(EVENT_FEEDS), LETTERS, st.integers(0, 23)),
        max_size=12,
        unique_by=lambda one: one[:3],
    ),
    st.dictionaries(
        st.sampled_from(LISTS),
        st.dictionaries(st.integers(0, 40), st.sets(LETTERS, min_size=1), max_size=6),
    ),
).filter(lambda world: bool(world[0] or any(world[1].values())))
Rows = list[dict[str, Any]]


def rows_of(world: Any) -> Rows:
    told, lists = world
    return [
        *(sighting(n, feed, one, hour=hour) for n, feed, one, hour in told),
        *(row for feed, snapshots in lists.items() for row in listed(feed, snapshots)),
    ]


def sets_of(rows: Rows, days: int) -> dict[str, set[str]]:
    """What each feed told of in a window."""
    newest = max(row["day"] for row in rows)
    found: dict[str, set[str]] = {}
    for row in rows:
        if row["change"] != "gone" and row["day"] > newest - timedelta(days=days):
            found.setdefault(row["source"], set()).add(row["indicator"])
    return found


def overlap_of(rows: Rows, days: int) -> Iterator[tuple[Any, ...]]:
    told = sets_of(rows, days)
    for feed, mine in told.items():
        for other, theirs in told.items():
            if feed != other:
                both, either = len(mine & theirs), len(mine | theirs)
                numbers = (len(mine), len(theirs), both, len(mine - theirs))
                shares = (round(both / len(mine), 6), round(both / either, 6))
                yield from (
                    (days, feed, other, kind, *numbers, *shares) for kind in ("all", "ipv4")
                )


@settings(max_examples=12, deadline=None)
@given(WORLDS)
def test_overlap_is_that_of_the_sets_of_what_was_told(world: Any):
    rows = rows_of(world)
    expected = [one for days in OVERLAP_WINDOWS for one in overlap_of(rows, days)]
    with tables(rows) as con:
        found = made(con, "feed_overlap")
    assert found.columns == list(OVERLAP.schema)
    assert found.rows() == sorted(expected)


DERIVED = {spec.name: {spec.name, *spec.derived_from} for spec in feeds()}


def independent(one: str, other: str) -> bool:
    return not DERIVED[one] & DERIVED[other]


class Report:
    """When a feed told of an indicator first, or that it stood in its list before."""

    def __init__(self, rows: Rows, begun: date) -> None:
        told = sorted((row for row in rows if row["change"] != "gone"), key=lambda r: r["day"])
        self.event = told[0]["change"] == "seen"
        self.moment = min(row["first_seen"] for row in told)
        self.day = self.moment.date() if self.event else told[0]["day"]
        self.before = not self.event and (told[0]["change"] != "added" or self.day == begun)

    def hours_ahead(self, other: Report) -> float | None:
        """By how much this one was ahead; None if nobody knows."""
        if self.event and other.event:
            return (other.moment - self.moment) / timedelta(hours=1)
        if other.before and self.day <= other.day:
            return None
        return 24.0 * (other.day - self.day).days


def leads(rows: Rows) -> dict[str, list[tuple[date, float]]]:
    """For each feed, when it told of what can be compared, and by how much it was ahead."""
    begun: dict[str, date] = {}
    by_feed: dict[tuple[str, str], Rows] = {}
    for row in rows:
        begun[row["source"]] = min(row["day"], begun.get(row["source"], row["day"]))
        by_feed.setdefault((row["source"], row["indicator"]), []).append(row)
    reports = {key: Report(told, begun[key[0]]) for key, told in by_feed.items()}
    found: dict[str, list[tuple[date, float]]] = {}
    for (feed, indicator), mine in reports.items():
        ahead = [
            mine.hours_ahead(theirs)
            for (other, same), theirs in reports.items()
            if same == indicator and other != feed and independent(feed, other)
        ]
        known = [hours for hours in ahead if hours is not None]
        decided = len(known) == len(ahead) or min(known, default=1.0) <= 0
        if ahead and decided and not mine.before:
            found.setdefault(feed, []).append((mine.day, min(known)))
    return found


def measures_of(rows: Rows, days: int) -> Iterator[tuple[Any, ...]]:
    newest, told = max(row["day"] for row in rows), sets_of(rows, days)
    for feed, mine in told.items():
        others = set().union(*(theirs for other, theirs in told.items() if other != feed))
        judged = [
            hours
            for first, hours in leads(rows).get(feed, [])
            if first > newest - timedelta(days=days)
        ]
        firsts = [hours for hours in judged if hours > 0]
        yield (
            *(days, feed, len(mine), round(len(mine - others) / len(mine), 6), len(judged)),
            round(len(firsts) / len(judged), 6) if judged else None,
            median(firsts) if firsts else None,
        )


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(WORLDS)
def test_who_was_first_and_by_how_much_is_as_defined(world: Any):
    rows = rows_of(world)
    expected = [one for days in SCORED_WINDOWS for one in measures_of(rows, days)]
    columns = ("window_days", "source", "indicators", "unique_share")
    of_leads = ("compared", "first_share", "lead_hours")
    with tables(rows) as con:
        found = made(con, "feed_measures", "true", *columns, *of_leads)
    assert found.rows() == sorted(expected, key=lambda row: row[:2])


def test_no_sighting_is_no_score():
    with tables([]) as con:
        assert made(con, "feed_overlap").is_empty()
        found = made(con, "feed_measures")
    assert found.is_empty()
    assert set(found.columns) == set(MEASURES.schema)


# -- in a lake -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_stored_is_what_the_sql_says_and_is_written_once(
    make_lake: MakeLake, tmp_path: Path
):
    lake = make_lake(clock=lambda: NOON)
    snapshot(lake, tmp_path, "ipsum", 0, "198.18.0.1\t3", "198.18.0.2\t3")
    snapshot(lake, tmp_path, "ipsum", 1, "198.18.0.1\t3", "198.18.0.3\t3")
    post(lake, tmp_path, 0, "198.18.0.3", "198.18.0.9")
    days, made_of = [day(0), day(1)], specs(scorecard)
    assert build_all(lake, made_of, days) == {"sightings": 2, "feed_overlap": 1, "feed_measures": 1}
    assert not any(build_all(lake, made_of, days).values())
    asked = ("feed_overlap", "feed_measures", "feed_scorecard")
    stored = held(lake, *asked)
    for name, frame in held(lake, *asked, as_of=NOON).items():
        assert frame.equals(stored[name]), name
    now = stored["feed_scorecard"].filter(window_days=7)
    assert now["first_share"].to_list() == [0.0, 1.0]
    assert now["lead_hours"].to_list() == [None, 24.0]
    # As of the first evening there was one snapshot, and nobody could be compared.
    then = held(lake, "feed_measures", as_of=at(0, 20))["feed_measures"]
    assert then.filter(window_days=7)["compared"].to_list() == [0, 0]


@pytest.mark.slow
def test_the_recorded_lists_of_one_day_overlap_as_published(
    make_lake: MakeLake, samples: Path, tmp_path: Path
):
    at_noon = datetime(2026, 8, 22, 12, tzinfo=UTC)
    lake = make_lake(clock=lambda: at_noon)
    ipsum = tmp_path / "ipsum.txt"
    packed = samples / "threat/ip_reputation/ipsum_2026-08-22.txt.gz"
    ipsum.write_bytes(gzip.decompress(packed.read_bytes()))
    for feed, file in (
        ("ipsum", ipsum),
        ("malicious_ip", samples / "threat/ip_reputation/malicious-ip_full-40k_2026-08-22.txt"),
        ("threatfox_ips", samples / "threat/threatfox_ips_daily/2026-08-22.txt"),
    ):
        lake.land(unhurried(feed), {file: Window(RECORDED, RECORDED)}, at_noon)
    build_all(lake, specs(scorecard), [RECORDED])
    found = held(lake, "feed_overlap", "feed_measures")
    overlap = found["feed_overlap"].filter(window_days=1, indicator_type="ipv4")
    assert overlap.select("feed", "other", "shared", "only_feed").rows() == [
        ("ipsum", "malicious_ip", 24_607, 120_430 - 24_607),
        ("ipsum", "threatfox_ips", 243, 120_430 - 243),
        ("malicious_ip", "ipsum", 24_607, 40_000 - 24_607),
        ("malicious_ip", "threatfox_ips", 134, 40_000 - 134),
        ("threatfox_ips", "ipsum", 243, 19_863 - 243),
        ("threatfox_ips", "malicious_ip", 134, 19_863 - 134),
    ]
    shares = found["feed_measures"].filter(window_days=7).select("source", "unique_share")
    # By inclusion and exclusion: 116 addresses stand in all three.
    assert dict(shares.iter_rows()) == {
        "ipsum": round((120_430 - 24_607 - 243 + 116) / 120_430, 6),
        "malicious_ip": round((40_000 - 24_607 - 134 + 116) / 40_000, 6),
        "threatfox_ips": round((19_863 - 243 - 134 + 116) / 19_863, 6),
    }
