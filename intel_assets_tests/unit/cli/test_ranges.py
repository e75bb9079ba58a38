"""Gaps as people read them: which days make one line, and what is said of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from intel_assets.cli.ranges import GAPS, gap_ranges, what_next
from intel_assets.coverage.tables import STATES
from intel_assets_tests.unit.cli.standing import NOW, day, row, states


def test_days_in_a_row_that_stand_alike_are_one_range():
    found = gap_ranges(states(*(row(f"{n:02}", reason="not asked for yet") for n in (1, 2, 3))))
    assert [(gap.first, gap.last, gap.days) for gap in found] == [(day("01"), day("03"), 3)]
    assert found[0].reason == "not asked for yet"


def test_a_day_that_stands_well_divides_them():
    found = gap_ranges(states(row("01"), row("02", "complete"), row("03")))
    assert [(gap.first, gap.last) for gap in found] == [(day("01"),) * 2, (day("03"),) * 2]


def test_days_that_nobody_expects_do_not_divide_them():
    friday, monday = row("05"), row("08")
    assert [gap.days for gap in gap_ranges(states(friday, monday))] == [2]


@pytest.mark.parametrize(
    "other", [{"state": "failed"}, {"reason": "asked 2 times"}, {"source": "urlhaus"}]
)
def test_another_state_reason_or_source_begins_a_range_of_its_own(other: dict[str, Any]):
    given = row("01", reason="asked 1 times")
    assert len(gap_ranges(states(given, row("02", reason="asked 1 times") | other))) == 2


def test_reasons_that_differ_in_their_moments_alone_are_alike():
    said = "asked 2 times; last: nothing at https://x.example/2026/202606/2026060{n}.csv (404)"
    until = "; recoverable until 2026-07-0{n} 00:00 UTC, then lost"
    rows = [row(f"0{n}", reason=(said + until).replace("{n}", str(n))) for n in (1, 2)]
    (found,) = gap_ranges(states(*rows))
    assert found.reason == "asked 2 times; last: nothing at https://x.example/…/…/….csv (404)"


def test_a_range_of_one_day_keeps_the_moments_of_its_reason():
    (found,) = gap_ranges(states(row("01", reason="last: nothing at 2026-06-01; recoverable until "
                                                  "2026-07-01 00:00 UTC, then lost")))  # fmt: skip
    assert found.reason == "last: nothing at 2026-06-01"


def test_a_range_is_as_urgent_as_the_first_of_its_days():
    def at(n: int) -> datetime:
        return datetime(2026, 7, n, tzinfo=UTC)

    rows = [row(f"0{n}", deadline=at(n), next_at=at(n), since=at(n), attempts=n) for n in (2, 1)]
    (found,) = gap_ranges(states(*rows))
    assert (found.deadline, found.next_at, found.since) == (at(1),) * 3
    assert found.attempts == 2


def test_days_that_stand_well_or_are_not_due_are_no_gaps():
    every = [row(f"{n:02}", state) for n, state in enumerate(STATES, 1)]
    assert [gap.state for gap in gap_ranges(states(*every))] == [s for s in STATES if s in GAPS]
    told = {gap.state for gap in gap_ranges(states(*every), everything=True)}
    assert told == set(STATES) - {"complete", "empty"}


def test_no_day_at_all_is_no_gap():
    assert gap_ranges(states()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"state": "missing", "remedy": "fetch"}, "asked for as soon as a run is free"),
        (
            {"state": "missing", "remedy": "fetch", "next_at": NOW + timedelta(hours=1)},
            "asked for at 2026-06-10 13:00 UTC",
        ),
        (
            {"state": "missing", "remedy": "fetch", "next_at": NOW - timedelta(hours=1)},
            "asked for as soon as a run is free",
        ),
        ({"state": "missing", "remedy": "replay"}, "built again from landing"),
        ({"state": "failed", "remedy": "person"}, "a person has to look"),
        ({"state": "filling", "remedy": "none"}, "a run is at it"),
        ({"state": "lost", "remedy": "none"}, "nothing; it cannot be had any more"),
    ],
)
def test_what_is_done_about_it_is_said(given: dict[str, Any], said: str):
    assert what_next({"next_at": None} | given, NOW, None) == said


def test_a_source_that_is_down_is_waited_for():
    given = {"state": "missing", "remedy": "fetch", "next_at": NOW + timedelta(minutes=5)}
    said = what_next(given, NOW, NOW + timedelta(minutes=20))
    assert said == "asked for at 2026-06-10 12:20 UTC; the source is down"


@pytest.mark.parametrize("state", STATES)
def test_of_every_state_something_is_said(state: str):
    assert what_next({"state": state, "remedy": "none", "next_at": None}, NOW, None)
