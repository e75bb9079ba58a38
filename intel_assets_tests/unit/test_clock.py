"""How people write days and moments."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intel_assets.clock import parse_day, parse_instant, start_of, system_clock
from intel_assets.errors import UsageError


def test_the_machine_s_time_is_aware_and_in_utc() -> None:
    assert system_clock().tzinfo is UTC


def test_a_day_begins_at_midnight_utc() -> None:
    assert start_of(date(2026, 11, 20)) == datetime(2026, 11, 20, tzinfo=UTC)


def test_a_day_is_read_as_it_is_written() -> None:
    assert parse_day(" 2026-11-20 ") == date(2026, 11, 20)


@pytest.mark.parametrize("text", ["", "2026-13-01", "2026-02-30", "yesterday", "20-11-2026"])
def test_what_is_no_day_is_refused_with_the_way_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match="is no day. Write it as 2026-11-20"):
        parse_day(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T14:30:00Z", datetime(2026, 11, 20, 14, 30, tzinfo=UTC)),
        (" 2026-11-20 14:30 ", datetime(2026, 11, 20, 14, 30, tzinfo=UTC)),
        ("2026-11-20T14:30:00+02:00", datetime(2026, 11, 20, 12, 30, tzinfo=UTC)),
        ("2026-11-20T14:30:00.000001", datetime(2026, 11, 20, 14, 30, 0, 1, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_a_moment_is_in_utc_and_a_day_alone_is_its_end(text: str, moment: datetime) -> None:
    found = parse_instant(text)
    assert found == moment
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "noon",
        "2026-11-20T25:00",
        "9999-12-31",
        "2026-11-20T14:30:00 nowhere",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_what_is_no_moment_is_refused_with_the_way_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match="is no moment. Write it as 2026-11-20"):
        parse_instant(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_reads_back_as_it_was_written(moment: datetime) -> None:
    assert parse_instant(moment.isoformat()) == moment


@given(st.dates(max_value=date(9999, 12, 30)))
def test_the_end_of_a_day_is_the_last_moment_before_the_next(day: date) -> None:
    end = parse_instant(day.isoformat())
    assert end + timedelta(microseconds=1) == start_of(day + timedelta(days=1))


LIKELY = st.from_regex(r"[0-9]{4}-?[0-9W]{2}-?[0-9]{1,2}[T ]?[0-9:.Z+-]*", fullmatch=True)


@given(st.text() | LIKELY)
def test_any_text_is_a_moment_or_refused(text: str) -> None:
    for read in (parse_instant, parse_day):
        with suppress(UsageError):
            read(text)
