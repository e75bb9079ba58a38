"""Commands that fill the lake: `run`, `land`, `replay`, `upgrade`.

They import Dagster, which takes seconds, so they do it when they are called.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer
from rich.console import Console

from intel_assets.cli import ask
from intel_assets.cli.verbosity import verbosity
from intel_assets.clock import parse_day, system_clock
from intel_assets.errors import StorageError, UpstreamError, UsageError
from intel_assets.settings import Settings, load_settings
from intel_assets.sources import registry

if TYPE_CHECKING:
    from intel_assets.sources.pipeline import Pipeline
    from intel_assets.sources.results import DayResult
    from intel_assets.sources.spec import SourceSpec

DEFAULT_DAYS = 30

From = Annotated[str | None, typer.Option("--from", metavar="DAY", help="First day (UTC).")]
To = Annotated[str | None, typer.Option("--to", metavar="DAY", help="Last day (UTC).")]
_say = Console(stderr=True, highlight=False, soft_wrap=True)


def run(
    sources: Annotated[list[str] | None, typer.Argument(help="Sources; all if left out.")] = None,
    first: From = None,
    last: To = None,
) -> None:
    """Fetch days of sources and take them through all layers, through Dagster.

    Without --from and --to: the last 30 days. Days that stand already are asked for again, and
    change only if the source says something new. A state feed is asked for today alone.
    """
    settings = load_settings()
    days = _days(first, last)
    for name in sources or []:
        registry.known(name)

    from intel_assets.definitions import build_definitions
    from intel_assets.engine import open_engine
    from intel_assets.logs import configure_logs
    from intel_assets.orchestration.instance import open_instance
    from intel_assets.orchestration.runs import chunks, launch
    from intel_assets.sources.extract import missing_secret
    from intel_assets.world import demo_world, world_clock

    definitions = build_definitions(settings=settings)
    worst, clock = 0, world_clock(settings)
    with demo_world(settings), open_instance(settings) as instance, open_engine(settings) as engine:
        configure_logs(verbosity(), engine.secrets(registry.load()))
        # One after the other: Dagster's logging deadlocks when two threads of a process run jobs.
        # Where runs are processes (the UI, the daemon), sources go side by side.
        for spec in registry.load(sources or []):
            unset = [name for name in spec.secrets if name not in engine.secrets([spec])]
            if unset and sources:
                raise missing_secret(spec, unset[0])
            if unset:
                _say.print(f"{spec.name}: not configured, {unset[0]} is not set.", markup=False)
                continue
            wanted = _askable(spec, days, clock().date())
            if not wanted and spec.kind == "state":
                _say.print(f"{spec.name}: a state feed, it can only be asked today.", markup=False)
                # Whoever names it wants something of it.
                worst = max(worst, UpstreamError.exit_code if sources else 0)
            elif not wanted:
                _say.print(f"{spec.name}: it begins on {spec.start}.", markup=False)
            for start, end in chunks(wanted):
                began = time.monotonic()
                with _say.status(f"{spec.name} {start}..{end}"):
                    outcome = launch(definitions, instance, spec, start, end)
                seconds = time.monotonic() - began
                ended = outcome.message or "done"
                _say.print(f"{spec.name} {start}..{end}: {ended} ({seconds:.1f} s)", markup=False)
                worst = max(worst, outcome.exit_code)
    _finish(settings, worst)


def land(
    source: Annotated[str, typer.Argument(help="The source whose bodies these are.")],
    files: Annotated[list[Path], typer.Argument(help="Files, as the source would have sent them.")],
    fetched_at: Annotated[
        str | None,
        typer.Option("--fetched-at", metavar="T", help="When they were received; now if left out."),
    ] = None,
    day: Annotated[
        str | None, typer.Option("--day", help="The day they answer, if they do not say it.")
    ] = None,
) -> None:
    """Take in bodies that came some other way, such as over an air gap.

    They go the same road as bodies that were fetched; --fetched-at is since when they count as
    known.
    """
    settings = load_settings()
    registry.known(source)
    received = ask.past(fetched_at) if fetched_at else system_clock()
    for file in files:
        if not file.is_file():
            raise UsageError(f"There is no file {file}.", "Name files that are there.")

    from intel_assets.ingest.documents import Window

    window = Window(parse_day(day), parse_day(day)) if day else None
    _off_the_record(settings, source, lambda p: p.land(dict.fromkeys(files, window), received))


def replay(
    source: Annotated[str, typer.Argument(help="The source.")],
    first: From = None,
    last: To = None,
) -> None:
    """Parse and clean days again from what was received, without a network.

    For a mended parser, or a table that was damaged. What was known when stays as it was.
    """
    settings = load_settings()
    registry.known(source)
    days = _days(first, last)
    _off_the_record(settings, source, lambda p: p.replay(days))


def upgrade() -> None:
    """Bring the lake to the format that this version writes."""
    from intel_assets.lakehouse.format import FORMAT
    from intel_assets.lakehouse.format import upgrade as bring

    passed = bring(load_settings().layout)
    text = " → ".join(map(str, passed))
    typer.echo(f"Format {text}." if len(passed) > 1 else f"Nothing to do: format {FORMAT}.")


def _off_the_record(
    settings: Settings, source: str, work: Callable[[Pipeline], Iterable[DayResult]]
) -> None:
    """Do work on a source outside a run, and tell Dagster how the days stand."""
    from intel_assets.engine import open_engine
    from intel_assets.logs import configure_logs
    from intel_assets.orchestration.instance import open_instance
    from intel_assets.orchestration.runs import report

    spec = registry.load([source])[0]
    worst = 0
    run_id = f"cli-{uuid4()}"
    with open_instance(settings) as instance, open_engine(settings) as engine:
        configure_logs(verbosity(), engine.secrets([spec]))
        taken = 0
        for result in work(engine.pipeline(spec, run_id)):
            taken += 1
            worst = max(worst, result.exit_code)
            report(instance, spec, result, settings.layout, run_id)
            _tell(result)
    if not taken:
        _say.print(f"Nothing of {source} was received for these days.", markup=False)
    _finish(settings, worst)


def _tell(result: DayResult) -> None:
    rows = {layer.layer: layer.rows for layer in result.layers}
    counts = " · ".join(f"{layer} {count:,}" for layer, count in rows.items())
    parts = [f"{result.day}: {result.state}", counts]
    parts += [f"{result.rejected} rejected"] if result.rejected else []
    _say.print(" · ".join(part for part in parts if part), markup=False)
    if result.message:
        _say.print(f"  {result.message}", markup=False)


def _finish(settings: Settings, worst: int) -> None:
    from intel_assets.lakehouse.catalog import Catalog

    # A lake that could not be written cannot take this either, and one word of it is enough.
    if settings.layout.is_local and worst != StorageError.exit_code:
        Catalog(settings.layout).write_shipped()
    ask.status()
    if worst:
        sys.exit(worst)


def _days(first: str | None, last: str | None) -> list[date]:
    today = system_clock().date()
    end = parse_day(last) if last else today
    start = parse_day(first) if first else end - timedelta(days=DEFAULT_DAYS - 1)
    if start > end:
        raise UsageError(f"The range {start} to {end} ends before it begins.", "Swap its ends.")
    if end > today:
        raise UsageError(f"{end} lies in the future.", f"Today is {today} (UTC).")
    return [start + timedelta(days=i) for i in range((end - start).days + 1)]


def _askable(spec: SourceSpec, days: Iterable[date], today: date) -> list[date]:
    """Return the days of a range that a source can be asked for at all."""
    first = today if spec.kind == "state" else spec.start
    return [day for day in days if day >= first]


COMMANDS = {"run": run, "land": land, "replay": replay, "upgrade": upgrade}
