"""The world that demo mode asks: the simulator, kept up on loopback while somebody needs it.

Whoever can bind its address plays it. When that process ends, the next one that still needs it
takes over within a second; every simulator with the same seed plays the same world.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from intel_assets.clock import Clock, system_clock
from intel_assets.errors import ConfigurationError
from intel_assets.settings import DEMO_KEY, Settings

if TYPE_CHECKING:
    from intel_assets.simulator.server import Simulator

_LOOK_AGAIN = 0.5
_ASK_AGAIN = 1.0


@contextmanager
def demo_world(settings: Settings) -> Iterator[None]:
    """Keep a simulator answering while the block runs; nothing in live mode.

    Raises:
        ConfigurationError: If something else listens where the simulator should, or the address
            is no loopback one.
    """
    if settings.mode == "live":
        yield
        return
    keeper = _Keeper(settings.simulator)
    keeper.look()
    watch = threading.Thread(target=keeper.watch, name="demo-world", daemon=True)
    watch.start()
    try:
        yield
    finally:
        keeper.leave.set()
        watch.join()
        keeper.stop()


def world_clock(settings: Settings) -> Clock:
    """Return the clock that the settings name.

    Raises:
        ConfigurationError: If it is the simulator's, and no simulator answers.
    """
    if settings.mode == "live" or settings.clock == "system":
        return system_clock
    return _ToldClock(settings.simulator)


class _ToldClock:
    """The simulator's time, asked for once a second and followed in between."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._asked = -math.inf
        self._now = datetime.min.replace(tzinfo=UTC)
        self._speed = 1.0

    def __call__(self) -> datetime:
        with self._lock:
            waited = time.monotonic() - self._asked
            if waited > _ASK_AGAIN:
                self._ask()
                waited = 0.0
            return self._now + timedelta(seconds=waited * self._speed)

    def _ask(self) -> None:
        place = urlsplit(self._address)
        connection = HTTPConnection(place.hostname or "127.0.0.1", place.port or 80, timeout=5.0)
        try:
            connection.request("GET", "/_control/clock")
            told = json.loads(connection.getresponse().read())
        except (OSError, HTTPException, ValueError) as error:
            raise ConfigurationError(
                f"The simulator at {self._address} does not tell the time: {error}.",
                "Start it with `intel simulate`, or leave INTEL_CLOCK out.",
            ) from None
        finally:
            connection.close()
        self._now, self._speed = datetime.fromisoformat(told["now"]), float(told["speed"])
        self._asked = time.monotonic()


def answers(address: str) -> bool:
    """Whether the simulator answers at an address; False if nothing listens there.

    Raises:
        ConfigurationError: If something else listens there.
    """
    place = urlsplit(address)
    connection = HTTPConnection(place.hostname or "127.0.0.1", place.port or 80, timeout=5.0)
    try:
        connection.request("GET", "/_control/clock")
        answer = connection.getresponse()
        if answer.status == 200 and b"now" in answer.read(1024):
            return True
    except OSError:
        return False
    except HTTPException:
        pass  # It speaks something else than HTTP.
    finally:
        connection.close()
    raise ConfigurationError(
        f"Something that is no simulator listens at {address}.",
        "Stop it, or set INTEL_SIMULATOR to another address.",
    )


class _Keeper:
    """Plays the simulator whenever nobody else does."""

    def __init__(self, address: str) -> None:
        self.leave = threading.Event()
        self._address = address
        self._played: Simulator | None = None

    def look(self) -> None:
        """Start the simulator unless one answers already."""
        if answers(self._address):
            return
        from intel_assets.simulator.server import Simulator

        place = urlsplit(self._address)
        simulator = Simulator(auth_key=DEMO_KEY)
        try:
            simulator.start(place.hostname or "127.0.0.1", place.port or 80)
        except ConfigurationError:
            # Another process may have been faster; then its simulator is as good as ours.
            if not self._comes_up():
                raise
            return
        self._played = simulator

    def watch(self) -> None:
        """Look again and again until told to leave."""
        while not self.leave.wait(_LOOK_AGAIN):
            try:
                self.look()
            except ConfigurationError:
                continue  # Somebody else took the address; a request that needs it will say so.

    def stop(self) -> None:
        """Stop the simulator if this process plays it."""
        if self._played is not None:
            self._played.stop()

    def _comes_up(self) -> bool:
        return any(answers(self._address) or self.leave.wait(0.1) for _ in range(50))
