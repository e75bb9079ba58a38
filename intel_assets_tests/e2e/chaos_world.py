"""A small world to do harm in: a simulator, a lake, one source's run, and what the lake then holds.

Shared by the tests of faults, kills, keys, politeness and disks. No test is in here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl
import zstandard

from intel_assets.clock import system_clock
from intel_assets.ingest.hosts import HostLedger
from intel_assets.ingest.http import HttpClient, HttpPolicy
from intel_assets.ingest.redact import Redactor
from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.ops import FETCHES, PARTITIONS, Journal
from intel_assets.lakehouse.tables import Table
from intel_assets.settings import DEMO_KEY
from intel_assets.sources.cleaning import HOLDS, quarantine_contract
from intel_assets.sources.extract import Upstream
from intel_assets.sources.pipeline import Pipeline
from intel_assets.sources.results import DayResult
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat import tweetfeed, urlhaus

NOW = datetime(2026, 7, 31, 12, 0, tzinfo=UTC)
"""The world's time. No day of TweetFeed in the 30 before it is missing or empty at seed 3."""

HOSTS = {"tweetfeed": "raw.githubusercontent.com", "urlhaus": "urlhaus-api.abuse.ch"}
SPECS = {"tweetfeed": tweetfeed.SPEC, "urlhaus": urlhaus.SPEC}

QUICK = HttpPolicy(
    attempts=2,
    max_wait=5.0,
    connect_timeout=2.0,
    read_timeout=0.5,
    total_timeout=1.5,
    rate_per_second=1000.0,
    burst=1000,
)


def quick(name: str, **changes: object) -> SourceSpec:
    """Return a source with a policy that does not make tests wait."""
    policy = replace(QUICK, **changes)  # type: ignore[arg-type]
    return replace(SPECS[name], policy=policy)


def last_days(count: int, until: date | None = None) -> list[date]:
    """Return so many days up to one, the world's today if none is named, oldest first."""
    until = until or NOW.date()
    return [until - timedelta(days=back) for back in reversed(range(count))]


@dataclass(frozen=True)
class Place:
    """A lake in a folder, and the simulator that it asks."""

    folder: Path
    simulator: str
    key: str = DEMO_KEY
    threshold: int = 10_000

    @property
    def layout(self) -> Layout:
        """Where the lake is."""
        return Layout(str(self.folder / "lake"))

    @contextmanager
    def upstream(
        self, spec: SourceSpec, sleep: Callable[[float], None] = lambda _: None
    ) -> Iterator[tuple[Lake, Upstream]]:
        """Give the lake and the way to the simulator; waits between attempts take no time."""
        secrets = dict.fromkeys(spec.secrets, self.key)
        ledger = HostLedger(
            self.folder / "state" / "hosts.sqlite", system_clock, threshold=self.threshold
        )
        with (
            Landing(self.layout) as landing,
            HttpClient(
                landing,
                ledger,
                Redactor(secrets),
                system_clock,
                sleep=sleep,
                via=self.simulator,
            ) as http,
        ):
            yield Lake(self.layout, landing, system_clock), Upstream(http, secrets)

    def run(
        self,
        spec: SourceSpec,
        days: Sequence[date],
        sleep: Callable[[float], None] = lambda _: None,
    ) -> list[DayResult]:
        """Materialize days of a source."""
        with self.upstream(spec, sleep) as (lake, upstream):
            return list(Pipeline(lake, spec, f"run-{uuid4()}").materialize(days, upstream))

    def replay(self, spec: SourceSpec, days: Sequence[date]) -> list[DayResult]:
        """Replay days of a source from landing."""
        with Landing(self.layout) as landing:
            lake = Lake(self.layout, landing, system_clock)
            return list(Pipeline(lake, spec, f"replay-{uuid4()}").replay(days))

    def journal(self, spec: SourceSpec) -> pl.DataFrame:
        """Return one row for each request."""
        return Journal(self.layout, spec.name).fetches()

    def table(self, contract: Contract) -> pl.DataFrame:
        """Return all rows of a table."""
        return Table(self.layout, contract).read()


def contracts(spec: SourceSpec) -> list[Contract]:
    """Return the tables of a source, without the lake's own records."""
    derived = [aggregate.contract for aggregate in spec.aggregates]
    return [spec.raw, spec.cleaned, quarantine_contract(spec), *derived]


