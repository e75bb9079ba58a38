"""`intel backfill`: a plan of what to ask for and what it costs; then it is run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from intel_assets.alerts.words import count, span
from intel_assets.cli import present, rollout, show
from intel_assets.cli.launching import finish, launching, say
from intel_assets.cli.ranges import WHOLE, gap_ranges
from intel_assets.clock import start_of
from intel_assets.coverage.assess import Assessment, quota_left
from intel_assets.coverage.plan import DAYS_IN_A_RUN, ranges, requests
from intel_assets.engine import sources_off
from intel_assets.errors import NoLongerAvailable
from intel_assets.lakehouse.format import check_format
from intel_assets.lakehouse.tables import day_ranges
from intel_assets.settings import Settings
from intel_assets.sources.spec import SourceSpec

Range = tuple[date, date]


@dataclass(frozen=True)
class Step:
    """A range of days and what is done with it.

    Attributes:
        requests: Requests that it needs if none has to be repeated.
        until: When the first of its days is lost; None if none is.
    """

    kind: str
    first: date
    last: date
    requests: int
    until: datetime | None

    @property
    def days(self) -> list[date]:
        """The days of the range."""
        return [self.first + timedelta(days=i) for i in range((self.last - self.first).days + 1)]


@dataclass
class Backfill:
    """What is done for a range of days, and what is not.

    Attributes:
        steps: What is done, in order.
        waiting: Days for which the quota does not suffice.
        busy: Days that a run is at.
        gone: Days that cannot be asked for any more.
        whole: How many days stand already.
        budget: Requests that are left; None without a quota.
    """

    steps: list[Step] = field(default_factory=list)
    waiting: list[date] = field(default_factory=list)
    busy: list[date] = field(default_factory=list)
    gone: list[date] = field(default_factory=list)
    whole: int = 0
    budget: int | None = None

    @property
    def requests(self) -> int:
        """The requests that the steps need."""
        return sum(step.requests for step in self.steps)


def fill(
    settings: Settings, spec: SourceSpec, days: Sequence[date], *, whole: bool, dry_run: bool
) -> int:
    """Show the plan for some days of a source, and run it.

    Args:
        settings: Where the lake is.
        spec: The source.
        days: The days.
        whole: Whether to ask for days too that stand already.
        dry_run: Whether to stop after the plan.

    Returns:
        What the command exits with.

    Raises:
        NoLongerAvailable: If days are missing and none of them can be had any more.
        ConfigurationError: If the source is off.
    """
    check_format(settings.layout)
    for off in sources_off(settings, [spec]).values():
        raise rollout.refusal(settings, spec, off)
    found = present.look(settings, [spec], everything=True)
    plan = arrange(spec, found, days, whole=whole, budget=_budget(spec, found))
    _show(spec, plan, days)
    if dry_run or not plan.steps:
        return 0
    with launching(settings) as launcher:
        for step in plan.steps:
            if step.kind == "fetch":
                launcher.fetch(spec.name, step.days)
            else:
                launcher.replay(spec, step.days)
        launcher.gold(sorted({day for step in plan.steps for day in step.days}))
    finish(settings, launcher.worst)
    _sum_up(spec, present.look(settings, [spec], everything=True), days)
    return launcher.worst


def arrange(
    spec: SourceSpec,
    found: Assessment,
    days: Sequence[date],
    *,
    whole: bool = False,
    budget: int | None = None,
) -> Backfill:
    """Say what is to be done for some days of a source.

    Args:
        spec: The source.
        found: How it stands.
        days: The days.
        whole: Whether to ask for days too that stand already.
        budget: The requests that are left; None without a quota.

    Raises:
        NoLongerAvailable: If days are missing and none of them can be had any more.
    """
    plan, fetched, replayed = Backfill(budget=budget), list[date](), list[date]()
    states = {row["day"]: row for row in found.states.iter_rows(named=True)}
    for day in days:
        row = states.get(day)
        askable = _askable(spec, day, found.now)
        if row is None:
            # Nobody expects it: the source begins later, is free that day, or never reached it.
            plan.gone += [day] if day >= spec.start and not askable else []
        elif row["state"] in WHOLE:
            plan.whole += 1
            fetched += [day] if whole and askable else []
        elif row["state"] == "filling":
            plan.busy.append(day)
        elif _in_landing(row, askable=askable):
            replayed.append(day)
        elif askable:
            fetched.append(day)
        else:
            plan.gone.append(day)
    _steps(spec, plan, fetched, replayed)
    if plan.gone and not (plan.steps or plan.waiting or plan.busy or plan.whole):
        raise _gone(spec, plan.gone, found.now)
    return plan


def _steps(spec: SourceSpec, plan: Backfill, fetched: list[date], replayed: list[date]) -> None:
    """Put days into ranges that one run takes, as many as the quota allows."""
    plan.steps += [Step("replay", *one, 0, None) for one in _parts(day_ranges(replayed))]
    asked = list(_parts(ranges(spec, fetched)))
    # What is lost first goes first; where nothing is lost, the newest.
    newest = spec.look_back_days is None
    for first, last in reversed(asked) if newest else asked:
        inside = [day for day in fetched if first <= day <= last]
        left = None if plan.budget is None else plan.budget - plan.requests
        while inside and left is not None and requests(spec, inside[0], inside[-1]) > left:
            plan.waiting.append(inside.pop(0 if newest else -1))
        if inside:
            first, last = inside[0], inside[-1]
            until = _deadline(spec, first)
            plan.steps.append(Step("fetch", first, last, requests(spec, first, last), until))


def _parts(found: Iterable[Range]) -> Iterator[Range]:
    """Divide ranges into those that one run takes."""
    for first, last in found:
        start = first
        while start <= last:
            end = min(last, start + timedelta(days=DAYS_IN_A_RUN - 1))
            yield start, end
            start = end + timedelta(days=1)


def _in_landing(row: Mapping[str, Any], *, askable: bool) -> bool:
    """Whether a day is made good from what was received, or by nothing else."""
    torn = row["state"] == "failed" and row["rows"] is not None
    refused = row["state"] == "rejected" and not askable
    return row["remedy"] == "replay" or torn or refused


def _deadline(spec: SourceSpec, day: date) -> datetime | None:
    if spec.kind == "state":
        return start_of(day + timedelta(days=1))
    back = spec.look_back_days
    return None if back is None else start_of(day + timedelta(days=back))


def _askable(spec: SourceSpec, day: date, now: datetime) -> bool:
    if spec.kind == "state":
        return day == now.date()
    deadline = _deadline(spec, day)
    return day >= spec.start and (deadline is None or deadline > now)


def _gone(spec: SourceSpec, days: Sequence[date], now: datetime) -> NoLongerAvailable:
    land = f"`intel land {spec.name} FILE --fetched-at T` takes a body that somebody kept."
    if spec.kind == "state":
        return NoLongerAvailable(
            f"{spec.name} is a state feed: it says what holds now, so {span(days)} cannot be "
            f"asked for any more, only today ({now.date()}).",
            land,
        )
    return NoLongerAvailable(
        f"{spec.name} reaches back {spec.look_back_days} days: {span(days)} cannot be asked for "
        "any more.",
        land,
    )


# -- looking and telling ------------------------------------------------------------------------


def _budget(spec: SourceSpec, found: Assessment) -> int | None:
    return quota_left(found.evidence.fetches, [spec], found.now).get(spec.name)


def _show(spec: SourceSpec, plan: Backfill, days: Sequence[date]) -> None:
    if plan.steps:
        columns = ["do", "first", "last", "days", "requests", "until"]
        rows = [(s.kind, s.first, s.last, len(s.days), s.requests, s.until) for s in plan.steps]
        show.rows(columns, rows, f"{spec.name} {days[0]}..{days[-1]}")
        asked = f"{count(len(plan.steps), 'range')}, {count(plan.requests, 'request')}"
        say(f"{asked}{_cost(spec, plan)}.")
    elif not (plan.waiting or plan.busy):
        stand = f"{count(plan.whole, 'day')} of {days[0]}..{days[-1]}"
        say(f"{spec.name}: nothing to fill, {stand} stand.")
    if days[0] < spec.start:
        say(f"{spec.name} begins on {spec.start}.")
    if plan.gone:
        say(f"Lost, and not asked for: {span(plan.gone)}.")
    if plan.busy:
        say(f"A run is at {span(plan.busy)}.")
    if plan.waiting:
        say(f"The quota does not suffice for {span(plan.waiting)}: run this again later.")


def _cost(spec: SourceSpec, plan: Backfill) -> str:
    if spec.quota is None:
        return ", no quota"
    allowed = f"{spec.quota.requests} a {spec.quota.per}"
    return f" of the {plan.budget} that the quota leaves for this now ({allowed})"


def _sum_up(spec: SourceSpec, found: Assessment, days: Sequence[date]) -> None:
    ours = found.states.filter(pl.col("day").is_between(days[0], days[-1]))
    stand = ours.filter(pl.col("state").is_in(WHOLE)).height
    say(f"{spec.name}: {stand} of {ours.height} days stand.")
    for gap in gap_ranges(ours, everything=True):
        if gap.state not in WHOLE:
            say(f"  {gap.span}: {gap.state.replace('_', ' ')}, {gap.reason}")
