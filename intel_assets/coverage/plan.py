"""The plan: which gaps to fill now, in which ranges, inside quota and concurrency.

What expires first goes first; then the newest days. Nothing here launches anything: the same
states, budgets and moment give the same plan.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import polars as pl

from intel_assets.lakehouse.tables import day_ranges
from intel_assets.sources.spec import SourceSpec

DAYS_IN_A_RUN = 30
Kind = Literal["fetch", "replay", "probe"]
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Ask:
    """A range of days to be filled by one run.

    Attributes:
        attempt: The how-manieth attempt it is, for the day that was tried most.
        requests: Requests that it needs if none has to be repeated.
        deadline: When the first of its days is lost; None if none ever is.
        why: Why now.
    """

    source: str
    first: date
    last: date
    kind: Kind
    attempt: int
    requests: int
    deadline: datetime | None
    why: str

    @property
    def days(self) -> list[date]:
        """The days of the range."""
        return [self.first + timedelta(days=i) for i in range((self.last - self.first).days + 1)]


@dataclass(frozen=True)
class Held:
    """Gaps of a source that are not filled now.

    Attributes:
        until: When they may be; None if that hangs on something else than time.
    """

    source: str
    days: int
    why: str
    until: datetime | None = None


@dataclass(frozen=True)
class Plan:
    """What to fill now, and what waits for what."""

    asks: tuple[Ask, ...] = ()
    held: tuple[Held, ...] = ()


@dataclass(frozen=True)
class Limits:
    """What the plan may use.

    Attributes:
        runs: How many runs may be launched.
        budgets: For sources that have a quota, the requests that are left for gaps.
        busy: The sources that a run is at.
        probe_at: For sources that are down, when one may be asked again.
    """

    runs: int = 1
    budgets: Mapping[str, int] = field(default_factory=dict)
    busy: Collection[str] = ()
    probe_at: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class _Gap:
    day: date
    remedy: str
    attempts: int
    silent: int
    deadline: datetime | None

    @property
    def urgency(self) -> tuple[datetime, int]:
        return self.deadline or _NEVER, -self.day.toordinal()


def plan(states: pl.DataFrame, specs: Sequence[SourceSpec], limits: Limits, now: datetime) -> Plan:
    """Choose what to fill now: at most one range for each source.

    Args:
        states: How every expected day stands (`states.STATES`).
        specs: The sources.
        limits: What may be used.
        now: The present moment.
    """
    due = states.filter(pl.col("remedy").is_in(["fetch", "replay"]))
    asks: list[tuple[tuple[datetime, int], Ask]] = []
    held: list[Held] = []
    by_source = {spec.name: spec for spec in specs}
    for (name,), rows in due.partition_by("source", as_dict=True, maintain_order=True).items():
        spec = by_source[str(name)]
        waiting = rows.filter((pl.col("next_at") > now).fill_null(False))
        ready = rows.filter((pl.col("next_at") <= now).fill_null(True))
        if spec.name in limits.busy:
            held.append(Held(spec.name, rows.height, "a run is at this source"))
            continue
        if waiting.height:
            held.append(_pausing(spec.name, waiting))
        if ready.is_empty():
            continue
        gaps = [_gap(row) for row in ready.iter_rows(named=True)]
        found = _ask(spec, gaps, limits, now)
        if isinstance(found, Held):
            held.append(found)
        else:
            asks.append(
                (min(gap.urgency for gap in gaps if found.first <= gap.day <= found.last), found)
            )
    asks.sort(key=lambda one: (one[0], one[1].source))
    chosen, rest = asks[: limits.runs], asks[limits.runs :]
    held += [Held(ask.source, len(ask.days), "other gaps are more urgent") for _, ask in rest]
    return Plan(tuple(ask for _, ask in chosen), tuple(held))


def ranges(spec: SourceSpec, days: Sequence[date]) -> list[tuple[date, date]]:
    """Divide days into ranges: over holes too where one request answers both sides of them."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        if found and _comes_along(spec, *found[-1], day):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _comes_along(spec: SourceSpec, first: date, last: date, day: date) -> bool:
    """Whether a day follows at once, or is in the last request that the range needs anyway."""
    follows = (day - last).days <= 1
    return follows or requests(spec, first, day) == requests(spec, first, last)


