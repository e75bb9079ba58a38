"""How commands fill the lake: the one way to launch runs, to replay, and to end.

Dagster is imported when a launcher is opened, since that takes seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
    from intel_assets.sources.gold import GoldSpec
    from intel_assets.sources.pipeline import Pipeline
    from intel_assets.sources.results import DayResult
    from intel_assets.sources.spec import SourceSpec

Work = Callable[["Pipeline"], Iterable["DayResult"]]

_say = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Say a line to whoever watches: on standard error, which no pipe takes for an answer."""
    _say.print(text, markup=False)


@dataclass
class Launcher:
    """Launches runs in this process, one after the other, and says how each ended.

    Attributes:
        worst: The worst exit code of what was done so far.
    """

    engine: Engine
    instance: dg.DagsterInstance
    _definitions: dg.Definitions | None = None
    worst: int = 0

    def fetch(self, spec: SourceSpec, days: Sequence[date]) -> None:
        """Take days of a source through Dagster, as many in a run as one may have."""
        self._launch(spec.name, days)

    def gold(self, days: Sequence[date]) -> None:
        """Build days of the tables over several sources, then those that are made as a whole.

        What is made of a table that could not be built is left as it is; the others are built.
        """
        if not days:
            return
        from intel_assets.orchestration.gold import step_of
        from intel_assets.orchestration.jobs import GOLD, GOLD_WHOLE

        failed = self._launch(GOLD, days)
        tables = self._gold_tables()
        bad = {spec.name for spec in tables if step_of(spec) in failed}
        for spec in tables:  # Each stands behind those that it is made of.
            bad |= {spec.name} if bad & set(spec.reads) else set()
        wanted = [spec for spec in tables if spec.grain == "whole" and spec.name not in bad]
        if wanted:
            self._run(GOLD_WHOLE, only=[spec.name for spec in wanted])

    def _gold_tables(self) -> list[GoldSpec]:
        from intel_assets.sources.gold import in_order
        from intel_assets.threat.gold import gold

        return in_order(gold())

    def _launch(self, job: str, days: Sequence[date]) -> frozenset[str]:
        """Launch runs of a job for days; return the steps that failed in any of them."""
        from intel_assets.orchestration.runs import chunks

        # One after the other: Dagster's logging deadlocks when two threads of a process run jobs.
        # Where runs are processes (the UI, the daemon), sources go side by side.
        failed = [self._run(job, first, last) for first, last in chunks(days)]
        return frozenset().union(*failed)

    def _run(
        self,
        job: str,
        first: date | None = None,
        last: date | None = None,
        *,
        only: Sequence[str] | None = None,
    ) -> frozenset[str]:
        import dagster as dg

        from intel_assets.definitions import build_definitions
        from intel_assets.orchestration.runs import launch

        if self._definitions is None:
            self._definitions = build_definitions(settings=self.engine.settings)
        keys = None if only is None else [dg.AssetKey(["aggregated", name]) for name in only]
        title = f"{job} {first}..{last}" if first else job.replace("_", " ")
        began = time.monotonic()
        with _say.status(title):
            outcome = launch(self._definitions, self.instance, job, first, last, only=keys)
        seconds = time.monotonic() - began
        say(f"{title}: {outcome.message or 'done'} ({seconds:.1f} s)")
        self.worst = max(self.worst, outcome.exit_code)
        return outcome.failed

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
        open_instance(settings) as instance,
        open_engine(settings, world_clock(settings)) as engine,
    ):
        configure_logs(verbosity(), engine.secrets(registry.load()))
        yield Launcher(engine, instance)


def finish(settings: Settings, worst: int) -> None:
    """Bring what follows from the tables up to date: `ops.coverage`, and the file of views."""
    # A lake that could not be written cannot take this either, and one word of it is enough.
    if worst == StorageError.exit_code:
        return
    from intel_assets.coverage.assess import record
    from intel_assets.lakehouse.catalog import Catalog

    record(settings.layout, present.look(settings, registry.load()))
    if settings.layout.is_local:
        Catalog(settings.layout).write_shipped()


def _tell(result: DayResult) -> None:
    rows = {layer.layer: layer.rows for layer in result.layers}
    counts = " · ".join(f"{layer} {count:,}" for layer, count in rows.items())
    parts = [f"{result.day}: {result.state}", counts]
    parts += [f"{result.rejected} rejected"] if result.rejected else []
    say(" · ".join(part for part in parts if part))
    if result.message:
        say(f"  {result.message}")
