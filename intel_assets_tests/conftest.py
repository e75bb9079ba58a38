"""What tests of the whole way share: a lake of their own, a played world, the recorded samples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from intel_assets.clock import Clock, system_clock
from intel_assets.engine import Engine, open_engine
from intel_assets.ingest.documents import Window
from intel_assets.ingest.http import HttpPolicy
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.settings import Settings
from intel_assets.simulator.server import Simulator
from intel_assets.sources import registry
from intel_assets.sources.results import DayResult
from intel_assets.sources.spec import SourceSpec

SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "samples"
SEED, VOLUME = 29, 0.1
"""A small world in which, around `NOON`, records come late, are corrected, withdrawn and broken."""
UNHURRIED = HttpPolicy(rate_per_second=1000, burst=1000)
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
ROWS = "raw.{0}", "cleaned.{0}", "aggregated.{0}_daily", "quarantine.{0}"


@pytest.fixture(autouse=True)
def _no_log_set_up() -> None:
    """Begin without what a command that ran in this process set up for its own log."""
    logger = logging.getLogger("intel_assets")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


@dataclass(frozen=True)
class TestLake:
    """A lake and what is done to it; each of `fetch`, `land` and `replay` is a run."""

    __test__ = False

    engine: Engine

    def fetch(self, spec: SourceSpec, days: Sequence[date]) -> list[DayResult]:
        """Ask the source, over HTTP."""
        with self.engine.upstream(spec) as upstream:
            return list(self.engine.pipeline(spec, "fetch").materialize(days, upstream))

    def land(
        self, spec: SourceSpec, files: Mapping[Path, Window | None], at: datetime
    ) -> list[DayResult]:
        """Take files that were received at a moment."""
        return list(self.engine.pipeline(spec, "land").land(files, at))

    def replay(self, spec: SourceSpec, days: Sequence[date]) -> list[DayResult]:
        """Build days again from landing."""
        return list(self.engine.pipeline(spec, "replay").replay(days))

    def sql(self, query: str, **moment: Any) -> pl.DataFrame:
        """Ask the catalog: `as_of`, `shown_at` and `history` are its own."""
        with self._catalog.connect(**moment) as connection:
            return connection.sql(query).pl()

    def table(self, name: str, **moment: Any) -> pl.DataFrame:
        """Return a table's rows in an order of their own, for comparing."""
        return _ordered(self.sql(f"FROM {name}", **moment))

    def tables(self, source: str, **moment: Any) -> dict[str, pl.DataFrame]:
        """Return all that is known of a source, by table; no rows are no rows of any table."""
        present = {str(name) for name in self._catalog.tables()}
        with self._catalog.connect(**moment) as connection:
            found = {
                name: _ordered(connection.sql(f"FROM {name}").pl())
                for name in _names(source)
                if name in present
            }
        return {name: frame for name, frame in found.items() if frame.height}

    @property
    def _catalog(self) -> Catalog:
        return Catalog(self.engine.settings.layout)

    def commits(self, source: str) -> dict[str, int]:
        """Return the version of each table of a source; -1 for one that is not there."""
        return {name: self._version(name) for name in _names(source)}

    def _version(self, name: str) -> int:
        layout = self.engine.settings.layout
        uri, options = layout.table_uri(*name.split(".")), dict(layout.storage_options)
        try:
            return DeltaTable(uri, storage_options=options).version()
        except TableNotFoundError:
            return -1


def _ordered(frame: pl.DataFrame) -> pl.DataFrame:
    # Which run rejected a record is not what was known of it.
    frame = frame.drop("run_id", strict=False)
    keys = [name for name, dtype in sorted(frame.schema.items()) if not dtype.is_nested()]
    return frame.select(sorted(frame.columns)).sort(keys)


def _names(source: str) -> list[str]:
    return [name.format(source) for name in ROWS]


def assert_same(found: dict[str, pl.DataFrame], expected: dict[str, pl.DataFrame]) -> None:
    """Compare what two lakes, or one at two times, know of a source."""
    assert found.keys() == expected.keys()
    for name, frame in expected.items():
        assert found[name].equals(frame), name


def unhurried(name: str) -> SourceSpec:
    """Return a source whose host does not mind how often it is asked."""
    return replace(registry.load([name])[0], policy=UNHURRIED)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The recorded real data that lies beside the repository."""
    if not SAMPLES.is_dir():
        pytest.skip(f"the samples are not there: {SAMPLES}")
    return SAMPLES


@pytest.fixture
def played() -> Iterator[Simulator]:
    """A small played world whose clock stands at noon on 2026-06-10."""
    with Simulator(seed=SEED, volume=VOLUME) as simulator:
        simulator.clock.set(NOON)
        yield simulator


MakeLake = Callable[..., TestLake]


@pytest.fixture
def make_lake(tmp_path: Path) -> Iterator[MakeLake]:
    """Make lakes: `make_lake(simulator, name, **settings)`, on the simulator's clock."""
    with ExitStack() as stack:

        def make(
            simulator: Simulator | None = None,
            name: str = "lake",
            clock: Clock | None = None,
            **settings: Any,
        ) -> TestLake:
            given = {
                "lake": str(tmp_path / name),
                "state": tmp_path / "state",
                "simulator": simulator.url if simulator else "http://127.0.0.1:9",
                "mode": "demo",
            }
            follow = clock or (simulator.clock if simulator else system_clock)
            return TestLake(stack.enter_context(open_engine(Settings(**given | settings), follow)))

        yield make
