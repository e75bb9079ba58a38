"""What stands in a backup's folder, and the manifest that makes it a complete one."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from intel_assets import __version__
from intel_assets.errors import LakeTooNew, StorageError
from intel_assets.lakehouse import copies
from intel_assets.lakehouse.format import FORMAT
from intel_assets.lakehouse.storage import storage_errors

BACKUP_FORMAT = 1
MANIFEST = "manifest.json"
TABLES, LANDING, BESIDE = "tables", "landing", "beside"


@dataclass(frozen=True)
class SavedTable:
    """A table in a backup.

    Attributes:
        folder: Its folder below `tables/<layer>/<name>`: a table that was made anew, or a lake
            that was set back, gets another.
        version: The version that it stood at.
        files: Files that it and its past versions consist of.
    """

    folder: str
    version: int
    files: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a complete backup holds.

    Attributes:
        moment: What the lake says as of that moment is in it.
        lake: Where the lake was.
        lake_format: The lake's format.
        tables: By `layer.name`.
        bodies: Bodies in landing.
        beside: What else is in it, with the number of its files: Dagster's storage, state.
        left: What is not in it, and why.
        copied: Files that this backup copied; the others were there.
    """

    moment: datetime
    lake: str
    tenant: str | None
    lake_format: int
    tables: dict[str, SavedTable]
    bodies: int
    bytes: int
    beside: dict[str, int] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    copied: int = 0
    intel: str = __version__
    backup_format: int = BACKUP_FORMAT


def read_manifest(folder: Path) -> Manifest | None:
    """Return what a complete backup holds; None if there is none.

    Raises:
        LakeTooNew: If a newer version of this program made it.
        StorageError: If it is damaged.
    """
    file = folder / MANIFEST
    try:
        told = json.loads(file.read_text("utf-8"))
        if told["backup_format"] > BACKUP_FORMAT or told["lake_format"] > FORMAT:
            raise LakeTooNew(
                f"The backup {folder} was made by intel {told['intel']}, which is newer.",
                "Use that version, or a newer one.",
            )
        tables = {name: SavedTable(**table) for name, table in told.pop("tables").items()}
        moment = datetime.fromisoformat(told.pop("moment"))
        return Manifest(moment=moment, tables=tables, **told)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{file} is damaged: {error}.", "Make the backup anew, in another folder."
        ) from None


def flaw(table: Path, version: int) -> str | None:
    """Return what a table's copy lacks to be read at a version; None if nothing."""
    try:
        wanted = files_of(table, version)
    except (DeltaError, OSError) as error:
        return str(error).strip().partition("\n")[0]
    held = copies.present(table)
    return next(
        (f"{path} is not there, or not whole" for path in wanted if held.get(path) != wanted[path]),
        None,
    )


def files_of(table: Path, version: int) -> dict[str, int]:
    """Return the files that a version of a table consists of, with their sizes."""
    files = pl.DataFrame(DeltaTable(str(table), version=version).get_add_actions(flatten=True))
    return dict(files.select("path", "size_bytes").iter_rows())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make a folder the backup that a manifest tells of."""
    told = asdict(manifest) | {"moment": manifest.moment.isoformat()}
    with storage_errors(str(folder)):
        part = folder / f"{MANIFEST}.part"
        with part.open("w", encoding="utf-8") as out:
            json.dump(told, out, indent=1)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        part.replace(folder / MANIFEST)
