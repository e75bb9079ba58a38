"""What played event feeds have in common: things that happen at moments, some told late.

A feed draws from it what it publishes. Everything is a pure function of seed, feed, day and clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from intel_assets.simulator.world import DAY, HOUR, chance, dice

_FIRST = datetime(2020, 1, 1, tzinfo=UTC)
_MOST_A_DAY = 1_000
_LATE = 0.05
_WITHDRAWN = 0.01


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        number: Grows with the moment; the same for the same event, always.
        at: When it happened.
        rng: Dice of its own, for what it is; the same throws every time.
        age: How long ago it happened, as the moment is that was asked for.
    """

    number: int
    at: datetime
    rng: Random
    age: timedelta


def happened(
    seed: int, feed: str, since: datetime, now: datetime, per_day: float
) -> Iterator[Event]:
    """Yield what is told at a moment of all that happened since another, the newest first.

    One in twenty is told some hours late, one in a hundred is withdrawn after some hours.

    Args:
        seed: The world's seed.
        feed: The feed's name.
        since: The oldest moment.
        now: The moment of telling.
        per_day: How many there are in a day, about.
    """
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    while day + timedelta(days=1) > since:
        yield from sorted(
            (one for one in _of_day(seed, feed, day, now, per_day) if one.at >= since),
            key=lambda one: one.number,
            reverse=True,
        )
        day -= timedelta(days=1)


def _of_day(seed: int, feed: str, day: datetime, now: datetime, per_day: float) -> Iterator[Event]:
    rng = dice(seed, feed, day.date())
    count = min(_MOST_A_DAY, max(1, round(per_day * rng.uniform(0.7, 1.3))))
    seconds = sorted(rng.randrange(DAY) for _ in range(count))
    for place, second in enumerate(seconds):
        at = day + timedelta(seconds=second)
        number = (day - _FIRST).days * _MOST_A_DAY + place
        own = dice(seed, feed, "event", number)
        late = own.randint(1, 6 * HOUR) if chance(own, _LATE) else 0
        gone = own.randint(2 * HOUR, 30 * HOUR) if chance(own, _WITHDRAWN) else None
        told = at + timedelta(seconds=late)
        if told <= now and (gone is None or now < told + timedelta(seconds=gone)):
            yield Event(number, at, own, now - at)
