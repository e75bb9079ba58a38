"""How commands fill the lake: the one way to launch runs, to replay, and to end.

Dagster is imported when a launcher is opened, since that takes seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING
from uuid import uuid4

from rich.console import Console

from intel_assets.cli import present
from intel_assets.cli.verbosity import verbosity
from intel_assets.errors import StorageError
from intel_assets.settings import Settings
from intel_assets.sources import registry
from intel_assets.world import world_clock

if TYPE_CHECKING:
    import dagster as dg

    from intel_assets.engine import Engine
    from intel_assets.sources.pipeline import Pipeline
    from intel_assets.sources.results import DayResult
    from intel_assets.sources.spec import SourceSpec

Work = Callable[["Pipeline"], Iterable["DayResult"]]

_say = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Say a line to whoever watches: on standard error, which no pipe takes for an answer."""
    _say.print(text, markup=False)


def waiting(text: str) -> AbstractContextManager[object]:
    """Show on a terminal what is waited for."""
    return _say.status(text)


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        line: What to say of it.
        exit_code: What a command that launched it exits with.
    """

    line: str
    exit_code: int


@dataclass
class Launcher:
    """Launches runs in this process, one after the other.

    Attributes:
        worst: The worst exit code of what was done so far.
    """

    engine: Engine
    instance: dg.DagsterInstance
    _definitions: dg.Definitions | None = None
    worst: int = 0

    def fetch(self, source: str, days: Sequence[date]) -> None:
        """Take days of a source through Dagster, and say how each run ended."""
        self._tell(source, self.launch(source, days))

    def gold(self, days: Sequence[date]) -> None:
        """Build the tables over several sources, of these days, and say how each run ended.

        Not if the lake could not be written: it cannot take them either.
        """
        if self.worst != StorageError.exit_code:
            self._tell("gold", self.launch_gold(days))

    def _tell(self, what: str, runs: Iterator[Ended]) -> None:
        with waiting(what):
            for ended in runs:
                say(ended.line)
                self.worst = max(self.worst, ended.exit_code)

    def launch(self, job: str, days: Sequence[date]) -> Iterator[Ended]:
        """Take days of a job through Dagster, as many in a run as one may have."""
        from intel_assets.orchestration.runs import chunks

        for first, last in chunks(days):
            yield self._run(job, first, last)

    def launch_gold(self, days: Sequence[date]) -> Iterator[Ended]:
        """Build days of gold tables, then what is made of all days that stand."""
        from intel_assets.orchestration.jobs import GOLD, GOLD_WHOLE

        yield from self.launch(GOLD, days)
        whole = self._run(GOLD_WHOLE) if days else None
        if whole and whole.exit_code:  # Else it says no more than the line before.
            yield whole

    def _run(self, job: str, first: date | None = None, last: date | None = None) -> Ended:
        from intel_assets.definitions import build_definitions
        from intel_assets.orchestration.runs import launch

        if self._definitions is None:
            self._definitions = build_definitions(settings=self.engine.settings)
        began = time.monotonic()
        outcome = launch(self._definitions, self.instance, job, first, last)
        title = f"{job} {first}..{last}" if first else job
        seconds = time.monotonic() - began
        return Ended(f"{title}: {outcome.message or 'done'} ({seconds:.1f} s)", outcome.exit_code)

    def replay(self, spec: SourceSpec, days: Sequence[date]) -> None:
        """Build days of a source again from landing."""
        self.off_the_record(spec, lambda pipeline: pipeline.replay(days))

    def off_the_record(self, spec: SourceSpec, work: Work) -> int:
        """Do work on a source outside a run, and tell Dagster how the days stand.

        Returns:
            For how many days there was something to do.
        """
        from intel_assets.orchestration.runs import report

        run_id, taken = f"cli-{uuid4()}", 0
        for result in work(self.engine.pipeline(spec, run_id)):
            taken += 1
            self.worst = max(self.worst, result.exit_code)
            report(self.instance, spec, result, self.engine.settings.layout, run_id)
            _tell(result)
        return taken


@contextmanager
def launching(settings: Settings) -> Iterator[Launcher]:
    """Open the lake and Dagster's instance for what is to be launched.

    Raises:
        IntelError: If one of them cannot be opened.
    """
    from intel_assets.engine import open_engine
    from intel_assets.logs import configure_logs
    from intel_assets.orchestration.instance import open_instance

    with (
        open_instance(settings, captures=False) as instance,
        open_engine(settings, world_clock(settings)) as engine,
    ):
        configure_logs(verbosity(), engine.secrets(registry.load()))
        yield Launcher(engine, instance)


def finish(settings: Settings, worst: int) -> None:
    """Bring what follows from the tables up to date: `ops.coverage`, and the file of views."""
    record_coverage(settings, worst)
    write_views(settings, worst)


def record_coverage(settings: Settings, worst: int) -> None:
    """Write down how the days of all sources stand, unless the lake could not be written.

    Such a lake cannot take this either, and one word of it is enough.
    """
    if worst == StorageError.exit_code:
        return
    from intel_assets.coverage.assess import record

    record(settings.layout, present.look(settings, registry.load()))


def write_views(settings: Settings, worst: int) -> None:
    """Write the file of views that DuckDB opens, unless the lake could not be written."""
    if worst == StorageError.exit_code or not settings.layout.is_local:
        return
    from intel_assets.lakehouse.catalog import Catalog

    Catalog(settings.layout).write_shipped()


@contextmanager
def views_following(settings: Settings) -> Iterator[None]:
    """Write the file of views anew if a table came to be: to the old one it is an error."""
    if not settings.layout.is_local:
        yield
        return
    from intel_assets.lakehouse.catalog import Catalog

    catalog = Catalog(settings.layout)
    before = catalog.tables()
    yield
    if catalog.tables() != before:
        catalog.write_shipped()


def _tell(result: DayResult) -> None:
    rows = {layer.layer: layer.rows for layer in result.layers}
    counts = " · ".join(f"{layer} {count:,}" for layer, count in rows.items())
    parts = [f"{result.day}: {result.state}", counts]
    parts += [f"{result.rejected} rejected"] if result.rejected else []
    say(" · ".join(part for part in parts if part))
    if result.message:
        say(f"  {result.message}")
