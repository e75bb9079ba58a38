"""Runs that are killed at random moments, and run again: nothing lost, doubled or half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random

import polars as pl
import pytest

from intel_assets.ingest.documents import Window
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.ops import FETCHES, PARTITIONS
from intel_assets.lakehouse.tables import Table
from intel_assets.simulator.server import Simulator
from intel_assets.sources.pipeline import Pipeline
from intel_assets_tests.e2e.chaos_child import (
    ROOT,
    Nursery,
    intel_command,
    intel_environment,
    nursery,
)
from intel_assets_tests.e2e.chaos_world import (
    NOW,
    SPECS,
    Place,
    assert_sound,
    contracts,
    last_days,
    partitions,
    quick,
)

pytestmark = pytest.mark.slow

KILLS = 56
LAKES = 7
DAYS = 4
# What a run writes, in its order: the last of them that a killed run reached names the phase.
PHASES = ("landing", "journal", "raw", "quarantine", "cleaned", "aggregated", "partitions")


class _Victim:
    """One lake and source, its runs, and the moments at which they were killed."""

    def __init__(self, place: Place, name: str, simulator: Simulator, rng: Random) -> None:
        self.place, self.spec, self.simulator, self.rng = place, quick(name), simulator, rng
        self.now = NOW
        self.seconds = 1.0
        self.phases: Counter[str] = Counter()

    def kill_and_run_again(self, runs: Nursery) -> bool:
        """Kill a run at a random moment; return whether it was still alive."""
        days = self._next_hours()
        before = self._versions()
        pid = runs.start(self.spec.name, days[0], days[-1])
        status = runs.wait(pid, self.rng.uniform(0.02, 1.3 * self.seconds))
        if status is None:
            os.kill(pid, signal.SIGKILL)
            status = runs.wait(pid, 30.0)
        killed = status == -signal.SIGKILL
        assert killed or status == 0
        if killed:
            self.phases[self._phase(before)] += 1
        left = self._marks()
        began = time.monotonic()
        pid = runs.start(self.spec.name, days[0], days[-1])
        assert runs.wait(pid, 120.0) == 0, "the run after a killed one completes"
        self.seconds = 0.5 * self.seconds + 0.5 * (time.monotonic() - began)
        self._assert_whole(left, self._marks())
        return killed

    def assert_as_undisturbed(self, folder: Path) -> None:
        """Hold that a lake that was fed the same bodies in peace holds the same."""
        peace = Place(folder, "")
        fetched = self.place.journal(self.spec).filter(pl.col("outcome") == "fetched")
        with Landing(self.place.layout) as source, Landing(peace.layout) as target:
            for row in fetched.iter_rows(named=True):
                moment: datetime = row["received_at"]
                lake = Lake(peace.layout, target, lambda moment=moment: moment)
                window = Window(row["window_first"], row["window_last"])
                with source.open(row["body_sha256"]) as body:
                    list(Pipeline(lake, self.spec, "peace").land({body: window}, moment))
        for contract in contracts(self.spec):
            names = [name for name in contract.schema if name != "run_id"]
            ours, theirs = (
                p.table(contract).select(names).sort(names) for p in (self.place, peace)
            )
            assert ours.equals(theirs), contract.name

    def assert_partitions_tell_the_truth(self) -> None:
        """Hold that `ops.partitions` says of each day what the tables hold."""
        told = partitions(self.place, self.spec).filter(pl.col("layer") == "raw")
        held = self.place.table(self.spec.raw).filter(pl.col("known_to").is_null())
        counts = dict(held.group_by("day").len().iter_rows())
        assert {d: n for d, n in told.select("day", "rows").iter_rows() if n} == counts

    def _next_hours(self) -> list[date]:
        self.now += timedelta(hours=self.rng.randint(2, 5))
        self.simulator.clock.set(self.now)
        return last_days(DAYS, self.now.date())

    def _versions(self) -> dict[str, int]:
        found = {"landing": sum(1 for _ in Path(self.place.layout.landing_uri).rglob("*.zst"))}
        tables = {"journal": FETCHES, "partitions": PARTITIONS}
        tables |= {contract.layer: contract for contract in contracts(self.spec)}
        for phase, contract in tables.items():
            table = Table(self.place.layout, contract).open()
            found[phase] = table.version() if table else -1
        return found

    def _phase(self, before: Mapping[str, int]) -> str:
        after = self._versions()
        if after["journal"] >= before["journal"] + 2 and before["journal"] >= 0:
            return "after everything was written"
        reached = [phase for phase in PHASES if after[phase] != before[phase]]
        return f"after {reached[-1]}" if reached else "before the first write"

    def _marks(self) -> dict[tuple[str, date, datetime], int]:
        """Count the rows of each layer that became known on a day at a moment."""
        found: dict[tuple[str, date, datetime], int] = {}
        for contract in (self.spec.raw, self.spec.cleaned):
            rows = self.place.table(contract).group_by("day", "known_from").len()
            found |= {(contract.layer, *key): n for *key, n in rows.iter_rows()}
        return found

    @staticmethod
    def _assert_whole(
        left: Mapping[tuple[str, date, datetime], int],
        right: Mapping[tuple[str, date, datetime], int],
    ) -> None:
        """Hold that what a killed run left of a body's day was all of it."""
        for key, count in left.items():
            assert right.get(key) == count, key


