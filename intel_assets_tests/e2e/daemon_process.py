"""Dagster's daemon, with its scheduler in the simulator's time.

    python -m intel_assets_tests.e2e.daemon_process run -w workspace.yaml

Sensors, the queue and the watch over runs keep to this machine's time: they ask what is, and not
what time it is.
"""

from __future__ import annotations

import time
from datetime import datetime

import dagster._daemon  # noqa: F401  first: the scheduler imports it back
from dagster._daemon.cli import main
from dagster._scheduler import scheduler

from intel_assets.errors import ConfigurationError
from intel_assets.settings import load_settings
from intel_assets.world import world_clock

_clock = world_clock(load_settings())


def now() -> datetime:
    """Return the simulator's time; it may take a moment to answer."""
    for _ in range(60):
        try:
            return _clock()
        except ConfigurationError:
            time.sleep(1)
    return _clock()


class _Soon(float):
    """The scheduler's next look: half a second from now, whatever its own clock says."""

    def __gt__(self, _: object) -> bool:
        return True

    def __sub__(self, _: object) -> float:
        return 0.5


if __name__ == "__main__":
    scheduler.get_current_datetime = now
    scheduler.get_current_timestamp = lambda: now().timestamp()
    scheduler._get_next_scheduler_iteration_time = _Soon
    main()
