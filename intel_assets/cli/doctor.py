"""`intel doctor`: whether everything is there that the other commands need, and what to do if not.

It changes nothing. With --connect it asks each source once, into a landing that is thrown away.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from intel_assets import world
from intel_assets.cli import show
from intel_assets.cli.verbosity import verbosity
from intel_assets.errors import ConfigurationError, IntelError
from intel_assets.lakehouse.format import FORMAT, check_format, read_format
from intel_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from intel_assets.engine import Engine
    from intel_assets.sources.spec import SourceSpec

State = Literal["ok", "warn", "fail"]
PACKAGES = ("dagster", "dagster-webserver", "duckdb", "polars", "deltalake", "pandera", "httpx")
OLDEST_PYTHON = (3, 11)
LITTLE_DISK = 2 * 2**30
"""Below this many free bytes the disk of the lake is worth a warning."""


@dataclass(frozen=True)
class Finding:
    """What a check came to.

    Attributes:
        found: What is there.
        do: What to do about it; empty if it is well.
    """

    check: str
    state: State
    found: str
    do: str = ""


def doctor(
    connect: Annotated[
        bool, typer.Option("--connect", help="Ask each source once whether it answers.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Look whether everything is there: environment, lake, extensions, keys by name only.

    Exits with 3 if something fails; a warning is no failure.
    """
    findings = list(_findings(connect))
    columns = ["check", "state", "found", "do"]
    values = [(f.check, f.state, f.found, f.do) for f in findings]
    if json:
        show.records(columns, values)
    else:
        show.rows(columns, values)
    failed = [finding for finding in findings if finding.state == "fail"]
    if failed:
        count = f"{len(failed)} of {len(findings)} checks fail."
        raise ConfigurationError(count, "What to do stands in the last column, `do`.")


def _findings(connect: bool) -> Iterator[Finding]:
    yield _python()
    yield Finding(
        "platform", "ok", f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs"
    )
    yield from (_package(name) for name in PACKAGES)
    yield from (_guarded(f"DuckDB: {name}", partial(_extension, name)) for name in _extensions())
    try:
        settings = load_settings()
    except IntelError as error:
        yield _failed("settings", error)
        return
    yield Finding("mode", "ok", settings.mode)
    yield _guarded("lake", partial(_lake, settings))
    yield _guarded("state", partial(_state, settings))
    yield _guarded("dagster home", _dagster_home)
    if settings.mode == "demo":
        yield _guarded("simulator", partial(_simulator, settings))
    yield from _sources(settings, connect)


def _guarded(check: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except IntelError as error:
        return _failed(check, error)
    except OSError as error:
        return Finding(check, "fail", str(error), "See that the place is there, for this user.")


def _failed(check: str, error: IntelError) -> Finding:
    return Finding(check, "fail", error.what, error.do)


# -- this machine --------------------------------------------------------------------------------


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.prefix})"
    if sys.version_info < OLDEST_PYTHON:
        return Finding(
            "python", "fail", found, "Python 3.11 or newer: make setup PYTHON=python3.12"
        )
    return Finding("python", "ok", found)


def _package(name: str) -> Finding:
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "fail", "not installed", "make setup")
    wanted = _pins().get(name, installed)
    if installed != wanted:
        return Finding(name, "fail", f"{installed}, wanted {wanted}", "make setup")
    return Finding(name, "ok", installed)


def _pins() -> dict[str, str]:
    """Return the versions that this program asks for, of the packages where it asks for one."""
    try:
        listed = metadata.requires("intel-assets") or []
    except metadata.PackageNotFoundError:
        return {}
    pairs = (text.partition("==") for text in listed)
    return {name: version for name, pinned, version in pairs if pinned and ";" not in version}


def _extensions() -> tuple[str, ...]:
    from intel_assets.lakehouse.extensions import NAMES

    return NAMES


def _extension(name: str) -> Finding:
    import duckdb

    from intel_assets.lakehouse.extensions import load

    with duckdb.connect() as connection:
        load(connection, name)
        row = connection.execute(
            "SELECT extension_version FROM duckdb_extensions() WHERE extension_name = ?", [name]
        ).fetchone()
    return Finding(f"DuckDB: {name}", "ok", f"loads, {row[0] if row else ''}")


# -- this installation ---------------------------------------------------------------------------


def _lake(settings: Settings) -> Finding:
    layout = settings.layout
    found = read_format(layout)
    if found is None:
        if layout.is_local:
            _probe(Path(layout.base))
        return Finding("lake", "ok", f"{layout.base}: not there yet", "intel run")
    check_format(layout)
    text = f"{layout.base}: format {found} of {FORMAT}"
    if not layout.is_local:
        return Finding("lake", "ok", text)
    base = Path(layout.base)
    _probe(base)
    free = shutil.disk_usage(base).free
    text = f"{text}, {free / 2**30:,.1f} GiB free"
    if free < LITTLE_DISK:
        return Finding("lake", "warn", text, "Free some space, or set INTEL_LAKE to a larger disk.")
    return Finding("lake", "ok", text)


def _probe(folder: Path) -> None:
    """See that this user can write below a folder, which need not be there yet.

    Raises:
        LakeReadOnly: If not.
        DiskFull: If there is no space.
    """
    from intel_assets.lakehouse.storage import storage_errors

    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    with storage_errors(str(there)), tempfile.TemporaryFile(dir=there) as probe:
        probe.write(b"intel doctor")


