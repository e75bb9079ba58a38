"""The ledger: findings against the alerts that stand, and what is to be said of them now.

A pure function. Each row that it returns is told once on every channel, so this is where a flood
is kept from happening.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from intel_assets.alerts.rules import RULES, Finding
from intel_assets.alerts.tables import ALERTS, SEVERITIES, newest

_DAY = timedelta(hours=24)
_LEAST_COUNTED, _MOST_COUNTED = timedelta(hours=1), timedelta(hours=4)
_LEAST_STEP = timedelta(microseconds=1)


@dataclass(frozen=True)
class Manners:
    """How often the same thing is said.

    Attributes:
        cool_down: How long nothing is said of an alert after it was opened or got worse. After
            the first reminder three times as long, then a day.
        openings: An alert that was opened so many times within a cool-down is held open: what
            comes and goes is told as something that stands.
    """

    cool_down: timedelta = timedelta(hours=4)
    openings: int = 3

    @property
    def within(self) -> timedelta:
        """The time in which openings are counted: the cool-down, but an hour to four."""
        return max(_LEAST_COUNTED, min(self.cool_down, _MOST_COUNTED))

    @property
    def steps(self) -> tuple[timedelta, ...]:
        """The pauses between two words, each as long as the one before or longer."""
        first = self.cool_down
        second = max(first, min(3 * first, _DAY))
        return first, second, max(second, _DAY)

    def after(self, pause: timedelta) -> timedelta:
        """Return the pause that follows a pause."""
        return next((step for step in self.steps if step > pause), self.steps[-1])


def alert_id(finding: Finding) -> str:
    """Return the name of an alert: the same for the same rule, source and subject, for ever."""
    text = "\0".join((finding.rule, finding.source, finding.subject))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def decide(
    findings: Iterable[Finding],
    rows: pl.DataFrame,
    now: datetime,
    manners: Manners | None = None,
    unjudged: Collection[str] = (),
) -> pl.DataFrame:
    """Return the rows that are to be added to `ops.alerts`.

    Args:
        findings: What is wrong now, in any order.
        rows: `ops.alerts` as it stands.
        now: The present moment.
        manners: How often the same thing is said.
        unjudged: The rules that could not be judged; their alerts are left as they are.
    """
    manners = manners or Manners()
    # Worse is what is worse than ever since it was opened: what wavers would be told at each turn.
    worst = rows.group_by("alert_id", "opened_at").agg(
        peak=pl.col("magnitude").max(), was_critical=(pl.col("severity") == SEVERITIES[-1]).any()
    )
    last = newest(rows).join(worst, on=["alert_id", "opened_at"])
    current = {row["alert_id"]: row for row in last.iter_rows(named=True)}
    opened = (pl.col("state") == "open") & (pl.col("recorded_at") > now - manners.within)
    openings = dict(rows.filter(opened).group_by("alert_id").len().iter_rows())
    wrong = _worst_of_each(one for one in findings if one.rule not in unjudged)

    said = [_about(one, current.get(name), name, now, manners) for name, one in wrong.items()]
    over = [
        _resolved(row, now)
        for name, row in current.items()
        if name not in wrong
        and row["state"] != "resolved"
        and row["rule"] not in unjudged
        and openings.get(name, 0) < manners.openings
    ]
    added = [row for row in (*said, *over) if row is not None]
    return pl.DataFrame(added, schema=ALERTS.schema).sort("recorded_at", "alert_id")


def _worst_of_each(findings: Iterable[Finding]) -> Mapping[str, Finding]:
    """Return one finding for each alert, whatever their order: the worst."""

    def badness(one: Finding) -> tuple[int, float, str, str, str]:
        return SEVERITIES.index(one.severity), one.magnitude, one.message, one.advice, one.run_id

    worst: dict[str, Finding] = {}
    for one in findings:
        name = alert_id(one)
        if name not in worst or badness(one) > badness(worst[name]):
            worst[name] = one
    return worst


def _about(
    finding: Finding,
    last: Mapping[str, Any] | None,
    name: str,
    now: datetime,
    manners: Manners,
) -> dict[str, Any] | None:
    """Return what is to be said of something that is wrong, or None for nothing."""
    at = _at(now, last)
    if last is None or last["state"] == "resolved":
        return _row(finding, name, "open", at, at, manners.steps[0])
    if _is_worse(finding, last):
        return _row(finding, name, "worse", at, last["opened_at"], manners.steps[0])
    if now < last["until"]:
        return None
    pause = manners.after(last["until"] - last["recorded_at"])
    return _row(finding, name, "reminded", at, last["opened_at"], pause)


def _row(
    finding: Finding,
    name: str,
    state: str,
    at: datetime,
    opened_at: datetime,
    pause: timedelta,
) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "alert_id": name,
        "source": finding.source,
        "subject": finding.subject,
        "severity": finding.severity,
        "state": state,
        "message": finding.message,
        "advice": finding.advice,
        "magnitude": float(finding.magnitude),
        "opened_at": opened_at,
        "until": at + pause,
        "run_id": finding.run_id,
        "recorded_at": at,
    }


def _resolved(last: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    at = _at(now, last)
    rule = RULES.get(last["rule"])
    message = (rule.over if rule else "") or f"It no longer holds: {last['message']}"
    told = {name: last[name] for name in ALERTS.schema}
    return told | {
        "state": "resolved",
        "message": message,
        "advice": "",
        "until": at,
        "recorded_at": at,
    }


def _is_worse(finding: Finding, last: Mapping[str, Any]) -> bool:
    grew = finding.magnitude > last["peak"] and finding.magnitude >= 2 * last["peak"]
    return grew or (finding.severity == SEVERITIES[-1] and not last["was_critical"])


def _at(now: datetime, last: Mapping[str, Any] | None) -> datetime:
    """Return the moment of a new row: later than the last one, also when the clock was set back."""
    return now if last is None else max(now, last["recorded_at"] + _LEAST_STEP)