def requests(spec: SourceSpec, first: date, last: date) -> int:
    """Return how many requests a range needs, if none has to be repeated."""
    return 1 + (last - first).days // spec.window_days


def _ask(spec: SourceSpec, gaps: Sequence[_Gap], limits: Limits, now: datetime) -> Ask | Held:
    replays = [gap for gap in gaps if gap.remedy == "replay"]
    if replays:  # It needs nobody's leave.
        return _range(spec, replays, "replay", None)
    probe_at = limits.probe_at.get(spec.name)
    if probe_at is not None and probe_at > now:
        return Held(spec.name, len(gaps), "the source does not answer", probe_at)
    budget = limits.budgets.get(spec.name)
    if budget is not None and budget < 1:
        return Held(spec.name, len(gaps), "the quota is used up, but for what today needs")
    if probe_at is not None:
        first = min(gaps, key=lambda gap: gap.urgency)
        return _range(spec, [first], "probe", budget)
    return _range(spec, gaps, "fetch", budget)


def _range(spec: SourceSpec, gaps: Sequence[_Gap], kind: Kind, budget: int | None) -> Ask:
    """Return the range around the most urgent gap, no wider than its quota and its past allow."""
    urgent = min(gaps, key=lambda gap: gap.urgency)
    # Of which nothing was heard is tried among fewer: a day that breaks its run is alone at last.
    widest = max(1, DAYS_IN_A_RUN // 4**urgent.silent)
    newest_first = urgent.deadline is None
    alike = [
        gap.day
        for gap in gaps
        if (gap.attempts, gap.silent) == (urgent.attempts, urgent.silent)
        and 0 <= (urgent.day - gap.day).days * (1 if newest_first else -1) < widest
    ]
    first, last = _around(spec, kind, alike, urgent.day)
    while budget is not None and requests(spec, first, last) > budget:
        alike = [day for day in alike if first <= day <= last]
        alike = alike[1:] if newest_first else alike[:-1]
        first, last = _around(spec, kind, alike, urgent.day)
    deadlines = [gap.deadline for gap in gaps if gap.deadline and first <= gap.day <= last]
    return Ask(
        source=spec.name,
        first=first,
        last=last,
        kind=kind,
        attempt=urgent.attempts + 1,
        requests=0 if kind == "replay" else requests(spec, first, last),
        deadline=min(deadlines, default=None),
        why=_why(urgent, kind),
    )


def _around(spec: SourceSpec, kind: Kind, days: Sequence[date], urgent: date) -> tuple[date, date]:
    """Return the range that the urgent day is in; what costs no request goes over no hole."""
    found = day_ranges(days) if kind == "replay" else ranges(spec, days)
    return next(one for one in found if one[0] <= urgent <= one[1])


def _why(gap: _Gap, kind: Kind) -> str:
    if kind == "replay":
        return "what was received stands in landing, and the tables do not"
    if kind == "probe":
        return "the source did not answer; one request tells whether it does again"
    if gap.deadline is not None:
        return f"{gap.day} can be had until {gap.deadline:%Y-%m-%d %H:%M} UTC only"
    return f"{gap.day} is missing"


def _pausing(source: str, waiting: pl.DataFrame) -> Held:
    until: Any = waiting["next_at"].min()
    return Held(source, waiting.height, "a pause after the last attempt", until)


def _gap(row: Mapping[str, Any]) -> _Gap:
    return _Gap(row["day"], row["remedy"], row["attempts"], row["silent"] or 0, row["deadline"])
