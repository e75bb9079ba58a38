"""Which runs live: those whose process is gone are ended, and no other ever is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from intel_assets.orchestration import liveness
from intel_assets.orchestration.liveness import SOURCE_TAG, alive, end_orphans
from intel_assets.settings import Settings

HOLD = """
import sys
from pathlib import Path
from intel_assets.orchestration.liveness import alive
from intel_assets.settings import Settings
with alive(Settings(state=Path(sys.argv[1])), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
"""
FLICKER = """
import sys
from pathlib import Path
from intel_assets.orchestration.liveness import alive
from intel_assets.settings import Settings
for _ in range(300):
    with alive(Settings(state=Path(sys.argv[1])), sys.argv[2]):
        pass
sys.stdin.readline()
"""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path / "state")


def start(instance: dg.DagsterInstance, *, ours: bool = True) -> dg.DagsterRun:
    """Make a run that has started."""
    tags = {SOURCE_TAG: "feed"} if ours else {}
    run = instance.create_run_for_job(job_def=nothing, tags=tags)
    for kind in (dg.DagsterEventType.RUN_STARTING, dg.DagsterEventType.RUN_START):
        instance.report_dagster_event(dg.DagsterEvent(kind.value, "nothing"), run.run_id)
    return run


@dg.job
def nothing() -> None:
    pass


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def hold(settings: Settings, run: dg.DagsterRun) -> subprocess.Popen[str]:
    """Start a process that shows that the run lives."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(settings.state), run.run_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def age(settings: Settings, run: dg.DagsterRun, suffix: str, seconds: float) -> None:
    """Make a sign of a run older."""
    then = time.time() - seconds
    os.utime(settings.state / "runs" / f"{run.run_id}{suffix}", (then, then))


def files(settings: Settings) -> set[str]:
    return {file.suffix for file in (settings.state / "runs").iterdir()}


def test_a_run_whose_process_was_killed_is_ended_at_the_next_look(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    run = start(instance)
    process = hold(settings, run)
    assert end_orphans(instance, settings) == []
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert end_orphans(instance, settings) == [run.run_id]
    assert status(instance, run) is DagsterRunStatus.FAILURE
    assert end_orphans(instance, settings) == []


def test_a_run_that_works_longer_than_any_patience_lives(
    instance: dg.DagsterInstance, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_SILENCE", 0.0)
    run = start(instance)
    with alive(settings, run.run_id):
        assert end_orphans(instance, settings) == []
        age(settings, run, ".lock", 10**6)
        assert end_orphans(instance, settings) == []
    assert status(instance, run) is DagsterRunStatus.STARTED


def test_a_run_that_is_done_has_time_to_say_so(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    run = start(instance)
    with alive(settings, run.run_id):
        age(settings, run, ".lock", 10**4)  # It took its time.
    assert files(settings) == {".done"}
    assert end_orphans(instance, settings) == []
    age(settings, run, ".done", 119)
    assert end_orphans(instance, settings) == []
    age(settings, run, ".done", 121)
    assert end_orphans(instance, settings) == [run.run_id]


def test_a_run_that_failed_has_time_to_say_so(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    run = start(instance)
    with pytest.raises(ZeroDivisionError), alive(settings, run.run_id):
        _ = 1 / 0
    assert end_orphans(instance, settings) == []


def test_a_run_that_tries_again_in_its_process_lives_and_can_be_killed(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    run = start(instance)
    with alive(settings, run.run_id):
        pass
    age(settings, run, ".done", 500)
    process = hold(settings, run)
    assert end_orphans(instance, settings) == []
    process.kill()
    process.wait(10)
    assert end_orphans(instance, settings) == [run.run_id]


def test_a_run_that_has_only_begun_has_time_to_show_a_sign(
    instance: dg.DagsterInstance, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(instance)
    assert end_orphans(instance, settings) == []
    monkeypatch.setattr(liveness, "_SILENCE", 0.0)
    assert end_orphans(instance, settings) == [run.run_id]


def test_a_run_that_is_not_ours_is_left_alone(
    instance: dg.DagsterInstance, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "_SILENCE", 0.0)
    run = start(instance, ours=False)
    assert end_orphans(instance, settings) == []
    assert status(instance, run) is DagsterRunStatus.STARTED


@pytest.mark.slow
def test_a_run_is_never_seen_unheld_while_it_lives(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    run = start(instance)
    began, looks = time.monotonic(), 0
    process = subprocess.Popen(
        [sys.executable, "-c", FLICKER, str(settings.state), run.run_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and time.monotonic() - began < 60:
        assert end_orphans(instance, settings) == []
        looks += 1
        if looks > 200 and process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
    assert process.wait(10) == 0
    assert looks > 100


def test_signs_of_runs_that_ended_long_ago_are_removed(
    instance: dg.DagsterInstance, settings: Settings
) -> None:
    run = start(instance)
    with alive(settings, run.run_id):
        pass
    age(settings, run, ".done", 2 * 86_400)
    assert end_orphans(instance, settings) == [run.run_id]
    assert files(settings) == {".done"}
    assert end_orphans(instance, settings) == []
    assert files(settings) == set()
