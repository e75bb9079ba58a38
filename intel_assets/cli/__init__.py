"""The `intel` command. One file for each kind of work; nothing heavy is imported here.

Commands that only ask (`sql`, `status`, `quarantine`) import neither Dagster nor Pandera, so that
they answer at once; those that watch import no Dagster.
"""

from __future__ import annotations

import sys
import traceback
from typing import NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from intel_assets import __version__
from intel_assets.cli import (
    ask,
    build,
    decay,
    doctor,
    enrich,
    export,
    keep,
    lookup,
    own_lists,
    serve,
    status,
    watch,
)
from intel_assets.cli.verbosity import set_verbosity, verbosity
from intel_assets.errors import IntelError, UsageError

_INTERRUPTED = 130

app = typer.Typer(
    name="intel",
    help="An intelligence lakehouse: fetch, keep, check and ask threat feeds and more.",
    epilog="INTEL_LAKE (a folder or URI) and INTEL_MODE (demo or live) say where and how; .env is "
    "read. Exit codes: 2 usage, 3 configuration, 4 upstream, 5 data, 6 storage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    verbose: int = typer.Option(
        0, "--verbose", "-v", count=True, help="Say more; twice for everything, with tracebacks."
    ),
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Say the version and stop."
    ),
) -> None:
    set_verbosity(verbose)


for module in (build, status, ask, lookup, enrich, own_lists, decay, watch, keep, doctor, serve):
    for name, command in module.COMMANDS.items():
        app.command(name)(command)
for name, group in {**watch.APPS, **export.APPS}.items():
    app.add_typer(group, name=name)


def main() -> None:
    """Run the command; a failure is at most three lines and an exit code."""
    try:
        code = app(prog_name="intel", standalone_mode=False)
        if code == _INTERRUPTED:  # What Typer makes of an interrupt.
            raise typer.Abort
        sys.exit(code if isinstance(code, int) else 0)
    except IntelError as error:
        _fail(type(error).__name__, error.what, error.do, error.exit_code)
    except TyperException as error:
        _fail("UsageError", *_said(error), UsageError.exit_code)
    except typer.Abort:
        _fail("Stopped", "what was written so far stands.", "", _INTERRUPTED)
    except SystemExit as left:
        # Typer makes a failure of a reader that has seen enough, as `| head` has.
        if isinstance(left.__context__, BrokenPipeError):
            sys.exit(0)
        raise
    except Exception as error:
        what = str(error).split("\n")[0]
        do = "This is a defect; `intel -v …` shows where it happened."
        _fail(f"Unexpected {type(error).__name__}", what, do, 1)


def _said(error: TyperException) -> tuple[str, str]:
    """Return what is wrong with the command line, and where its help is."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "intel"
    lines = [line.strip() for line in error.format_message().splitlines() if line.strip()]
    if not lines:  # `intel` alone, which showed its help.
        sys.exit(UsageError.exit_code)
    return " ".join(lines), f"`{path} --help` shows how it is used."


def _fail(kind: str, what: str, do: str, code: int) -> NoReturn:
    if verbosity():
        traceback.print_exc()
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    errors.print(f"[red]{kind}[/]: ", end="")
    errors.print(what, markup=False)
    if do:
        errors.print(do, markup=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