def standing(place: Place, spec: SourceSpec) -> dict[str, tuple[int, pl.DataFrame]]:
    """Return the version and the content of each of a source's tables."""
    found = {}
    for contract in contracts(spec):
        table = Table(place.layout, contract)
        opened = table.open()
        version = opened.version() if opened else -1
        frame = table.read(at=opened) if opened else contract.empty()
        found[f"{contract.layer}.{contract.name}"] = (version, frame.sort(frame.columns))
    return found


def assert_untouched(
    before: Mapping[str, tuple[int, pl.DataFrame]], after: Mapping[str, tuple[int, pl.DataFrame]]
) -> None:
    """Hold that no table changed: neither its version nor its content."""
    assert before.keys() == after.keys()
    for name, (version, frame) in before.items():
        assert after[name][0] == version, name
        assert after[name][1].equals(frame), name


def bodies(place: Place) -> Iterator[tuple[str, bytes]]:
    """Give every body in landing: the digest in its name, and its plain bytes."""
    root = Path(place.layout.landing_uri)
    for file in sorted(root.rglob("*.zst")):
        with file.open("rb") as packed:
            plain = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
            yield file.stem, plain.read()


def assert_landing_sound(place: Place) -> None:
    """Hold that every body has the digest that it is stored under."""
    for name, plain in bodies(place):
        assert hashlib.sha256(plain).hexdigest() == name


def assert_sound(place: Place, spec: SourceSpec) -> None:
    """Hold what is true of every lake in which nothing waits: no row lost, none doubled."""
    raw, cleaned, quarantine, *_ = (place.table(contract) for contract in contracts(spec))
    version = ["day", "record_id", "record_digest", "known_from"]
    assert not raw.select(version).is_duplicated().any()
    held = raw.filter(HOLDS)
    assert not held.select("day", "record_id", "record_digest").is_duplicated().any()
    _assert_chains(raw)
    # raw = cleaned ∪ quarantine, disjoint.
    accepted = set(cleaned.select(*version, "known_to").iter_rows())
    rejected = set(quarantine.select(*version, "known_to").unique().iter_rows())
    assert len(accepted) == cleaned.height
    assert not accepted & rejected
    assert accepted | rejected == set(raw.select(*version, "known_to").iter_rows())
    journal = place.journal(spec)
    assert journal.filter(
        pl.col("covers_from").is_not_null(), pl.col("folded_at").is_null()
    ).is_empty(), "a body still waits"
    counted = journal.filter(pl.col("added").is_not_null())
    total = pl.sum_horizontal("added", "unchanged", "changed", "duplicates")
    assert counted.filter(pl.col("parsed") != total).is_empty()
    assert_landing_sound(place)
    named = journal.drop_nulls("body_sha256")["body_sha256"]
    assert set(raw["body_sha256"]) <= set(named) <= {name for name, _ in bodies(place)}


def _assert_chains(raw: pl.DataFrame) -> None:
    """Hold that the versions of a record follow one another without a backward step."""
    assert raw.filter(pl.col("known_to") <= pl.col("known_from")).is_empty()
    chains = raw.sort("known_from").with_columns(
        _next=pl.col("known_from").shift(-1).over("day", "record_id", "record_digest")
    )
    overlap = pl.col("known_to").is_null() | (pl.col("known_to") > pl.col("_next"))
    assert chains.filter(pl.col("_next").is_not_null() & overlap).is_empty()


def holding(place: Place, contract: Contract) -> set[tuple[object, ...]]:
    """Return day, id and digest of what a table says holds now."""
    frame = place.table(contract).filter(HOLDS)
    return set(frame.select("day", "record_id", "record_digest").iter_rows())


def by_day(results: Iterable[DayResult]) -> dict[date, DayResult]:
    """Return the results by day."""
    return {result.day: result for result in results}


def partitions(place: Place, spec: SourceSpec) -> pl.DataFrame:
    """Return the newest state of each partition of a source."""
    rows = place.table(PARTITIONS).filter(pl.col("source") == spec.name)
    return rows.sort("recorded_at").unique(["layer", "name", "day"], keep="last")


def fetch_rows(place: Place, spec: SourceSpec) -> pl.DataFrame:
    """Return all rows of `ops.fetches`, the second ones of folded bodies included."""
    return place.table(FETCHES).filter(pl.col("source") == spec.name)
