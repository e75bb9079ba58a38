"""Lists of one's own: what is allowed is suppressed, what is watched for is found."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from intel_assets.errors import UsageError
from intel_assets.lakehouse.catalog import Catalog, packaged_blank
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Table
from intel_assets.lakehouse.views import TableName
from intel_assets.sources.goldsql import sql_type
from intel_assets.threat.own_lists import OWN_LISTS, ListName, Word, put
from intel_assets_tests.conftest import NOON, MakeLake
from intel_assets_tests.unit.threat.gold.given import day, made, sighting, tables

HOUR = timedelta(hours=1)


def word(at: datetime = NOON - HOUR, **given: Any) -> Word:
    said: dict[str, Any] = {
        "entered": True,
        "owner": "ann",
        "reason": "ours",
        "expires_at": None,
        "who": "ann@desk",
        "at": at,
    }
    return Word(**(said | given))


@pytest.fixture
def layout(make_lake: MakeLake) -> Layout:
    return make_lake().engine.settings.layout


def entered(layout: Layout, *values: str, name: ListName = "allow", **given: Any) -> pl.DataFrame:
    put(layout, name, values, word(**given))
    return Table(layout, OWN_LISTS).read_where(pl.lit(True))


def entries(layout: Layout, at: datetime = NOON) -> list[str]:
    catalog = Catalog(layout, clock=lambda: at)
    with catalog.connect(wanted=[TableName("aggregated", "own_entries")]) as con:
        found = con.sql("SELECT value FROM aggregated.own_entries ORDER BY value").fetchall()
    return [value for (value,) in found]


def indicators(rows: Sequence[dict[str, Any]], lists: pl.DataFrame) -> dict[str, tuple[Any, ...]]:
    """Return by whom each indicator is suppressed, and why."""
    columns = ("indicator", "suppressed", "suppressed_by", "suppression_reason")
    with tables(rows, ops__own_lists=lists) as con:
        found = made(con, "indicators", "true", *columns)
    return {row[0]: row[1:] for row in found.iter_rows()}


def test_the_blank_table_has_the_columns_of_the_contract() -> None:
    blank = packaged_blank()[TableName("ops", "own_lists")]
    assert blank == {name: sql_type(kind) for name, kind in OWN_LISTS.schema.items()}


def test_a_lake_without_an_entry_answers_that_there_is_none(layout: Layout) -> None:
    assert entries(layout) == []


@pytest.mark.parametrize(
    ("pasted", "value", "kind", "match"),
    [
        ("203.0.113[.]7", "203.0.113.7", "ipv4", "cidr"),
        ("203.0.113.0/24", "203.0.113.0/24", "cidr", "cidr"),
        ("2001:DB8::1", "2001:db8::1", "ipv6", "cidr"),
        ("Example[.]Test.", "example.test", "hostname", "hostname"),
        ("hxxp://Example.test/A", "http://example.test/a", "url", "string"),
        ("D41D8CD98F00B204E9800998ECF8427E", "d41d8cd98f00b204e9800998ecf8427e", "md5", "string"),
    ],
)
def test_a_value_is_entered_as_it_is_pasted(
    layout: Layout, pasted: str, value: str, kind: str, match: str
) -> None:
    row = entered(layout, pasted).row(0, named=True)
    assert (row["value"], row["indicator_type"], row["match"]) == (value, kind, match)
    assert (row["first_address"] is not None) == (match == "cidr")


def test_of_values_one_of_which_is_none_nothing_is_entered(layout: Layout) -> None:
    with pytest.raises(UsageError, match="no indicator"):
        put(layout, "allow", ["203.0.113.7", "no such thing"], word())
    assert entries(layout) == []


def test_the_newest_word_counts_and_an_entry_ends_when_it_expires(layout: Layout) -> None:
    entered(layout, "a.test", "b.test", at=NOON - 9 * HOUR)
    entered(layout, "b.test", at=NOON - 8 * HOUR, entered=False)
    entered(layout, "c.test", at=NOON - 8 * HOUR, expires_at=NOON - 2 * HOUR)
    entered(layout, "a.test", at=NOON - 7 * HOUR, name="watch", entered=False)
    assert entries(layout) == ["a.test"]
    assert entries(layout, NOON - 8.5 * HOUR) == ["a.test", "b.test"]
    assert entries(layout, NOON - 3 * HOUR) == ["a.test", "c.test"]
    assert entries(layout, NOON - 10 * HOUR) == []


def test_what_lies_in_an_allowed_range_or_below_an_allowed_name_is_suppressed_and_stays(
    layout: Layout,
) -> None:
    lists = entered(layout, "203.0.113.0/24", "example.test", "2001:db8::/32")
    rows = [
        sighting(0, "urlhaus", "203.0.113.7"),
        sighting(0, "urlhaus", "203.0.114.7"),
        sighting(0, "urlhaus", "2001:db8::5", indicator_type="ipv6"),
        sighting(
            0,
            "urlhaus",
            "http://cdn.example.test/x",
            indicator_type="url",
            host="cdn.example.test",
        ),
        sighting(
            0, "urlhaus", "http://203.0.113.9:8080/x", indicator_type="url", host="203.0.113.9"
        ),
        sighting(0, "urlhaus", "http://[2001:db8::7]/", indicator_type="url", host="[2001:db8::7]"),
        sighting(
            0,
            "urlhaus",
            "notexample.test",
            indicator_type="domain",
            host="notexample.test",
        ),
    ]
    ours = (True, "allowlist:ann")
    assert indicators(rows, lists) == {
        "203.0.113.7": (*ours, "ours: 203.0.113.0/24"),
        "203.0.114.7": (False, None, None),
        "2001:db8::5": (*ours, "ours: 2001:db8::/32"),
        "http://cdn.example.test/x": (*ours, "ours: example.test"),
        "http://203.0.113.9:8080/x": (*ours, "ours: 203.0.113.0/24"),
        "http://[2001:db8::7]/": (*ours, "ours: 2001:db8::/32"),
        "notexample.test": (False, None, None),
    }


def test_what_is_watched_for_is_found_with_its_feeds_and_is_not_suppressed(layout: Layout) -> None:
    lists = entered(layout, "203.0.113.0/24", name="watch", reason="our office")
    rows = [
        sighting(0, "urlhaus", "203.0.113.7"),
        sighting(2, "threatfox", "203.0.113.7"),
        sighting(1, "ipsum", "203.0.113.9", "gone"),
        sighting(1, "urlhaus", "198.51.100.1"),
    ]
    assert not any(suppressed for suppressed, *_ in indicators(rows, lists).values())
    with tables(rows, ops__own_lists=lists) as con:
        found = made(con, "watchlist_hits").rows(named=True)
    assert found == [
        {
            "indicator": "203.0.113.7",
            "indicator_type": "ipv4",
            "watched": "203.0.113.0/24",
            "owner": "ann",
            "reason": "our office",
            "sources": ["threatfox", "urlhaus"],
            "first_day": day(0),
            "last_day": day(2),
        }
    ]
