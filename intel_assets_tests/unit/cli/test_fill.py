"""The plan of a backfill: what is asked for, what is not, and what it costs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from intel_assets.cli.fill import Backfill, arrange
from intel_assets.errors import NoLongerAvailable
from intel_assets.sources import registry
from intel_assets.sources.spec import SourceSpec
from intel_assets_tests.unit.cli.standing import NOW, assessment, day, row, source

WEEK = [day(f"{n:02}") for n in range(1, 8)]


def _steps(plan: Backfill) -> list[tuple[str, date, date, int]]:
    return [(step.kind, step.first, step.last, step.requests) for step in plan.steps]


def _plan(
    *rows: dict[str, Any], spec: SourceSpec | None = None, days: list[date] = WEEK, **more: Any
) -> Backfill:
    return arrange(spec or source(), assessment(*rows), days, **more)


def test_only_days_that_are_not_whole_are_asked_for():
    good = ["complete", "empty", "collapsed", "stale"]
    plan = _plan(*(row(f"0{n}", state) for n, state in enumerate(good, 1)), row("05"))
    assert _steps(plan) == [("fetch", day("05"), day("05"), 1)]
    assert plan.whole == 4


def test_all_asks_for_days_too_that_stand():
    plan = _plan(*(row(f"0{n}", "complete") for n in range(1, 8)), whole=True)
    assert _steps(plan) == [("fetch", WEEK[0], WEEK[-1], 7)]


def test_days_outside_those_that_were_named_are_left_alone():
    plan = _plan(row("01"), row("02"), row("09"), days=[day("02"), day("03")])
    assert _steps(plan) == [("fetch", day("02"), day("02"), 1)]


def test_what_a_person_was_asked_to_look_at_is_tried_again():
    plan = _plan(row("01", "failed"), row("02", remedy="person"), row("03", "rejected"))
    assert _steps(plan) == [("fetch", day("01"), day("03"), 3)]


def test_what_stands_in_landing_is_replayed_without_a_request():
    torn = row("01", remedy="replay", rows=5)
    given_up = row("02", "failed", remedy="person", rows=5)
    plan = _plan(torn, given_up, row("03"))
    assert _steps(plan)[:1] == [("replay", day("01"), day("02"), 0)]
    assert plan.requests == 1


def test_a_day_that_a_run_is_at_is_left_to_it():
    plan = _plan(row("01", "filling"), row("02"))
    assert (_steps(plan), plan.busy) == ([("fetch", day("02"), day("02"), 1)], [day("01")])


def test_a_day_that_is_lost_is_named_and_never_asked_for():
    spec = source(look_back_days=5)
    plan = _plan(row("04", "lost"), row("07"), spec=spec)
    assert _steps(plan) == [("fetch", day("07"), day("07"), 1)]
    assert day("04") in plan.gone
    assert day("07") not in plan.gone


def test_days_that_were_out_of_reach_from_the_beginning_are_named_too():
    plan = _plan(row("07"), spec=source(look_back_days=5))
    assert plan.gone == [day(f"0{n}") for n in (1, 2, 3, 4, 5)]


def test_when_all_is_lost_it_is_refused_in_a_sentence():
    with pytest.raises(NoLongerAvailable, match="reaches back 5 days: 2026-06-01 to 2026-06-04"):
        _plan(row("01", "lost"), row("02", "lost"), spec=source(look_back_days=5), days=WEEK[:4])


def test_a_state_feed_is_refused_its_past_in_a_clear_sentence():
    spec = registry.load(["ipsum"])[0]
    with pytest.raises(NoLongerAvailable, match="is a state feed: it says what holds now"):
        _plan(spec=spec)


def test_a_state_feed_is_asked_for_today():
    spec = registry.load(["ipsum"])[0]
    plan = _plan(row("10", "not_due"), spec=spec, days=[day("09"), day("10")])
    assert _steps(plan) == [("fetch", day("10"), day("10"), 1)]
    assert plan.gone == [day("09")]
    assert plan.steps[0].until == datetime(2026, 6, 11, tzinfo=UTC)


def test_a_state_feeds_past_is_built_again_from_landing():
    plan = _plan(row("03", remedy="replay", rows=3), spec=registry.load(["ipsum"])[0])
    assert ("replay", day("03"), day("03"), 0) in _steps(plan)


def test_days_before_the_source_begins_are_not_called_lost():
    first = source().start
    plan = _plan(days=[first - timedelta(days=1)])
    assert (plan.steps, plan.gone) == ([], [])


def test_a_request_that_answers_many_days_is_counted_once():
    plan = _plan(row("01"), row("04"), row("07"), spec=source(window_days=30))
    assert _steps(plan) == [("fetch", day("01"), day("07"), 1)]


def test_no_range_is_longer_than_a_run_may_be():
    days = [date(2026, 1, 1) + timedelta(days=i) for i in range(70)]
    plan = _plan(*(row(f"{d}") for d in days), days=days)
    assert [len(step.days) for step in plan.steps] == [10, 30, 30]


def test_the_newest_go_first_where_nothing_is_lost():
    plan = _plan(row("01"), row("03"), row("07"))
    assert [step.first for step in plan.steps] == [day("07"), day("03"), day("01")]


def test_what_is_lost_first_goes_first():
    plan = _plan(row("02"), row("04"), row("07"), spec=source(look_back_days=30))
    assert [step.first for step in plan.steps] == [day("02"), day("04"), day("07")]
    assert plan.steps[0].until == datetime(2026, 7, 2, tzinfo=UTC)


def test_what_the_quota_does_not_suffice_for_waits_the_least_urgent_first():
    five = [row(f"0{n}") for n in range(1, 6)]
    assert _plan(*five, budget=2).waiting == [day("01"), day("02"), day("03")]
    reached = source(look_back_days=30)
    assert sorted(_plan(*five, spec=reached, budget=2).waiting) == [day(f"0{n}") for n in (3, 4, 5)]


@drawn(
    gaps=st.sets(st.integers(1, 60), min_size=1),
    budget=st.none() | st.integers(0, 40),
    window=st.integers(1, 12),
    back=st.none() | st.integers(20, 90),
)
def test_never_over_the_quota_never_a_day_twice_and_none_forgotten(
    gaps: set[int], budget: int | None, window: int, back: int | None
):
    today = NOW.date()
    days = [today - timedelta(days=n) for n in range(60, 0, -1)]
    wanted = {today - timedelta(days=n) for n in gaps}
    held = [row(f"{d}", "missing" if d in wanted else "complete") for d in days]
    spec = source(window_days=window, look_back_days=back)
    try:
        plan = _plan(*held, spec=spec, days=days, budget=budget)
    except NoLongerAvailable:
        assert all(back is not None and (today - d).days >= back for d in wanted)
        return
    assert budget is None or plan.requests <= budget
    asked = [d for step in plan.steps for d in step.days]
    assert len(asked) == len(set(asked))
    assert {*asked, *plan.waiting, *plan.gone} >= wanted
    assert not set(asked) & set(plan.waiting)
    assert all(back is None or (today - d).days < back for d in asked)
