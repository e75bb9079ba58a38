"""What is planned: never what cannot be had, never over the bounds, always something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.coverage.plan import DAYS_IN_A_RUN, Ask, Limits, plan, ranges, requests
from intel_assets.sources.extract import windows
from intel_assets.sources.spec import SourceSpec
from intel_assets_tests.unit.coverage.given import (
    DAYS,
    HOUR,
    NOON,
    TODAY,
    ago,
    at,
    spec,
    state,
    states,
)

NAMES = ("alpha", "beta", "gamma")


@dataclass(frozen=True)
class World:
    """States of some sources, and what the plan may use."""

    specs: tuple[SourceSpec, ...]
    rows: tuple[dict[str, Any], ...]
    limits: Limits

    @property
    def states(self) -> pl.DataFrame:
        return states(self.rows)

    def gaps(self, source: str, *remedies: str) -> dict[date, dict[str, Any]]:
        """The days of a source that may be tried now."""
        return {
            row["day"]: row
            for row in self.rows
            if row["source"] == source
            and row["remedy"] in (remedies or ("fetch", "replay"))
            and (row["next_at"] is None or row["next_at"] <= NOON)
        }

    def free(self, source: str) -> bool:
        """Whether nothing but the number of runs keeps a source from being asked now."""
        probe = self.limits.probe_at.get(source)
        return (
            source not in self.limits.busy
            and (probe is None or probe <= NOON)
            and self.limits.budgets.get(source, 1) >= 1
        )


@st.composite
def sources(draw: st.DrawFn) -> tuple[SourceSpec, list[dict[str, Any]]]:
    name = draw(st.sampled_from(NAMES))
    look_back = draw(st.sampled_from([None, 20, 80]))
    one = spec(name, window_days=draw(st.sampled_from([1, 3, 7, 30])), look_back_days=look_back)
    oldest = draw(st.integers(0, 60))
    remedy = st.sampled_from(["fetch", "fetch", "fetch", "none", "person", "replay"])
    pause = st.sampled_from([None, None, NOON - HOUR, NOON, NOON + HOUR])
    rows = []
    few = draw(st.booleans())  # Long ranges are rare when every day goes its own way.
    for back in range(oldest + 1):
        chosen = draw(remedy) if few or draw(st.integers(0, 5)) == 0 else "fetch"
        attempts = draw(st.integers(0, 5)) if few or draw(st.integers(0, 5)) == 0 else 0
        deadline = at(ago(back)) + timedelta(days=look_back) if look_back else None
        if deadline is not None and deadline <= NOON:
            chosen = "none"  # It is lost.
        rows.append(
            state(
                ago(back),
                chosen,
                source=name,
                attempts=attempts,
                silent=draw(st.integers(0, attempts)) if attempts else 0,
                deadline=deadline if chosen == "fetch" else None,
                next_at=draw(pause) if attempts else None,
            )
        )
    return one, rows


@st.composite
def worlds(draw: st.DrawFn) -> World:
    found = draw(st.lists(sources(), min_size=1, max_size=3, unique_by=lambda one: one[0].name))
    names = [one.name for one, _ in found]
    some = st.lists(st.sampled_from(names), unique=True, max_size=1)
    limits = Limits(
        runs=draw(st.integers(0, 4)),
        budgets=draw(st.dictionaries(st.sampled_from(names), st.integers(0, 12), max_size=2)),
        busy=set(draw(some)),
        probe_at=dict.fromkeys(draw(some), draw(st.sampled_from([NOON - HOUR, NOON + HOUR]))),
    )
    return World(tuple(one for one, _ in found), tuple(r for _, rs in found for r in rs), limits)


def asks(world: World) -> tuple[Ask, ...]:
    return plan(world.states, world.specs, world.limits, NOON).asks


def spec_of(world: World, ask: Ask) -> SourceSpec:
    return next(one for one in world.specs if one.name == ask.source)


# -- bounds -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(worlds())
def test_no_ask_needs_more_requests_than_the_quota_leaves(world: World) -> None:
    for ask in asks(world):
        made = len(windows(ask.days, spec_of(world, ask).window_days))
        assert ask.requests == (0 if ask.kind == "replay" else made)
        assert ask.requests <= world.limits.budgets.get(ask.source, 10**6)


@settings(deadline=None)
@given(worlds())
def test_no_more_runs_than_there_is_room_for_and_one_for_each_source(world: World) -> None:
    found = asks(world)
    assert len(found) <= world.limits.runs
    assert len({ask.source for ask in found}) == len(found)
    assert all(len(ask.days) <= DAYS_IN_A_RUN for ask in found)


@settings(deadline=None)
@given(worlds())
def test_a_source_that_is_busy_or_down_is_not_asked(world: World) -> None:
    for ask in asks(world):
        assert ask.source not in world.limits.busy
        probe = world.limits.probe_at.get(ask.source)
        if probe is not None and ask.kind != "replay":
            assert probe <= NOON
            assert ask.kind == "probe"
            assert ask.first == ask.last


@settings(deadline=None)
@given(worlds())
def test_every_request_is_for_a_day_that_can_be_had_and_is_missing(world: World) -> None:
    for ask in asks(world):
        wanted = world.gaps(ask.source, "replay" if ask.kind == "replay" else "fetch")
        wide = 1 if ask.kind == "replay" else spec_of(world, ask).window_days
        for window in windows(ask.days, wide):
            assert wanted.keys() & set(window.days)
        assert {ask.first, ask.last} <= wanted.keys()


@settings(deadline=None)
@given(worlds())
def test_a_hole_that_a_range_goes_over_costs_no_request(world: World) -> None:
    for ask in asks(world):
        if ask.kind != "replay":
            wanted = [day for day in ask.days if day in world.gaps(ask.source, "fetch")]
            assert ask.requests == len(windows(wanted, spec_of(world, ask).window_days))


@settings(deadline=None)
@given(st.sets(st.integers(0, 90), min_size=1), st.integers(1, 31))
def test_ranges_hold_every_day_once_and_cost_what_the_days_cost(
    chosen: set[int], width: int
) -> None:
    one, days = spec(window_days=width), [ago(back) for back in chosen]
    found = ranges(one, days)
    assert found == sorted(found)
    assert all(a[1] < b[0] for a, b in zip(found, found[1:], strict=False))
    assert sum(first <= day <= last for day in days for first, last in found) == len(days)
    assert {day for one in found for day in one} <= set(days)
    for first, last in found:
        inside = [day for day in days if first <= day <= last]
        assert requests(one, first, last) == len(windows(inside, width))


# -- progress ---------------------------------------------------------------------------------


@pytest.mark.slow
@settings(deadline=None)
@given(worlds())
def test_where_something_can_be_done_something_is(world: World) -> None:
    able = {
        one.name
        for one in world.specs
        if (world.gaps(one.name, "fetch") and world.free(one.name))
        or (world.gaps(one.name, "replay") and one.name not in world.limits.busy)
    }
    assert len(asks(world)) == min(world.limits.runs, len(able))


@pytest.mark.slow
@settings(deadline=None)
@given(worlds())
def test_what_is_not_asked_for_waits_for_something_that_is_named(world: World) -> None:
    made = plan(world.states, world.specs, world.limits, NOON)
    asked = {ask.source for ask in made.asks}
    for one in world.specs:
        due = [r for r in world.rows if r["source"] == one.name and r["remedy"] != "none"]
        waits = [r for r in due if r["remedy"] in ("fetch", "replay")]
        if waits and one.name not in asked:
            held = [held for held in made.held if held.source == one.name]
            assert held
            assert all(one.why and one.days > 0 for one in held)


@pytest.mark.slow
@settings(deadline=None)
@given(worlds(), st.randoms(use_true_random=False))
def test_the_same_states_give_the_same_plan_in_whatever_order(world: World, random: Random) -> None:
    before = plan(world.states, world.specs, world.limits, NOON)
    assert plan(world.states, world.specs, world.limits, NOON) == before
    specs = random.sample(world.specs, len(world.specs))
    assert plan(world.states, specs, world.limits, NOON).asks == before.asks


@settings(deadline=None)
@given(worlds())
def test_what_runs_is_not_asked_for_again(world: World) -> None:
    first = asks(world)
    running = {day for ask in first for day in [(ask.source, d) for d in ask.days]}
    rows = [
        row | {"state": "filling", "remedy": "none"}
        if (row["source"], row["day"]) in running
        else row
        for row in world.rows
    ]
    busy = {*world.limits.busy, *(ask.source for ask in first)}
    limits = Limits(4, world.limits.budgets, busy, world.limits.probe_at)
    again = plan(states(rows), world.specs, limits, NOON).asks
    assert not {ask.source for ask in again} & {ask.source for ask in first}


@pytest.mark.parametrize(("width", "most"), [(1, 3), (7, 3), (30, 3)])
def test_days_that_break_every_run_they_are_in_do_not_keep_the_others_back(
    width: int, most: int
) -> None:
    one = spec(window_days=width, attempts=6)
    poison = {ago(40), ago(41), ago(77)}
    rows = {ago(back): state(ago(back)) for back in range(1, 100)}
    made: dict[date, int] = dict.fromkeys(rows, 0)
    for _ in range(1000):
        found = plan(states(list(rows.values())), [one], Limits(), NOON).asks
        if not found:
            break
        (ask,) = found
        broken = poison & set(ask.days)
        for day in ask.days:
            row = rows[day]
            made[day] += 1
            tried = row["attempts"] + 1
            if not broken:
                rows[day] = row | {"remedy": "none"}
            elif row["remedy"] == "fetch":
                remedy = "fetch" if tried < one.attempts else "person"
                rows[day] = row | {"attempts": tried, "silent": tried, "remedy": remedy}
    left = {day for day, row in rows.items() if row["remedy"] != "none"}
    assert left == poison
    assert all(rows[day]["attempts"] == one.attempts for day in poison)
    near = {day for day in rows for bad in poison if abs((day - bad).days) < DAYS_IN_A_RUN}
    assert max(count for day, count in made.items() if day not in poison) <= most + 1
    assert all(made[day] == 1 for day in rows.keys() - near)


# -- order ------------------------------------------------------------------------------------


def urgency(row: Mapping[str, Any]) -> tuple[datetime, int]:
    return row["deadline"] or at(date.max), -row["day"].toordinal()


@settings(deadline=None)
@given(worlds())
def test_of_a_source_what_expires_first_goes_first_and_then_the_newest(world: World) -> None:
    for ask in asks(world):
        gaps = world.gaps(ask.source, "replay" if ask.kind == "replay" else "fetch")
        assert min(gaps.values(), key=urgency)["day"] in ask.days


@settings(deadline=None)
@given(worlds())
def test_of_all_sources_what_expires_first_goes_first(world: World) -> None:
    everything = Limits(99, world.limits.budgets, world.limits.busy, world.limits.probe_at)
    could = plan(world.states, world.specs, everything, NOON).asks
    assert asks(world) == could[: world.limits.runs]
    ends = [ask.deadline or at(date.max) for ask in could]
    assert ends == sorted(ends)


@settings(deadline=None)
@given(worlds())
def test_an_attempt_takes_a_quarter_of_the_days_of_one_that_broke(world: World) -> None:
    for ask in asks(world):
        gaps = world.gaps(ask.source, "replay" if ask.kind == "replay" else "fetch")
        urgent = min(gaps.values(), key=urgency)
        assert ask.attempt == urgent["attempts"] + 1
        assert len(ask.days) <= max(1, DAYS_IN_A_RUN // 4 ** urgent["silent"])


# -- examples ---------------------------------------------------------------------------------


def one_ask(*rows: Mapping[str, Any], limits: Limits | None = None, **changes: Any) -> Ask:
    (ask,) = plan(states(rows), [spec(**changes)], limits or Limits(), NOON).asks
    return ask


def test_without_a_deadline_the_newest_thirty_days_go_first() -> None:
    ask = one_ask(*(state(ago(back)) for back in range(1, 60)))
    assert (ask.first, ask.last, ask.requests) == (ago(30), ago(1), 30)
    assert ask.why == f"{ago(1)} is missing"
    assert ask.deadline is None


def test_with_a_deadline_the_oldest_thirty_days_go_first() -> None:
    rows = [state(ago(back), deadline=at(ago(back)) + 60 * DAYS) for back in range(1, 60)]
    ask = one_ask(*rows, look_back_days=60, window_days=30)
    assert (ask.first, ask.last, ask.requests) == (ago(59), ago(30), 1)
    assert ask.deadline == at(TODAY) + DAYS
    assert ask.why == "2026-09-22 can be had until 2026-11-21 00:00 UTC only"


def test_days_that_the_source_does_not_have_are_asked_for_together_again() -> None:
    rows = [state(ago(back), attempts=4) for back in range(1, 40)]
    assert len(one_ask(*rows).days) == 30
    silent = [row | {"silent": 1} for row in rows]
    assert len(one_ask(*silent).days) == 7


def test_one_request_that_answers_both_sides_of_a_hole_is_one_ask() -> None:
    rows = [state(ago(20)), state(ago(10), "none"), state(ago(1))]
    assert one_ask(*rows, window_days=30).days == [ago(back) for back in range(20, 0, -1)]
    assert one_ask(*rows, window_days=7).days == [ago(1)]


def test_a_hole_is_not_bridged_where_that_moves_a_day_into_another_request() -> None:
    rows = [state(ago(back)) for back in (18, 12, 6, 0)]
    ask = one_ask(*rows, window_days=7)
    assert (ask.first, ask.last, ask.requests) == (ago(6), ago(0), 1)


def test_building_again_takes_the_days_that_need_it_and_no_others() -> None:
    rows = [state(ago(20), "replay"), state(ago(10), "none"), state(ago(1), "replay")]
    ask = one_ask(*rows, window_days=30)
    assert (ask.kind, ask.days, ask.requests) == ("replay", [ago(1)], 0)
    assert ask.why == "what was received stands in landing, and the tables do not"


def test_building_again_needs_no_quota_and_no_source_that_answers() -> None:
    limits = Limits(budgets={"feed": 0}, probe_at={"feed": NOON + HOUR})
    assert one_ask(state(ago(3), "replay"), state(ago(2)), limits=limits).kind == "replay"


def test_a_quota_cuts_the_range_at_its_less_urgent_end() -> None:
    limits = Limits(budgets={"feed": 4})
    newest = one_ask(*(state(ago(back)) for back in range(1, 20)), limits=limits)
    assert (newest.first, newest.last) == (ago(4), ago(1))
    rows = [state(ago(back), deadline=at(ago(back)) + 40 * DAYS) for back in range(1, 20)]
    oldest = one_ask(*rows, limits=limits, look_back_days=40)
    assert (oldest.first, oldest.last) == (ago(19), ago(16))


def test_why_nothing_is_asked_for_is_said() -> None:
    def why(limits: Limits, **given: Any) -> list[tuple[int, str, datetime | None]]:
        rows = [state(ago(back), **given) for back in (1, 2)]
        made = plan(states(rows), [spec()], limits, NOON)
        assert made.asks == ()
        return [(held.days, held.why, held.until) for held in made.held]

    later = NOON + HOUR
    assert why(Limits(busy={"feed"})) == [(2, "a run is at this source", None)]
    assert why(Limits(probe_at={"feed": later})) == [(2, "the source does not answer", later)]
    assert why(Limits(budgets={"feed": 0})) == [
        (2, "the quota is used up, but for what today needs", None)
    ]
    assert why(Limits(), next_at=later, attempts=1) == [
        (2, "a pause after the last attempt", later)
    ]
    assert why(Limits(runs=0)) == [(2, "other gaps are more urgent", None)]


def test_nothing_is_planned_for_a_state_feeds_past_nor_for_what_waits_for_a_person() -> None:
    rows = [state(ago(2), "none", state="lost"), state(ago(1), "person")]
    made = plan(states(rows), [spec()], Limits(), NOON)
    assert (made.asks, made.held) == ((), ())
