"""Runs of several sources at once, in processes of their own: how `intel run` fills a lake.

Two threads of one process that run jobs deadlock in Dagster's logging (decision 15), and most of
what a small day costs is Dagster's own work on its events, so it takes processes. Each loads
Dagster once; the command itself only tells what they say.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed, wait
from contextlib import ExitStack
from datetime import date
from types import FrameType

from rich.console import Console

from intel_assets.cli.launching import Ended, Launcher, launching, say
from intel_assets.cli.verbosity import set_verbosity, verbosity
from intel_assets.errors import StorageError
from intel_assets.settings import Settings

MOST = 4
"""More processes would wait for each other at Dagster's storage. One more than there are cores,
since some of a run is waiting for a source's turn (measured: 32.1 s for 34.5)."""
PATIENCE = 15.0
"""Seconds that a run which is interrupted has to end."""


def launch_all(
    settings: Settings, asks: Mapping[str, Sequence[date]], fetched: Callable[[int], None]
) -> int:
    """Take days of sources through Dagster, then the tables over several of them.

    Args:
        settings: Of the lake.
        asks: The days to ask each source for.
        fetched: Called with the worst exit code when every source has been asked.

    Returns:
        The worst exit code.

    Raises:
        IntelError: If the lake or Dagster's instance cannot be opened.
    """
    gold = sorted({day for days in asks.values() for day in days})
    # The longest first, so that none is left to run alone at the end.
    names = sorted(asks, key=lambda name: len(asks[name]), reverse=True)
    processes = min(MOST, 1 + (os.cpu_count() or 1), len(names))
    if processes < 2:
        with launching(settings) as launcher:
            for name in names:
                launcher.fetch(name, asks[name])
            fetched(launcher.worst)
            launcher.gold(gold)
        return launcher.worst
    pool = ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(settings, verbosity()),
    )
    with pool:
        ended = _run(pool, {name: asks[name] for name in names}, gold, fetched)
    return _worst(ended)


def _worst(ended: Sequence[Ended]) -> int:
    return max((one.exit_code for one in ended), default=0)


def _run(
    pool: ProcessPoolExecutor,
    asks: Mapping[str, Sequence[date]],
    gold: Sequence[date],
    fetched: Callable[[int], None],
) -> list[Ended]:
    ended: list[Ended] = []
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    work = [pool.submit(_launch, name, days) for name, days in asks.items()]
    try:
        with errors.status(f"{len(asks)} sources") as status:
            for number, future in enumerate(as_completed(work), 1):
                ended += _tell(future.result())
                status.update(f"{number} of {len(asks)} sources")
            worst = _worst(ended)
            if worst == StorageError.exit_code:
                fetched(worst)
                return ended  # Such a lake cannot take gold either.
            status.update("gold")
            work.append(pool.submit(_gold, gold))
            fetched(worst)
            ended += _tell(work[-1].result())
    except BaseException:
        _stop(pool, work)
        raise
    return ended


def _stop(pool: ProcessPoolExecutor, work: Sequence[Future[list[Ended]]]) -> None:
    """Interrupt the runs that go on, and end the processes when they have said how they stand."""
    pool.shutdown(wait=False, cancel_futures=True)
    processes = multiprocessing.active_children()
    for process in processes:
        if process.pid is not None:
            os.kill(process.pid, signal.SIGINT)
    wait(work, timeout=PATIENCE)
    for process in processes:
        process.kill()


def _tell(ended: list[Ended]) -> list[Ended]:
    for one in ended:
        say(one.line)
    return ended


# -- in a process of the pool ----------------------------------------------------------------------


class _Here:
    """What a process of the pool holds open as long as it lives."""

    settings: Settings
    stack = ExitStack()
    launcher: Launcher | None = None
    stopped = False


def _begin(settings: Settings, verbose: int) -> None:
    os.setpgid(0, 0)  # What the terminal interrupts is the command, which passes it on once.
    signal.signal(signal.SIGINT, _interrupted)
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    set_verbosity(verbose)
    _Here.settings = settings


def _launch(job: str, days: Sequence[date]) -> list[Ended]:
    return _ended(_launcher().launch(job, days))


def _gold(days: Sequence[date]) -> list[Ended]:
    return _ended(_launcher().launch_gold(days))


def _launcher() -> Launcher:
    if _Here.launcher is None:
        # Not as the process begins: what goes wrong there is not told to the command.
        _Here.launcher = _Here.stack.enter_context(launching(_Here.settings))
    return _Here.launcher


def _ended(runs: Iterator[Ended]) -> list[Ended]:
    ended = []
    for one in runs:
        ended.append(one)
        if _Here.stopped:
            raise KeyboardInterrupt
    return ended


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Begin no run any more; one that goes on is ended by Dagster, where it can be."""
    _Here.stopped = True


def _end_with_the_command() -> None:
    """Die with a command that was killed: nobody would know what this process still does."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
