"""Which volumes are believed: pure functions over numbers."""

from __future__ import annotations

import csv
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intel_assets.sources.spec import VolumeRule
from intel_assets.sources.volume import HISTORY_DAYS, Usual, judge, usual

DAY = date(2026, 6, 10)  # a Wednesday
RULE = VolumeRule()


def back(**weeks_and_days: int) -> date:
    return DAY - timedelta(**weeks_and_days)


def test_an_event_feed_is_measured_by_the_median_of_the_weekday() -> None:
    history = {back(days=n): 10 for n in range(1, 60)}
    history |= {back(weeks=1): 900, back(weeks=2): 100, back(weeks=3): 120, back(weeks=4): 110}
    history |= {back(weeks=n): 100 for n in range(5, 9)}
    assert usual("event", DAY, history) == Usual(100, "median of the 8 Wednesdays before")


def test_fewer_than_three_of_the_weekday_leave_it_to_all_days() -> None:
    history = {back(days=n): n for n in range(1, 8)}
    assert usual("event", DAY, history) == Usual(4, "median of 7 days before")
    history |= {back(weeks=2): 100}
    assert usual("event", DAY, history) == Usual(4.5, "median of 8 days before")
    history |= {back(weeks=3): 100}
    assert usual("event", DAY, history) == Usual(100, "median of the 3 Wednesdays before")


def test_six_days_are_too_little_history() -> None:
    history = {back(days=n): 500 for n in range(1, 7)}
    assert usual("event", DAY, history) is None
    found = judge(RULE, 0, None)
    assert (found.passed, found.usual) == (True, None)
    assert "too little history" in found.description


def test_a_day_of_which_nothing_else_is_known_is_measured_by_what_it_had() -> None:
    assert usual("event", DAY, {}, 500) == Usual(500, "the most that this day had")
    assert usual("state", DAY, {DAY: 0}, 500) == Usual(500, "the most that this day had")


def test_a_snapshot_is_measured_by_the_one_before_on_whatever_day_that_was() -> None:
    history = {DAY: 1, back(days=9): 70, back(days=10): 10, back(days=-1): 5}
    assert usual("state", DAY, history) == Usual(70, f"the snapshot of {back(days=9)}")


@pytest.mark.parametrize("kind", ["event", "state"])
def test_what_lies_eight_weeks_back_says_nothing_any_more(kind) -> None:
    assert usual(kind, DAY, {back(days=HISTORY_DAYS + n): 100 for n in range(1, 90)}) is None


@pytest.mark.parametrize("kind", ["event", "state"])
@given(st.dictionaries(st.integers(0, 200), st.integers(0, 10**6)))
def test_days_to_come_say_nothing_of_a_day(kind, numbers: dict[int, int]) -> None:
    before = {DAY - timedelta(days=n): rows for n, rows in numbers.items() if n > 0}
    after = {DAY + timedelta(days=n): rows for n, rows in numbers.items()}
    assert usual(kind, DAY, before | after) == usual(kind, DAY, before)


@pytest.mark.parametrize(
    ("rows", "passed"),
    [(0, False), (39, False), (40, True), (100, True), (500, True), (501, False)],
)
def test_the_bounds_belong_to_what_is_believed(rows: int, passed: bool) -> None:
    found = judge(RULE, rows, Usual(100, "x"))
    assert (found.passed, found.usual) == (passed, 100)
    assert found.description.startswith(f"{rows} rows; x: 100")


def test_a_failure_says_which_bound_was_crossed() -> None:
    against = Usual(135_937, "the snapshot of 2025-04-30")
    assert judge(RULE, 27_174, against).description == (
        "27,174 rows; the snapshot of 2025-04-30: 135,937. Less than 40% of it."
    )
    assert judge(RULE, 999_999, against).description.endswith(". More than 5 times of it.")


def test_a_day_that_lasts_may_have_too_many_rows_but_not_too_few() -> None:
    assert judge(RULE, 0, Usual(100, "x"), whole=False).passed
    assert not judge(RULE, 501, Usual(100, "x"), whole=False).passed


def test_little_is_not_judged() -> None:
    assert judge(RULE, 0, Usual(19, "x")).passed
    assert judge(RULE, 10_000, Usual(19, "x")).passed
    assert not judge(RULE, 0, Usual(20, "x")).passed


def test_of_all_recorded_days_of_an_address_list_the_collapse_alone_fails(samples: Path) -> None:
    counts = samples / "threat" / "threatfox_ips_daily" / "_all_days_line_counts.csv"
    with counts.open() as lines:
        rows = {date.fromisoformat(r["day"]): int(r["lines"]) for r in csv.DictReader(lines)}
    failed = [
        day
        for day, count in rows.items()
        if not judge(RULE, count, usual("state", day, rows)).passed
    ]
    assert len(rows) == 1394
    assert failed == [date(2025, 5, 1)]
