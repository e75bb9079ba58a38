"""Commands that keep the lake well: `upkeep`, `backup`, `restore`.

What they need is imported when they are called.
"""

from __future__ import annotations

import json as text
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from intel_assets.cli import show
from intel_assets.clock import system_clock
from intel_assets.errors import StorageError, UsageError
from intel_assets.settings import Settings, load_settings
from intel_assets.world import world_clock

if TYPE_CHECKING:
    from intel_assets.lakehouse.backup import Say
    from intel_assets.lakehouse.manifest import Manifest

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
_MIB = 2**20
_PATIENCE = 3600.0
_SIDE_FILES = ("-wal", "-shm", "-journal", ".lock", ".part")
_say = Console(stderr=True, highlight=False, soft_wrap=True)


def upkeep(json: AsJson = False) -> None:
    """Do now what is done every night: tables, landing, Dagster's history.

    Small files are merged, files that no promise needs are removed, bodies that said nothing new
    leave landing after as many days as their source says, Dagster's runs are forgotten after
    INTEL_RUN_HISTORY_DAYS. No answer changes by it, now or as of any moment. Runs may be under
    way.
    """
    settings = load_settings()

    from intel_assets.cli.verbosity import verbosity
    from intel_assets.logs import configure_logs
    from intel_assets.orchestration.instance import open_instance
    from intel_assets.orchestration.upkeep import keep

    configure_logs(verbosity(), {})
    with open_instance(settings) as instance, _say.status("upkeep"):
        done = keep(settings, instance)
    if any(part.busy for part in done):
        raise UsageError("Another upkeep, or a backup, is under way.", "Wait until it is done.")
    columns = ["part", "what", "count"]
    values = [(p.part, name, number) for p in done for name, number in p.numbers.items()]
    (show.records if json else show.rows)(columns, values)
    left = {name: why for part in done for name, why in part.left.items()}
    for name, why in left.items():
        _say.print(f"{name}: left for the next time: {why}", markup=False)
    if left:
        raise StorageError(f"{len(left)} were left.", "See above; `intel doctor` may say more.")


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder, or that of an earlier backup.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Look at every body in it, not only at new ones.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Copy the lake, Dagster's storage and the limits of hosts, while runs are under way.

    All tables as of one moment, with the versions that --shown-at reaches back to. A second backup
    into the same folder copies what is new; until it is complete, the folder is the one before. A
    tenant's part has a backup of its own (INTEL_TENANT).
    """
    settings = load_settings()

    from intel_assets.lakehouse.backup import back_up
    from intel_assets.lakehouse.lock import alone

    with (
        _progress("waiting for the upkeep that is under way") as say,
        alone(settings.state.absolute(), settings.tenant, patience=_PATIENCE) as free,
    ):
        if not free:
            raise UsageError("Another upkeep, or a backup, is under way.", "Wait for its end.")
        beside = {
            name: (where, files)
            for name, where in _beside(settings).items()
            if (files := _files(name, where))
        }
        manifest = back_up(
            settings.layout, folder, beside, world_clock(settings), verify=verify, say=say
        )
    if json:
        _tell(manifest)
    else:
        new = f"{manifest.copied:,} files were new"
        typer.echo(f"{folder} holds {manifest.lake} {_what(manifest)}; {new}.")
    if "dagster" not in manifest.beside:
        _say.print("Dagster has no storage in files here; nothing of it is in the backup.")
    for name, why in manifest.left.items():
        _say.print(f"Not in it: {name} {why}", markup=False)
    if manifest.left:
        raise StorageError(
            f"{len(manifest.left)} parts of the lake are not in the backup.",
            "See above. The rest is, and can be restored.",
        )


def restore(
    folder: Annotated[Path, typer.Argument(help="The folder of a backup.")],
    force: Annotated[
        bool, typer.Option("--force", help="Move aside what is there; nothing is deleted.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Bring back what a backup holds, into an empty place.

    Stop `intel ui` first. With --force, what is there is moved into a folder `before-…` beside it.
    """
    settings = load_settings()

    from intel_assets.lakehouse.catalog import Catalog
    from intel_assets.lakehouse.format import FORMAT
    from intel_assets.lakehouse.lock import alone
    from intel_assets.lakehouse.restore import restore as bring_back

    layout = settings.layout
    with (
        _progress("looking at the backup") as say,
        alone(settings.state.absolute(), settings.tenant) as free,
    ):
        _refuse_runs(settings)
        if not free:
            raise UsageError("An upkeep, or a backup, is under way.", "Wait until it is done.")
        done = bring_back(folder, layout, _beside(settings), system_clock(), force=force, say=say)
    manifest = done.manifest
    if layout.is_local and manifest.lake_format == FORMAT:
        Catalog(layout).write_shipped()
    if json:
        _tell(manifest, aside=[str(path) for path in done.aside], lake=layout.base)
        return
    typer.echo(f"{layout.base} is restored {_what(manifest)}.")
    for path in done.aside:
        typer.echo(f"What was there before is in {path}; remove it when all is well.")
    if manifest.lake_format < FORMAT:
        typer.echo("It is of an older format: run `intel upgrade` next.")
        return
    typer.echo("`intel status` shows how the sources stand, `intel gaps` what is missing since.")


def _beside(settings: Settings) -> dict[str, Path]:
    """Return the folders of this machine that belong to a backup."""
    from intel_assets.orchestration.instance import STORAGE, environment

    dagster = Path(environment(settings)[STORAGE])
    return {"dagster": dagster, "state": settings.state.absolute()}


def _files(name: str, where: Path) -> list[Path]:
    """Return the files of a folder that belong to a backup."""
    if name == "state":
        return sorted(where.glob("*.sqlite"))
    if not (where / "history" / "runs.db").is_file():
        return []
    return sorted(
        file
        for file in where.rglob("*")
        if file.is_file()
        and not file.name.endswith(_SIDE_FILES)
        and not file.relative_to(where).parts[0].startswith(("before-", ".restoring"))
    )


def _refuse_runs(settings: Settings) -> None:
    """Refuse while a run of ours works: it holds a lock while it lives (liveness.py)."""
    from filelock import FileLock, Timeout

    for file in (settings.state.absolute() / "runs").glob("*.lock"):
        try:
            with FileLock(file, timeout=0):
                pass
        except Timeout:
            raise UsageError(
                f"The run {file.stem[:8]} is under way.", "Stop `intel ui`, and wait for its end."
            ) from None


@contextmanager
def _progress(first: str) -> Iterator[Say]:
    with _say.status(first) as status:
        yield status.update


def _what(manifest: Manifest) -> str:
    return (
        f"as of {_moment(manifest.moment)}: {len(manifest.tables)} tables, "
        f"{manifest.bodies:,} bodies, {manifest.bytes / _MIB:,.1f} MiB"
    )


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _tell(manifest: Manifest, **more: object) -> None:
    told = asdict(manifest) | {"moment": _moment(manifest.moment)} | more
    sys.stdout.write(text.dumps(told, indent=2) + "\n")


COMMANDS = {"upkeep": upkeep, "backup": backup, "restore": restore}
