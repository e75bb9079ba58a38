"""The `intel` command. One file for each kind of work; nothing heavy is imported here.

Commands that only ask (`sql`, `status`, `quarantine`) import neither Dagster nor Pandera, so that
they answer at once.
"""

from __future__ import annotations

import sys
import traceback

import typer
from rich.console import Console

from intel_assets import __version__
from intel_assets.cli import ask, build, serve
from intel_assets.cli.verbosity import set_verbosity, verbosity
from intel_assets.errors import IntelError

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


@app.callback()
def _options(
    verbose: int = typer.Option(
        0, "--verbose", "-v", count=True, help="Say more; twice for everything, with tracebacks."
    ),
    version: bool = typer.Option(False, "--version", help="Say the version and stop."),
) -> None:
    set_verbosity(verbose)
    if version:
        typer.echo(__version__)
        raise typer.Exit


for module in (build, ask, serve):
    for name, command in module.COMMANDS.items():
        app.command(name)(command)


def main() -> None:
    """Run the command; a failure is at most three lines and an exit code."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
    except IntelError as error:
        if verbosity():
            traceback.print_exc()
        errors.print(f"[red]{type(error).__name__}[/]: ", end="")
        errors.print(error.what, markup=False)
        if error.do:
            errors.print(error.do, markup=False)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if verbosity():
            traceback.print_exc()
        errors.print(f"[red]Unexpected {type(error).__name__}[/]: ", end="")
        errors.print(str(error).split("\n")[0], markup=False)
        errors.print("This is a defect; `intel -v …` shows where it happened.", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
