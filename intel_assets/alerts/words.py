"""Words: foreign text made harmless, and days and durations as people read them.

What a source says of itself (errors, reasons) is written by strangers, and ends in chats and
mailboxes. It passes `plain` before it becomes part of anything that is said here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from intel_assets.lakehouse.tables import day_ranges

_MOST = 240
_DEFUSED = str.maketrans({"<": "‹", ">": "›", "`": "'"})


def plain(text: str | None, most: int = _MOST) -> str:
    """Return a stranger's text as one harmless line.

    No line ends, control or invisible characters, no markup of HTML, Slack or Markdown's code,
    no link that a click follows (`https[:]//`), and not too long.
    """
    # Half a million characters hold no more sense than the first thousands.
    head = (text or "")[: 20 * most]
    seen = "".join(c if c.isprintable() else " " for c in head)
    line = " ".join(seen.replace("://", "[:]//").translate(_DEFUSED).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def moment(at: datetime) -> str:
    """Return a moment as `2026-06-10 12:00 UTC`."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def span(days: Iterable[date], most: int = 5) -> str:
    """Return days as ranges: `2026-06-01 to 2026-06-03, 2026-06-07 and 2 more ranges`."""
    ranges = day_ranges(days)
    told = [f"{a}" if a == b else f"{a} to {b}" for a, b in ranges[:most]]
    left = len(ranges) - most
    return ", ".join(told) + (f" and {left} more range{'s' * (left > 1)}" if left > 0 else "")


def count(number: int, thing: str) -> str:
    """Return `1 day`, `1,200 days`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def lasting(time: timedelta) -> str:
    """Return a duration in its largest whole unit: `45 minutes`, `3 hours`, `12 days`."""
    minutes = max(0, round(time.total_seconds() / 60))
    if minutes < 120:
        return count(minutes, "minute")
    if minutes < 48 * 60:
        return count(round(minutes / 60), "hour")
    return count(round(minutes / 1440), "day")
