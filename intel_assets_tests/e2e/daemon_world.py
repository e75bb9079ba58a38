"""An installation with a real daemon, on a clock that runs and jumps as a test wants it.

No test is in here. The daemon, its code server and its runs are processes of their own; the
simulator plays in the test's process, and its clock is everybody's.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import psutil
import pytest
from cronsim import CronSim
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, TickStatus

from intel_assets.coverage.assess import Assessment, assess
from intel_assets.coverage.plan import Limits, plan
from intel_assets.engine import sources_off
from intel_assets.lakehouse.layout import Layout
from intel_assets.orchestration.inflight import in_flight
from intel_assets.orchestration.instance import open_instance
from intel_assets.settings import load_settings
from intel_assets.simulator.server import Simulator
from intel_assets.sources.spec import SourceSpec
from intel_assets_tests.e2e.daemon_sources import NOON, host

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 420.0
SPEED = 10.0
_LOOK_EVERY = 2
_WORKSPACE = """
load_from:
  - python_module:
      module_name: intel_assets_tests.e2e.daemon_sources
      attribute: {attribute}
      working_directory: {root}
      location_name: test
"""


@dataclass
class World:
    """A played upstream, a lake, Dagster's instance, and the daemon if it runs."""

    folder: Path
    simulator: Simulator
    specs: Sequence[SourceSpec]
    instance: dg.DagsterInstance
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    # -- the upstream -----------------------------------------------------------------------------

    def publish(self, source: str, day: date, lines: int = 3) -> None:
        """Put the file of a day on the source's host; one line a record."""
        body = "".join(
            f"{day} 10:00:00,ioc_otter,domain,n{n}-{day:%Y%m%d}.example,#phishing,"
            f"https://x.com/ioc_otter/status/{day:%Y%m%d}{n:03}\n"
            for n in range(lines)
        )
        self.put(source, f"{day:%Y%m%d}.csv", body)

    def put(self, source: str, name: str, body: str) -> None:
        """Put a file on a source's host."""
        file = self.folder / "published" / host(source) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(".new")
        aside.write_text(body)
        aside.replace(file)

    def withdraw(self, source: str, day: date) -> None:
        """Take the file of a day from the source's host."""
        (self.folder / "published" / host(source) / f"{day:%Y%m%d}.csv").unlink(missing_ok=True)

    def break_down(self, source: str) -> int:
        """Let a source answer nothing; return the number by which it is mended."""
        return self.simulator.faults.add("503", host=host(source), times=None, retry_after=None)

    def asked(self, source: str) -> Counter[str]:
        """Return how often each file of a source was asked for."""
        found = (one for one in self.simulator.requests if one.host == host(source))
        return Counter(one.path.strip("/").removesuffix(".csv") for one in found)

    # -- time -------------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The simulated time."""
        return self.simulator.clock()

    def jump(self, to: datetime) -> None:
        """Move on to a moment; time runs on from there."""
        ahead = (to - self.now).total_seconds()
        if ahead > 0:
            self.simulator.clock.advance(ahead)

    def pass_time(self, until: datetime) -> None:
        """Let time pass: from one moment at which something can be done to the next."""
        self.settle()
        while self.now < until:
            self.jump(min([until, *(moment for moment in self._moments() if moment < until)]))
            self.settle()

    def finish(self) -> Assessment:
        """Let time pass until nothing is due any more; return how everything stands."""
        self.settle()
        while moments := self._moments():
            self.jump(min(moments))
            self.settle()
        return self.standing()

    def _moments(self) -> list[datetime]:
        """Return when gaps that wait may be filled."""
        found = self.standing()
        made = plan(found.states, self.specs, Limits(99, probe_at=found.probe_at), self.now)
        return [held.until for held in made.held if held.until and held.until > self.now]

    # -- what stands ------------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """Where the lake is."""
        return load_settings().layout

    def standing(self) -> Assessment:
        """Say how every day stands."""
        settings = load_settings()
        off = sources_off(settings, self.specs)
        return assess(settings.layout, self.specs, self.now, off=off)

    def states(self, source: str) -> dict[date, str]:
        """Return the state of each day of a source."""
        ours = self.standing().states.filter(pl.col("source") == source)
        return dict(ours.select("day", "state").iter_rows())

    # -- the daemon -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon, and wait until its sensor looked."""
        before = time.time()
        self.started[:] = [one for one in self.started if one.poll() is None or _family(one)]
        log = (self.folder / "daemon.log").open("ab")
        self.started.append(
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "intel_assets_tests.e2e.daemon_process"),
                    *("run", "-w", str(self.folder / "workspace.yaml")),
                ],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )
        self.wait(lambda: self._looks(before) > 0, "the gap sensor did not look")

    @property
    def daemon(self) -> subprocess.Popen[bytes]:
        """The daemon that was started last."""
        return self.started[-1]

    @property
    def lives(self) -> bool:
        """Whether the daemon lives."""
        return bool(self.started) and self.daemon.poll() is None

    def kill_daemon(self) -> None:
        """Kill the daemon alone; its code server and the runs go on."""
        self.daemon.kill()
        self.daemon.wait(30)

    def kill_all(self) -> None:
        """Kill the daemon, its code servers and all runs, as a power cut does."""
        for process in self.started:
            for one in _family(process):
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
            process.kill()
            process.wait(30)
        # Their numbers are free now, and may be given to anybody's processes.
        self.started.clear()

    def workers(self) -> list[psutil.Process]:
        """Return the processes of the runs."""
        found = []
        for process in self.started:
            for pid in _family(process):
                with suppress(psutil.Error):
                    one = psutil.Process(pid)
                    if one.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(
                        one.cmdline()
                    ):
                        found.append(one)
        return found

    def unfinished(self) -> int:
        """Return how many runs have not ended."""
        return len(in_flight(self.instance))

    def settle(self, patience: float = PATIENCE) -> None:
        """Wait until no run is under way, and both schedules and gap sensor found nothing to do."""
        since = time.time()

        def settled() -> bool:
            nonlocal since
            assert self.lives, self._told()
            if self.unfinished() or not self._ticked():
                since = time.time()
            return self._looks(since, idle=True) > 1

        self.wait(settled, "it does not settle", patience)

    def wait(self, done: Callable[[], bool], otherwise: str, patience: float = PATIENCE) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + patience
        while not done():
            assert time.monotonic() < deadline, f"{otherwise}\n{self._told()}"
            time.sleep(0.5)

    def _looks(self, since: float, *, idle: bool = False) -> int:
        """Return how often the gap sensor has looked; with `idle`, in a row and in vain."""
        ticks = [
            tick
            for state in self._instigators(InstigatorType.SENSOR)
            if state.instigator_name == "gaps"
            for tick in self.instance.get_ticks(
                state.instigator_origin_id, state.selector_id, after=since
            )
            if tick.status != TickStatus.STARTED
        ]
        assert all(tick.status != TickStatus.FAILURE for tick in ticks), ticks
        if idle and any(tick.status != TickStatus.SKIPPED for tick in ticks):
            return 0
        return len(ticks)

    def _ticked(self) -> bool:
        """Whether every schedule saw its last moment."""
        by_name = {f"{spec.name}_schedule": spec for spec in self.specs}
        for state in self._instigators(InstigatorType.SCHEDULE):
            spec = by_name[state.instigator_name]
            last = next(CronSim(spec.cadence, self.now, reverse=True)).timestamp()
            began = getattr(state.instigator_data, "start_timestamp", None) or 0
            ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            seen = ticks[0].timestamp if ticks else 0
            if last > began and (seen < last or ticks[0].status == TickStatus.STARTED):
                return False
        return True

    def _instigators(self, kind: InstigatorType) -> Sequence[InstigatorState]:
        return list(self.instance.all_instigator_state(instigator_type=kind))

    def _told(self) -> str:
        """Return the end of the daemon's log."""
        return (self.folder / "daemon.log").read_text(errors="replace")[-6000:]

    # -- what is always true ----------------------------------------------------------------------

    def runs(self) -> list[tuple[str, float, float, DagsterRunStatus]]:
        """Return source, start, end and status of every run that began, a source's in order."""
        found = []
        for record in self.instance.get_run_records(RunsFilter()):
            run, begun = record.dagster_run, record.start_time
            if "source" in run.tags and begun is not None:
                ended = math.inf if record.end_time is None else record.end_time
                found.append((run.tags["source"], begun, ended, run.status))
        return sorted(found, key=lambda one: one[:2])

    def assert_sound(self) -> None:
        """Hold that no two runs of a source were at it at once, and that nothing is held."""
        runs = self.runs()
        for (one, _, end, _), (other, begin, _, _) in zip(runs, runs[1:], strict=False):
            assert one != other or end <= begin, (one, end, begin)
        assert self.unfinished() == 0
        for spec in self.specs:
            info = self.instance.event_log_storage.get_concurrency_info(spec.name)
            assert info.claimed_slots == []