@pytest.mark.timeout(900)
def test_no_moment_of_a_kill_loses_doubles_or_halves_anything(
    tmp_path: Path, record_property
) -> None:
    phases: Counter[str] = Counter()
    began = time.monotonic()
    with Simulator(volume=0.05, seed=3) as simulator:
        for number in range(LAKES):
            name = ("urlhaus", "tweetfeed")[number % 2]
            place = Place(tmp_path / f"{number}", simulator.url)
            victim = _Victim(place, name, simulator, Random(f"kill {number}"))
            with nursery(place, tmp_path / "scratch") as runs:
                killed = tries = 0
                while killed < KILLS // LAKES and tries < 4 * KILLS // LAKES:
                    killed += victim.kill_and_run_again(runs)
                    tries += 1
                    if tries % 3 == 0:
                        assert_sound(place, victim.spec)
            assert killed == KILLS // LAKES
            assert_sound(place, victim.spec)
            victim.assert_partitions_tell_the_truth()
            victim.assert_as_undisturbed(tmp_path / f"{number}-in-peace")
            phases += victim.phases
    record_property("phases", dict(phases))
    print(f"{phases.total()} kills in {time.monotonic() - began:.0f} s: {dict(phases)}")
    assert phases.total() >= 50
    assert len(phases) >= 4, phases


DAGSTER_KILLS = 4


@pytest.mark.timeout(600)
def test_after_killed_runs_of_the_command_dagster_and_delta_hold_the_same(tmp_path: Path) -> None:
    rng = Random("kill dagster")
    with Simulator(volume=0.05, seed=3) as simulator:
        simulator.clock.set(NOW)
        place, days = Place(tmp_path, simulator.url), last_days(6)
        command = intel_command("run", "tweetfeed", "--from", str(days[0]), "--to", str(days[-1]))
        killed = 0
        for number in range(DAGSTER_KILLS):
            simulator.clock.set(NOW + timedelta(hours=2 * number))
            simulator.forget_requests()
            killed += _kill_after_first_request(place, command, simulator, rng.uniform(0.0, 1.2))
        assert killed >= 2
        done = subprocess.run(
            command, env=intel_environment(place), cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert_sound(place, SPECS["tweetfeed"])
        held = {
            f"{c.layer}/{c.name}": {
                day.isoformat() for day in Table(place.layout, c).days_present()
            }
            for c in contracts(SPECS["tweetfeed"])
            if c.layer != "quarantine"
        }
        assert held["raw/tweetfeed"] == {day.isoformat() for day in days}
        assert _materialized(place, held.keys()) == held


def _kill_after_first_request(
    place: Place, command: list[str], simulator: Simulator, seconds: float
) -> bool:
    run = subprocess.Popen(
        command,
        env=intel_environment(place),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 90
    while not simulator.requests and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(seconds)
    run.kill()
    return run.wait(30) == -signal.SIGKILL


_ASK = """
import json, sys
import dagster as dg
from intel_assets.orchestration.instance import open_instance
from intel_assets.settings import load_settings
with open_instance(load_settings()) as instance:
    found = {
        name: sorted(instance.get_materialized_partitions(dg.AssetKey(name.split("/"))))
        for name in sys.argv[1:]
    }
print(json.dumps(found))
"""


def _materialized(place: Place, names: Iterable[str]) -> dict[str, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", _ASK, *names],
        env=intel_environment(place),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name: set(days) for name, days in json.loads(done.stdout).items()}
