"""Liveness: which runs still have a process. Dagster concept: run monitoring.

Dagster's own monitoring ends runs that take too long; a run whose process was killed it cannot
tell from one that works, and such a run would keep its pool for as long. So every run holds a lock
on a file while it lives: the kernel lets go of it with the process, however that ended.
https://docs.dagster.io/deployment/execution/run-monitoring
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from filelock import FileLock, Timeout

from intel_assets.settings import Settings

SOURCE_TAG = "source"
_STARTED = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
_FIRST_SIGN = 120.0
"""Seconds after which a run of ours that never held a lock has died before it could."""


@contextmanager
def alive(settings: Settings, run_id: str) -> Iterator[None]:
    """Show that a run lives while the block runs."""
    file = _lock_file(settings, run_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file):
        yield
    # Left behind by a process that was killed, it tells; else nobody asks for it again.
    file.unlink(missing_ok=True)


def end_orphans(instance: DagsterInstance, settings: Settings) -> list[str]:
    """Fail the runs whose process is gone, so that their pools are free; return their ids."""
    ended = []
    for record in instance.get_run_records(RunsFilter(statuses=_STARTED)):
        run = record.dagster_run
        if _lives(settings, run, record.start_time or record.create_timestamp.timestamp()):
            continue
        instance.report_run_failed(
            run,
            "The process of this run is gone. What it wrote stands; its days are planned again.",
        )
        _lock_file(settings, run.run_id).unlink(missing_ok=True)
        ended.append(run.run_id)
    return ended


def _lives(settings: Settings, run: dg.DagsterRun, started: float) -> bool:
    file = _lock_file(settings, run.run_id)
    if not file.exists():
        # It may be of another machine, or of an asset that holds no lock: only ours are judged.
        return SOURCE_TAG not in run.tags or time.time() - started < _FIRST_SIGN
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True


def _lock_file(settings: Settings, run_id: str) -> Path:
    return settings.state.absolute() / "runs" / f"{run_id}.lock"
