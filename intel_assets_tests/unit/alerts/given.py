"""Facts and findings for tests, written short."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from intel_assets.alerts.facts import FRAMES, Facts
from intel_assets.alerts.rules import Finding, judge

NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)
TODAY = NOW.date()
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)

_USUAL: dict[str, dict[str, Any]] = {
    "states": {
        "source": "urlhaus",
        "day": TODAY - DAY,
        "state": "missing",
        "reason": "asked 2 times",
        "deadline": None,
        "remedy": "fetch",
        "attempts": 2,
        "rows": None,
        "since": NOW - HOUR,
    },
    "fetches": {
        "source": "urlhaus",
        "outcome": "fetched",
        "status": 200,
        "error_class": None,
        "error": None,
        "attempts": 1,
        "started_at": NOW - 2 * MINUTE,
        "received_at": NOW - MINUTE,
    },
    "sources": {
        "source": "urlhaus",
        "kind": "event",
        "every": 15 * MINUTE,
        "longest_pause": DAY,
        "enabled": True,
        "since": NOW - 90 * DAY,
        "last_success": NOW - MINUTE,
        "last_good_run": NOW - MINUTE,
    },
    "checks": {
        "source": "urlhaus",
        "day": TODAY - DAY,
        "name": "volume",
        "passed": False,
        "description": "few",
        "value": 10.0,
        "usual": 1000.0,
        "recorded_at": NOW - HOUR,
    },
    "quota": {"source": "urlhaus", "period": TODAY, "used": 10, "allowed": 100},
    "failed_runs": {
        "run_id": "run-1",
        "source": "urlhaus",
        "message": "2026-06-09 failed",
        "at": NOW - MINUTE,
    },
    "disk": {"place": "/lake", "free_bytes": 50 << 30, "total_bytes": 100 << 30},
    "watched": {
        "watched": "example.test",
        "owner": "ann",
        "reason": "our supplier",
        "indicator": "a.example.test",
        "sources": ["urlhaus"],
        "last_day": TODAY,
    },
    "deliveries": {
        "channel": "slack",
        "target": "hooks.slack.com",
        "outcome": "given_up",
        "attempts": 12,
        "error": "no connection",
        "recorded_at": NOW - HOUR,
    },
}


def frame(name: str, *rows: dict[str, Any]) -> pl.DataFrame:
    """A frame of the facts: what a row does not say is as usual."""
    return pl.DataFrame([_USUAL[name] | row for row in rows], schema=FRAMES[name])


def facts(now: datetime = NOW, **frames: list[dict[str, Any]]) -> Facts:
    """Facts in which all is well, but for the frames given."""
    given = {name: frame(name, *frames.get(name, [])) for name in FRAMES}
    if "sources" not in frames:
        given["sources"] = frame("sources", {"last_success": now, "last_good_run": None})
    return Facts(now=now, **given)


def found(**frames: list[dict[str, Any]]) -> list[Finding]:
    """What the rules find in such facts."""
    judged = judge(facts(**frames))
    assert not judged.unjudged
    return list(judged.findings)


def finding(**given: Any) -> Finding:
    """A finding."""
    usual: dict[str, Any] = {
        "rule": "disk_nearly_full",
        "source": "",
        "subject": "/lake",
        "severity": "warning",
        "message": "little is free.",
        "advice": "Free some.",
        "magnitude": 1.0,
    }
    return Finding(**usual | given)


def days(first: date, many: int, **given: Any) -> list[dict[str, Any]]:
    """Rows of states for days in a row."""
    return [{"day": first + timedelta(days=n), **given} for n in range(many)]
