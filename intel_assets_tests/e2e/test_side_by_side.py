"""`intel run` of several sources: processes that belong to the command, and end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from intel_assets.simulator.server import Simulator
from intel_assets_tests.e2e.commands import INTEL, Intel, assert_short, environment_of

CLOCK = {"INTEL_CLOCK": "simulator"}
pytestmark = pytest.mark.slow
ASKED = ["run", "tweetfeed", "urlhaus", "ipsum", "--from", "2025-06-01", "--to", "2025-06-10"]


@pytest.fixture
def started(tmp_path: Path, world: Simulator) -> Iterator[subprocess.Popen[str]]:
    """A command whose processes have begun to work."""
    command = subprocess.Popen(
        [INTEL, *ASKED],
        cwd=tmp_path,
        env=os.environ | environment_of(tmp_path, world) | CLOCK,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with command:
        ends = time.monotonic() + 60
        while not (tmp_path / "lake" / "ops" / "fetches").exists() and time.monotonic() < ends:
            time.sleep(0.05)
        yield command
        command.kill()


def _left(children: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    return psutil.wait_procs(children, timeout=seconds)[1]


def test_several_sources_come_with_the_gold_made_of_them_and_say_how_they_ended(
    intel: Intel, tmp_path: Path, world: Simulator
):
    number = world.faults.add("unauthorized", host="urlhaus", times=None)
    try:
        answer = intel(*ASKED, environment=CLOCK)
    finally:
        world.faults.remove(number)
    assert answer.code == 4, answer.err
    assert "tweetfeed 2025-06-01..2025-06-10: done" in answer.err
    assert "ipsum 2025-06-10..2025-06-10: done" in answer.err
    assert "gold " in answer.err
    failed = next(line for line in answer.err.splitlines() if line.startswith("urlhaus "))
    assert "401" in failed
    day = "SELECT count(DISTINCT source) AS feeds FROM aggregated.sightings"
    assert intel("sql", day, "--format", "csv").out.split() == ["feeds", "2"]


def test_what_keeps_every_process_from_beginning_is_said_once(intel: Intel, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    answer = intel(*ASKED, environment=CLOCK | {"INTEL_DAGSTER_STORAGE": str(tmp_path / "file")})
    assert_short(answer, 3)


def test_an_interrupt_reaches_every_process_and_says_what_stands(
    started: subprocess.Popen[str],
):
    children = psutil.Process(started.pid).children(recursive=True)
    assert len(children) >= 2
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert said.splitlines()[-1] == "Stopped: what was written so far stands."
    assert _left(children, 10) == []


def test_processes_of_a_command_that_was_killed_end_and_another_takes_up_its_work(
    started: subprocess.Popen[str], intel: Intel
):
    children = psutil.Process(started.pid).children(recursive=True)
    assert len(children) >= 2
    started.kill()
    assert _left(children, 10) == []
    assert intel(*ASKED, environment=CLOCK).code == 0
    rows = intel("sql", "SELECT count(DISTINCT day) AS days FROM raw.tweetfeed", "--format", "csv")
    # The played world lacks the file of one of them.
    assert rows.out.split() == ["days", "9"]