def _family(process: subprocess.Popen[bytes]) -> list[int]:
    """Return all processes of a daemon's session, those that outlived it too."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(one.pid) == process.pid and one.pid != process.pid:
                found.append(one.pid)
    return found


@contextmanager
def installed(
    folder: Path, attribute: str, specs: Sequence[SourceSpec], patch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Set up an installation that loads an attribute of `daemon_sources`; nothing runs yet."""
    (folder / "published").mkdir(parents=True)
    shutil.copy(ROOT / "dagster.yaml", folder)
    workspace = _WORKSPACE.format(attribute=attribute, root=ROOT)
    (folder / "workspace.yaml").write_text(workspace)
    with Simulator(recordings=folder / "published") as simulator:
        simulator.clock.set(NOON)
        simulator.clock.run(SPEED)
        for name, value in {
            "DAGSTER_HOME": str(folder),
            "INTEL_DAGSTER_STORAGE": str(folder / "dagster"),
            "INTEL_LAKE": str(folder / "lake"),
            "INTEL_STATE": str(folder / "state"),
            "INTEL_SIMULATOR": simulator.url,
            "INTEL_MODE": "demo",
            "INTEL_CLOCK": "simulator",
            "INTEL_SENSOR_SECONDS": str(_LOOK_EVERY),
            "PYTHONPATH": str(ROOT),
        }.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        with open_instance(load_settings()) as instance:
            world = World(folder, simulator, specs, instance)
            try:
                yield world
            finally:
                world.kill_all()


def any_of(dice: random.Random, some: Sequence[psutil.Process]) -> psutil.Process | None:
    """Draw one of some processes; None if there are none."""
    return dice.choice(some) if some else None


DAY = timedelta(days=1)
