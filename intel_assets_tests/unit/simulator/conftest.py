"""One running simulator for all tests of a worker, set back to its start before each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from intel_assets.simulator.server import Simulator

NOW = datetime(2026, 11, 18, 14, 33, 20, tzinfo=UTC)


@pytest.fixture(scope="session")
def running() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(running: Simulator) -> Simulator:
    running.faults.clear()
    running.forget_requests()
    running.clock.set(NOW)
    return running


@pytest.fixture(scope="session")
def connected(running: Simulator) -> Iterator[httpx.Client]:
    # One for all: every new client reads the machine's certificates, which takes its time.
    with httpx.Client(base_url=running.url, timeout=5) as client:
        yield client


@pytest.fixture
def client(simulator: Simulator, connected: httpx.Client) -> httpx.Client:
    assert connected.base_url == simulator.url
    return connected
