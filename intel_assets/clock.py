"""Time: the clock that the engine asks, and how people write days and moments.

Nothing else in the package calls `datetime.now`. All moments are aware and in UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

from intel_assets.errors import UsageError

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """Return the machine's time, aware, in UTC."""
    return datetime.now(UTC)


def start_of(day: date) -> datetime:
    """Return the first moment of a UTC day."""
    return datetime.combine(day, time(), UTC)


def parse_day(text: str) -> date:
    """Read a day as people write it: `2026-11-20`.

    Raises:
        UsageError: If it is no day.
    """
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"'{text}' is no day.", "Write it as 2026-11-20.") from None


def parse_instant(text: str) -> datetime:
    """Read a moment: ISO 8601; without a zone it is UTC, a day alone means its end.

    "What did we know on 3 May" means all that was known when that day ended.

    Raises:
        UsageError: If it is no moment.
    """
    text = text.strip()
    try:
        if len(text) <= len("2026-11-20"):
            return start_of(date.fromisoformat(text) + timedelta(days=1)) - timedelta(
                microseconds=1
            )
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"'{text}' is no moment.", "Write it as 2026-11-20 or 2026-11-20T14:30:00Z."
        ) from None
