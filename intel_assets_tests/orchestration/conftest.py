"""Dagster in this process: an installation of its own, and a run of 30 days for many tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from deltalake import DeltaTable

from intel_assets.definitions import build_definitions
from intel_assets.ingest.http import HttpPolicy
from intel_assets.orchestration.runs import RunOutcome, launch
from intel_assets.settings import Settings
from intel_assets.simulator.server import Simulator
from intel_assets.simulator.tweetfeed_world import TweetFeedWorld
from intel_assets.sources import registry
from intel_assets.sources.spec import SourceSpec

SEED = 11
TODAY = datetime(2025, 6, 10, 12, tzinfo=UTC)
POLITE = HttpPolicy(rate_per_second=1000, burst=1000, max_wait=0.1)


def source(name: str) -> SourceSpec:
    """Return a source whose host does not mind how often it is asked."""
    return replace(registry.load([name])[0], policy=POLITE)


def published_days(count: int) -> list[date]:
    """Return the last so many days in a row of which every file of TweetFeed is there."""
    world, last = TweetFeedWorld(SEED), date(2025, 5, 1)
    while True:
        days = [last - timedelta(days=back) for back in reversed(range(count))]
        holes = [day for day in days if world.state(day) == "missing"]
        if not holes:
            return days
        last = holes[-1] - timedelta(days=1)


@dataclass(frozen=True)
class Installation:
    """A lake, a Dagster instance and the definitions of some sources, all in one folder."""

    settings: Settings
    instance: dg.DagsterInstance
    specs: dict[str, SourceSpec]
    definitions: dg.Definitions

    def run(self, name: str, days: Sequence[date]) -> RunOutcome:
        """Take a range of days of a source through its assets."""
        return launch(self.definitions, self.instance, name, days[0], days[-1])

    def materializations(self, layer: str, name: str) -> list[dg.AssetMaterialization]:
        """Return the materializations of an asset, oldest first."""
        found = self.instance.fetch_materializations(dg.AssetKey([layer, name]), limit=1000)
        events = [record.asset_materialization for record in reversed(found.records)]
        return [event for event in events if event is not None]

    def statuses(self, layer: str, name: str) -> dict[str, str]:
        """Return how Dagster itself counts each partition of an asset: materialized or failed."""
        from dagster._core.definitions.partitions.context import partition_loading_context
        from dagster._core.storage.partition_status_cache import (
            get_and_update_asset_status_cache_value,
        )

        key = dg.AssetKey([layer, name])
        daily = self.definitions.resolve_asset_graph().get(key).partitions_def
        with partition_loading_context(dynamic_partitions_store=self.instance):
            cached = get_and_update_asset_status_cache_value(self.instance, key, daily)
            assert cached is not None
            good = cached.deserialize_materialized_partition_subsets(daily).get_partition_keys()
            bad = cached.deserialize_failed_partition_subsets(daily).get_partition_keys()
        return dict.fromkeys(good, "materialized") | dict.fromkeys(bad, "failed")

    def table(self, layer: str, name: str) -> DeltaTable:
        """Return a table of the lake."""
        return DeltaTable(self.settings.layout.table_uri(layer, name))


def install(folder: Path, simulator: Simulator, patch: pytest.MonkeyPatch) -> Installation:
    """Set up an installation, and the environment from which Dagster's resources read it."""
    patch.chdir(folder)
    for name, value in {
        "INTEL_LAKE": str(folder / "lake"),
        "INTEL_STATE": str(folder / "state"),
        "INTEL_SIMULATOR": simulator.url,
        "INTEL_MODE": "demo",
    }.items():
        patch.setenv(name, value)
    (folder / "dagster").mkdir()
    specs = {name: source(name) for name in registry.names()}
    settings = Settings()
    return Installation(
        settings,
        dg.DagsterInstance.local_temp(
            str(folder / "dagster"), overrides={"telemetry": {"enabled": False}}
        ),
        specs,
        build_definitions(sources=list(specs.values()), settings=settings),
    )


@pytest.fixture(scope="session")
def running() -> Iterator[Simulator]:
    with Simulator(seed=SEED, volume=0.2) as simulator:
        yield simulator


@pytest.fixture
def simulator(running: Simulator) -> Simulator:
    running.faults.clear()
    running.forget_requests()
    running.clock.set(TODAY)
    return running


@pytest.fixture
def installation(
    tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    made = install(tmp_path, simulator, monkeypatch)
    with made.instance:
        yield made


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Month:
    """Thirty days of TweetFeed in one run, one of them a page instead of a list."""

    installation: Installation
    days: list[date]
    poisoned: date
    outcome: RunOutcome

    @property
    def good(self) -> list[str]:
        return [day.isoformat() for day in self.days if day != self.poisoned]


@pytest.fixture(scope="module")
def month(running: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Month]:
    running.faults.clear()
    running.clock.set(TODAY)
    days = published_days(30)
    poisoned = days[11]
    with pytest.MonkeyPatch.context() as patch:
        made = install(tmp_path_factory.mktemp("month"), running, patch)
        with made.instance:
            running.faults.add("wrong_content_type", path=f"{poisoned:%Y%m%d}.csv")
            outcome = made.run("tweetfeed", days)
            yield Month(made, days, poisoned, outcome)
