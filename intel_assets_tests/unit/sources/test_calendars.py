from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intel_assets.errors import ConfigurationError
from intel_assets.sources.calendars import DAILY, Calendar

SOME_DAY = st.dates(date(2015, 1, 1), date(2035, 12, 31))


@given(SOME_DAY, st.integers(0, 400))
def test_every_day_of_a_range_is_expected_once(first: date, more: int) -> None:
    found = DAILY.days(first, first + timedelta(days=more)).to_list()
    assert found == [first + timedelta(days=i) for i in range(more + 1)]


def test_a_range_that_ends_before_it_begins_has_no_days() -> None:
    for every in ("day", "hour", "business_day", "week"):
        calendar = Calendar(every, holidays="XNYS")  # type: ignore[arg-type]
        assert calendar.days(date(2026, 5, 2), date(2026, 5, 1)).to_list() == []


def test_business_days_leave_out_weekends_and_the_market_s_holidays() -> None:
    found = Calendar("business_day", holidays="XNYS").days(date(2026, 11, 23), date(2026, 12, 1))
    # Thanksgiving is 26 November 2026.
    assert [day.day for day in found] == [23, 24, 25, 27, 30, 1]


def test_business_days_of_a_country_know_its_own_holidays() -> None:
    days = date(2026, 5, 1), date(2026, 5, 4)
    assert Calendar("business_day", holidays="DE").days(*days).to_list() == [date(2026, 5, 4)]
    assert Calendar("business_day").days(*days).to_list() == [date(2026, 5, 1), date(2026, 5, 4)]


@given(SOME_DAY, st.integers(0, 6))
def test_a_weekly_source_is_expected_on_its_weekday_alone(first: date, weekday: int) -> None:
    found = Calendar("week", weekday=weekday).days(first, first + timedelta(days=27)).to_list()
    assert len(found) == 4
    assert {day.weekday() for day in found} == {weekday}


def test_holidays_that_nobody_knows_are_named() -> None:
    with pytest.raises(ConfigurationError, match="'Atlantis'"):
        Calendar("business_day", holidays="Atlantis").days(date(2026, 1, 1), date(2026, 1, 2))
