"""The world that demo mode asks: the simulator, started for a command when none listens yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx

from intel_assets.errors import ConfigurationError
from intel_assets.settings import DEMO_KEY, Settings


@contextmanager
def demo_world(settings: Settings) -> Iterator[None]:
    """Run the simulator while a command needs it; nothing in live mode, or if it runs already.

    Raises:
        ConfigurationError: If something else listens where the simulator should.
    """
    if settings.mode == "live" or _answers(settings.simulator):
        yield
        return
    from intel_assets.simulator.server import Simulator

    place = urlsplit(settings.simulator)
    simulator = Simulator(auth_key=DEMO_KEY)
    simulator.start(place.hostname or "127.0.0.1", place.port or 80)
    try:
        yield
    finally:
        simulator.stop()


def _answers(address: str) -> bool:
    try:
        answer = httpx.get(f"{address}/_control/clock", timeout=2.0)
    except httpx.TransportError:
        return False
    if answer.is_success and "now" in answer.text:
        return True
    raise ConfigurationError(
        f"Something that is no simulator listens at {address}.",
        "Stop it, or set INTEL_SIMULATOR to another address.",
    )
