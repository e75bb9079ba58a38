"""The simulator's time: a clock that tests can set, stop, push on and speed up.

Only the played world asks it; request records and rate limits use the machine's time.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from intel_assets.clock import Clock, system_clock


class SimulatedClock:
    """A clock that follows another one until somebody steers it.

    Calling it gives the time, so it can stand wherever a `Clock` is wanted. All moments are
    aware and in UTC. It may be steered from any thread.
    """

    def __init__(self, follow: Clock | None = None) -> None:
        """Follow `follow`, by default the machine's clock, at its own speed."""
        self._base = follow or system_clock
        self._lock = threading.Lock()
        self._origin = self._base_origin = self._base()
        self._speed = 1.0

    def __call__(self) -> datetime:
        """Return the simulated time."""
        with self._lock:
            return self._now()

    @property
    def speed(self) -> float:
        """How many simulated seconds pass in a second of the followed clock; 0 stands still."""
        return self._speed

    def set(self, moment: datetime) -> None:
        """Jump to a moment and stand still there.

        Raises:
            ValueError: If the moment has no zone.
        """
        if moment.tzinfo is None:
            raise ValueError(f"The moment {moment.isoformat()} has no zone.")
        self._restart(moment.astimezone(UTC), 0.0)

    def advance(self, seconds: float) -> None:
        """Push the time on (or, if negative, back) by some seconds; the speed stays."""
        with self._lock:
            self._origin += timedelta(seconds=seconds)

    def run(self, speed: float = 1.0) -> None:
        """Let the time flow from where it is, `speed` seconds in a second.

        Raises:
            ValueError: If the speed is negative.
        """
        if speed < 0:
            raise ValueError(f"The speed {speed} is negative: time does not flow back.")
        self._restart(self(), speed)

    def _restart(self, origin: datetime, speed: float) -> None:
        with self._lock:
            self._origin, self._base_origin, self._speed = origin, self._base(), speed

    def _now(self) -> datetime:
        return self._origin + (self._base() - self._base_origin) * self._speed