def _state(settings: Settings) -> Finding:
    folder = settings.state.absolute()
    _probe(folder)
    return Finding("state", "ok", f"{folder}{'' if folder.is_dir() else ': not there yet'}")


def _dagster_home() -> Finding:
    home = os.environ.get("DAGSTER_HOME")
    folder = Path(home or Path.cwd()).absolute()
    if not (folder / "dagster.yaml").is_file():
        raise ConfigurationError(
            f"There is no dagster.yaml in {folder}.",
            "Work in the project's folder, or set DAGSTER_HOME to it.",
        )
    if home is None:
        # `intel` finds both by itself; `dg dev` and `dagster dev` do not.
        return Finding(
            "dagster home", "ok", f"{folder}: from the working folder; `intel` sets it by itself"
        )
    return Finding("dagster home", "ok", str(folder))


def _simulator(settings: Settings) -> Finding:
    if world.answers(settings.simulator):
        return Finding("simulator", "ok", f"answers at {settings.simulator}")
    return Finding("simulator", "ok", f"{settings.simulator}: starts when it is needed")


# -- sources -------------------------------------------------------------------------------------


def _sources(settings: Settings, connect: bool) -> Iterator[Finding]:
    from intel_assets.sources import registry

    specs = registry.load()
    configured = []
    for spec in specs:
        finding = _secrets(spec, settings)
        yield finding
        if finding.state == "ok":
            configured.append(spec)
    if not connect:
        return
    # Bodies go into a lake that is thrown away; the hosts' limits are those of all processes.
    with tempfile.TemporaryDirectory(prefix="intel-doctor-") as scratch:
        aside = settings.model_copy(
            update={
                "lake": str(Path(scratch) / "lake"),
                "tenant": None,
                "storage_options": {},
            }
        )
        aside.__dict__.pop("layout", None)  # What it remembers of the real lake.
        yield from _ask_all(aside, configured)


def _secrets(spec: SourceSpec, settings: Settings) -> Finding:
    check = f"source: {spec.name}"
    if not spec.secrets:
        return Finding(check, "ok", "needs no key")
    own = settings.model_copy(update={"mode": "live"})  # In demo mode every key seems to be set.
    unset = [name for name in spec.secrets if not own.secret(name)]
    told = ", ".join(f"{n}: {'not set' if n in unset else 'set'}" for n in spec.secrets)
    if unset and settings.mode == "live":
        return Finding(
            check, "warn", told, f"Get a key at {spec.homepage} and put it into .env, by its name."
        )
    return Finding(check, "ok", f"{told} (demo mode needs none)" if unset else told)


def _ask_all(settings: Settings, specs: list[SourceSpec]) -> Iterator[Finding]:
    from intel_assets.engine import open_engine
    from intel_assets.logs import configure_logs

    console = Console(stderr=True, highlight=False)
    with world.demo_world(settings), open_engine(settings, world.world_clock(settings)) as engine:
        configure_logs(verbosity(), engine.secrets(specs))
        if not verbosity():  # A refusal stands in the table.
            logging.getLogger("intel_assets").setLevel(logging.ERROR)
        for spec in specs:
            with console.status(f"Asking {spec.name} …"):
                finding = _guarded(f"connect: {spec.name}", partial(_ask, engine, spec))
            yield finding


_KNOWN_TO_ALL = [("8.8.8.8", "ipv4")]
"""What a source is asked of that can only be asked of indicators: a public resolver."""


def _ask(engine: Engine, spec: SourceSpec) -> Finding:
    from intel_assets.sources.extract import Past, extract, look_up

    # A whole day, where one that is over can be asked for.
    day = engine.lake.clock().date() - timedelta(days=spec.kind == "event")
    # One attempt: what is asked is whether it answers now.
    once = replace(spec, policy=replace(spec.policy, attempts=1))
    landing, clock = engine.lake.landing, engine.lake.clock
    with engine.upstream(once) as upstream:
        if spec.kind == "lookup":
            looked = look_up(once, _KNOWN_TO_ALL, upstream, landing, Past(), clock)
            problem, fetches = looked.error, looked.extraction.fetches
        else:
            asked = extract(once, [day], upstream, landing, Past(), clock)
            problem, fetches = asked.problems.get(day), asked.fetches
    return _answered(spec, problem, sum(fetch.bytes for fetch in fetches))


def _answered(spec: SourceSpec, problem: IntelError | None, size: int) -> Finding:
    from intel_assets import errors

    check = f"connect: {spec.name}"
    if problem is None:
        return Finding(check, "ok", f"valid: {size:,} bytes")
    status = getattr(problem, "status", None)
    if isinstance(problem, errors.NotPublished):
        return Finding(check, "ok", "valid: it has nothing for yesterday")
    if isinstance(problem, errors.Unauthorized):
        return Finding(check, "fail", f"refused: {problem.what}", f"Renew it at {spec.homepage}.")
    if status == 429:
        return Finding(check, "warn", f"over quota: {problem.what}", "Ask again later.")
    if isinstance(problem, errors.HostUnavailable):
        at = f"{problem.retry_at:%H:%M:%SZ}"
        return Finding(check, "warn", f"unreachable: {problem.what}", f"Ask again after {at}.")
    return Finding(check, "fail", f"unreachable: {problem.what}", problem.do)


COMMANDS = {"doctor": doctor}
