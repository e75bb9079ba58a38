"""Liveness: which runs still have a process. Dagster concept: run monitoring.

Dagster's own monitoring ends runs that take too long; a run whose process was killed it cannot
tell from one that works, and such a run would keep its pool for as long. So every run holds a lock
on a file while it lives: the kernel lets go of it with the process, however that ended.
https://docs.dagster.io/deployment/execution/run-monitoring
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from filelock import FileLock, Timeout

from intel_assets.settings import Settings

SOURCE_TAG = "source"
_STARTED = [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
_SILENCE = 120.0
"""Seconds after which a run of ours that shows no sign has died: before it could show one, or
after its last."""
_KEPT = 86_400.0


@contextmanager
def alive(settings: Settings, run_id: str) -> Iterator[None]:
    """Show that a run lives while the block runs."""
    file = _lock_file(settings, run_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    # It is seen from when it is held until it is let go of. One that can be seen and is free was
    # left behind by a process that was killed.
    unseen = file.with_suffix(".new")
    with FileLock(unseen):
        unseen.replace(file)
        try:
            yield
        finally:
            os.utime(file)
            file.replace(_last_sign(file))


def end_orphans(instance: DagsterInstance, settings: Settings) -> list[str]:
    """Fail the runs whose process is gone, so that their pools are free; return their ids."""
    ended = []
    started = instance.get_run_records(RunsFilter(statuses=_STARTED))
    for record in started:
        run = record.dagster_run
        if _lives(settings, run, record.start_time or record.create_timestamp.timestamp()):
            continue
        instance.report_run_failed(
            run,
            "The process of this run is gone. What it wrote stands; its days are planned again.",
        )
        ended.append(run.run_id)
    _forget(settings, {record.dagster_run.run_id for record in started})
    return ended


def _lives(settings: Settings, run: dg.DagsterRun, started: float) -> bool:
    file = _lock_file(settings, run.run_id)
    last = _last_sign(file)
    if file.exists() and not _free(file):
        return True
    if last.exists():
        # Its work is done; it still has to say so, or to try again.
        return time.time() - last.stat().st_mtime < _SILENCE
    if file.exists():
        return False
    # It may be of another machine, or of an asset that holds no lock: only ours are judged.
    return SOURCE_TAG not in run.tags or time.time() - started < _SILENCE


def _free(file: Path) -> bool:
    try:
        with FileLock(file, timeout=0):
            return True
    except Timeout:
        return False


def _forget(settings: Settings, started: Collection[str]) -> None:
    """Remove the signs of runs that ended long ago."""
    for file in (settings.state.absolute() / "runs").glob("*.*"):
        with suppress(FileNotFoundError):
            if file.stem not in started and time.time() - file.stat().st_mtime > _KEPT:
                file.unlink()


def _lock_file(settings: Settings, run_id: str) -> Path:
    return settings.state.absolute() / "runs" / f"{run_id}.lock"


def _last_sign(lock_file: Path) -> Path:
    return lock_file.with_suffix(".done")
