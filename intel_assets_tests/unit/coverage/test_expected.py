"""What is expected: which days of which source, when each is due, and until when it can be had."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from intel_assets.coverage.evidence import first_days
from intel_assets.coverage.expected import EXPECTED, begins, expected
from intel_assets.sources.calendars import Calendar
from intel_assets.threat.plain_lists import IPSUM
from intel_assets_tests.unit.coverage.given import (
    DAYS,
    HOUR,
    NOON,
    TODAY,
    ago,
    at,
    evidence,
    fetch,
    fetches,
    spec,
)


def days_of(calendar: Calendar, back: int = 14) -> list[date]:
    one = replace(spec(calendar=calendar), start=ago(back))
    return expected([one], NOON, {})["day"].to_list()


@pytest.mark.parametrize(
    ("calendar", "wanted"),
    [
        (Calendar("day"), [ago(back) for back in range(14, -1, -1)]),
        (Calendar("hour"), [ago(back) for back in range(14, -1, -1)]),
        (
            Calendar("business_day"),
            [ago(back) for back in range(14, -1, -1) if ago(back).weekday() < 5],
        ),
        (
            # Armistice Day, 11 November, is free in the United States.
            Calendar("business_day", holidays="US"),
            [
                ago(back)
                for back in range(14, -1, -1)
                if ago(back).weekday() < 5 and ago(back) != date(2026, 11, 11)
            ],
        ),
        (Calendar("week", weekday=2), [date(2026, 11, 11), date(2026, 11, 18)]),
    ],
    ids=["daily", "hourly", "business days", "holidays", "weekly"],
)
def test_each_calendar_expects_its_days_and_no_others(
    calendar: Calendar, wanted: list[date]
) -> None:
    assert days_of(calendar) == wanted


def test_an_hourly_source_is_expected_twenty_four_times_a_day() -> None:
    found = expected([spec(calendar=Calendar("hour"))], NOON, {})
    assert found["slots"].unique().to_list() == [24]
    assert expected([spec()], NOON, {})["slots"].unique().to_list() == [1]


def test_a_source_that_can_be_asked_for_any_day_is_expected_from_its_start() -> None:
    assert begins(spec(), None, TODAY, None) == spec().start
    assert begins(spec(), ago(3), TODAY, None) == spec().start


def test_a_source_that_looks_back_is_expected_from_where_its_reach_began() -> None:
    month = spec(look_back_days=30)
    assert begins(month, None, TODAY, None) == ago(29)
    assert begins(month, ago(100), TODAY, None) == ago(129)
    assert begins(replace(month, start=ago(5)), ago(100), TODAY, None) == ago(5)


def test_a_state_feed_is_expected_from_the_day_it_was_first_asked() -> None:
    assert begins(IPSUM, None, TODAY, None) == TODAY
    assert begins(IPSUM, ago(10), TODAY, None) == ago(10)


def test_no_day_before_the_bound_of_the_settings_is_expected() -> None:
    assert begins(spec(), None, TODAY, ago(7)) == ago(7)
    assert begins(spec(look_back_days=30), ago(100), TODAY, ago(7)) == ago(7)
    assert expected([spec()], NOON, {}, ago(2))["day"].to_list() == [ago(2), ago(1), TODAY]


def test_what_was_carried_over_by_hand_does_not_move_where_a_source_begins() -> None:
    old = fetch(1, ago(900), at(ago(900)), outcome="landed", attempts=0)
    known = evidence(fetches=fetches(old, fetch(2, ago(2), at(ago(2)))))
    assert first_days(known) == {"feed": ago(2)}
    assert first_days(evidence(fetches=fetches(old))) == {}


def the_day(one_spec: object, day: date, now: datetime = NOON) -> dict[str, object]:
    found = expected([one_spec], now, {})  # type: ignore[list-item]
    return found.filter(pl.col("day") == day).row(0, named=True)


def test_an_event_feeds_day_is_due_some_time_after_its_end() -> None:
    row = the_day(spec(due_after=2 * HOUR), ago(1))
    assert (row["begins"], row["ends"]) == (at(ago(1)), at(TODAY))
    assert row["due"] == at(TODAY, 2)
    assert row["deadline"] is None


def test_an_event_feeds_day_can_be_had_as_far_as_the_source_looks_back() -> None:
    # An answer reaches back to its own hour of its first day: what came before that is gone.
    assert the_day(spec(look_back_days=30), ago(23))["deadline"] == datetime(
        2026, 11, 27, tzinfo=UTC
    )


def test_a_state_feeds_day_is_due_after_its_first_request_and_lost_when_it_ends() -> None:
    row = the_day(IPSUM, TODAY)  # asked at 01:40, 03:40, ...
    assert row["due"] == at(TODAY) + timedelta(hours=3, minutes=40)
    assert row["deadline"] == at(TODAY) + DAYS
    late = replace(IPSUM, cadence="30 22 * * *")
    assert the_day(late, TODAY)["due"] == at(TODAY) + timedelta(hours=23, minutes=15)
    early = replace(IPSUM, cadence="0 0 * * *")
    assert the_day(early, TODAY)["due"] == at(TODAY, 2)
    weekly = replace(IPSUM, cadence="0 5 * * 1", calendar=Calendar("week"))
    monday = TODAY - timedelta(days=TODAY.weekday())
    assert the_day(weekly, monday, at(monday, 12))["due"] == at(monday, 7)


def test_the_days_of_many_sources_stand_in_one_frame() -> None:
    found = expected([spec("one"), spec("two", look_back_days=10), IPSUM], NOON, {"ipsum": ago(1)})
    assert found.schema == EXPECTED
    assert dict(found["source"].value_counts().iter_rows()) == {"one": 401, "two": 10, "ipsum": 2}
    assert expected([], NOON, {}).schema == EXPECTED


def test_a_source_that_has_not_begun_expects_nothing() -> None:
    assert expected([replace(spec(), start=TODAY + DAYS)], NOON, {}).is_empty()
