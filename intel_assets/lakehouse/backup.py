"""A copy of a lake and of what stands beside it, made while others write. See also restore.py.

All tables are copied as they stood at one moment: each at the version it had then, with the log
up to it and the files that its past versions need for as long as they are promised. What a run
that was killed at that moment would leave is what the copy holds, and the next run goes on from
that. Bodies are copied last, so every request in the copied journal has its body.

A second backup into the same folder copies what is new. Until it is complete, the folder is still
the backup before; nothing of that is removed earlier. Bodies are kept in a backup until the lake
itself has recorded that they may go.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import obstore
import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from obstore.store import ObjectStore

from intel_assets.clock import Clock
from intel_assets.errors import StorageError, UsageError, WriteConflict
from intel_assets.lakehouse import copies
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.format import check_format, read_format
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.manifest import (
    BESIDE,
    LANDING,
    MANIFEST,
    TABLES,
    Manifest,
    SavedTable,
    files_of,
    flaw,
    read_manifest,
    write_manifest,
)
from intel_assets.lakehouse.storage import storage_errors
from intel_assets.lakehouse.views import TableName

_UNFINISHED = "unfinished"
_LOOKS = 50
_LOG = "_delta_log/"
LOG_FILE = re.compile(r"_delta_log/(\d{20})\..+")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Pinned:
    """The tables of a lake as they stood at one moment.

    Attributes:
        versions: The version of each.
        damaged: Those that cannot be read, and why.
    """

    moment: datetime
    versions: Mapping[TableName, int]
    damaged: Mapping[TableName, str]


def back_up(
    layout: Layout,
    folder: Path,
    beside: Mapping[str, tuple[Path, Sequence[Path]]],
    clock: Clock,
    *,
    verify: bool = False,
    say: Say = lambda _: None,
) -> Manifest:
    """Copy a lake, or one tenant's part of it, and what stands beside it.

    Args:
        layout: The lake.
        folder: Where to; a new folder, or that of an earlier backup.
        beside: By name, a folder of this machine and the files in it that belong to the backup.
        clock: Says when it is; the one by which bodies are received.
        verify: Whether every body is looked at, and not only those that are new in the backup.
        say: Is told what is under way.

    Raises:
        UsageError: If the folder is no place for it.
        StorageError: If something cannot be read or written.
        WriteConflict: If the tables never stood still for the blink of an eye.
    """
    check_format(layout)
    lake_format = read_format(layout)
    if lake_format is None:
        raise UsageError(f"There is no lake at {layout.base}.", "Set INTEL_LAKE to one.")
    return _Backup(layout, folder, say).run(beside, clock, lake_format, verify=verify)


def pin(layout: Layout, clock: Clock) -> Pinned:
    """Find a moment at which each table stands at a version that is known.

    Raises:
        WriteConflict: If there was none in so many looks.
    """
    found: dict[TableName, int] = {}
    damaged: dict[TableName, str] = {}
    store = layout.store(layout.base)
    moved: Sequence[TableName] = Catalog(layout).tables()
    for _ in range(_LOOKS):
        for name in moved:
            try:
                uri = layout.table_uri(*name)
                found[name] = DeltaTable(
                    uri, storage_options=dict(layout.storage_options) or None
                ).version()
            except (DeltaError, OSError, ValueError) as error:
                damaged[name] = str(error).strip().partition("\n")[0]
        # Each stood at its version since it was looked at, if it still does now.
        moment = clock()
        moved = [name for name in _moved(store, found)]
        moved += [
            name for name in Catalog(layout).tables() if name not in found and name not in damaged
        ]
        if not moved:
            return Pinned(moment, found, damaged)
    raise WriteConflict(
        "The tables were written all the time.", "Make the backup when fewer runs are under way."
    )


class _Backup:
    """One backup under way."""

    def __init__(self, layout: Layout, folder: Path, say: Say) -> None:
        self._layout = layout
        self._folder = folder.absolute()
        self._say = say
        self._store = layout.store(layout.base)
        self._before = read_manifest(self._folder)
        self._copied = 0
        self._left: dict[str, str] = {}

    def run(
        self,
        beside: Mapping[str, tuple[Path, Sequence[Path]]],
        clock: Clock,
        lake_format: int,
        *,
        verify: bool,
    ) -> Manifest:
        self._check_folder()
        with storage_errors(str(self._folder)):
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / _UNFINISHED).touch()
        self._say("tables: looking at their versions")
        pinned = pin(self._layout, clock)
        for name, why in pinned.damaged.items():
            self._leave(name, why)
        tables: dict[str, SavedTable] = {}
        listings: dict[str, set[str]] = {}
        for number, (name, version) in enumerate(pinned.versions.items(), 1):
            self._say(f"tables: {name} ({number} of {len(pinned.versions)})")
            saved, listing = self._copy_table(name, version)
            copy = self._folder / TABLES / name.layer / name.name / saved.folder
            found = flaw(copy, version)
            if found is None:
                # A file that the lake has lost since the backup before is needed all the same.
                tables[str(name)] = saved
                listings[str(name)] = listing | set(files_of(copy, version))
            else:
                self._leave(name, found)
        bodies = self._copy_landing(verify=verify)
        files = {name: self._copy_beside(name, *given) for name, given in beside.items()}
        manifest = Manifest(
            moment=pinned.moment,
            lake=self._layout.base,
            tenant=self._layout.tenant,
            lake_format=lake_format,
            tables=tables,
            bodies=len(bodies),
            bytes=sum(table.bytes for table in tables.values()) + sum(bodies.values()),
            beside=files,
            left=self._left,
            copied=self._copied,
        )
        os.sync()
        write_manifest(self._folder, manifest)
        (self._folder / _UNFINISHED).unlink()
        self._prune(manifest, listings, set(bodies), beside)
        return manifest

    # -- tables ----------------------------------------------------------------------------------

    def _copy_table(self, name: TableName, version: int) -> tuple[SavedTable, set[str]]:
        prefix = f"{name.layer}/{name.name}"
        source = copies.listed(self._store, prefix)
        log = {
            path: size
            for path, size in source.items()
            if (found := LOG_FILE.fullmatch(path)) and int(found[1]) <= version
        }
        data = {
            path: size for path, size in source.items() if path.endswith(".parquet")
            and not path.startswith(_LOG)
        }  # fmt: skip
        target = self._target(name, prefix, log)
        # Files first, and the log, which names them, after them.
        for wanted in (data, log):
            self._copied += len(
                copies.bring_all(self._store, prefix, wanted, target, lambda _: None)
            )
        held = data | log
        saved = SavedTable(target.name, version, len(held), sum(held.values()))
        return saved, set(held)

    def _target(self, name: TableName, prefix: str, log: Mapping[str, int]) -> Path:
        """Return the folder of a table, without the log that an unfinished backup left in it."""
        root = self._folder / TABLES / name.layer / name.name
        before = self._before.tables.get(str(name)) if self._before else None
        if before is not None and self._same_line(root / before.folder, prefix, before.version):
            target, version = root / before.folder, before.version
        else:
            taken = {before.folder} if before else set()
            kept = {folder.name for folder in root.glob("*")} if self._before else set()
            number = 1
            while (folder := f"{number}") in taken | kept:
                number += 1
            target, version = root / folder, -1
        for file in target.glob(f"{_LOG}*"):
            found = LOG_FILE.fullmatch(f"{_LOG}{file.name}")
            if found is None or int(found[1]) > version:
                file.unlink()
        return target

    def _same_line(self, saved: Path, prefix: str, version: int) -> bool:
        """Whether a table has the past that was saved: no table made anew, no lake set back."""
        entry = f"{_LOG}{version:020}.json"
        try:
            theirs = bytes(obstore.get(self._store, f"{prefix}/{entry}").bytes())
            return (saved / entry).read_bytes() == theirs
        except FileNotFoundError:
            return False

    def _leave(self, name: TableName, why: str) -> None:
        """Go on without a table that is damaged, if it can be built again.

        Raises:
            StorageError: If it cannot: then the backup before is worth more than this one.
        """
        if name.layer == "ops":
            raise StorageError(
                f"{name} is damaged: {why}.",
                "It cannot be made again: bring it back from the backup before, which stays.",
            )
        self._left[str(name)] = f"is damaged: {why}"

    # -- the rest --------------------------------------------------------------------------------

    def _copy_landing(self, *, verify: bool) -> dict[str, int]:
        source = copies.listed(self._store, LANDING)
        bodies = {path: size for path, size in source.items() if path.endswith(".zst")}
        target = self._folder / LANDING
        done = 0

        def told(_: str) -> None:
            nonlocal done
            done += 1
            if done % 100 == 0:
                self._say(f"landing: {done:,} bodies copied")

        self._say(f"landing: {len(bodies):,} bodies")
        new = copies.bring_all(self._store, LANDING, bodies, target, told)
        self._copied += len(new)
        looked_at = sorted(bodies) if verify else new
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            whole = pool.map(lambda path: copies.is_body(target / path, Path(path).stem), looked_at)
            for path, good in zip(looked_at, whole, strict=True):
                if not good:
                    # It would stand for the body for ever; the next backup tries it again.
                    (target / path).unlink()
                    del bodies[path]
                    self._left[f"landing/{path}"] = "is damaged"
        return bodies

    def _copy_beside(self, name: str, source: Path, files: Sequence[Path]) -> int:
        self._say(f"{name}: {len(files):,} files")
        target = self._folder / BESIDE / name
        self._copied += copies.copy_databases(source, target, files)
        return len(files)

    def _check_folder(self) -> None:
        if self._layout.is_local and self._folder.is_relative_to(self._layout.base):
            raise UsageError(f"{self._folder} lies in the lake.", "Name a folder outside of it.")
        ours = (MANIFEST, _UNFINISHED)
        if self._folder.is_dir() and any(self._folder.iterdir()):
            if not any((self._folder / name).exists() for name in ours):
                raise UsageError(f"{self._folder} holds something else.", "Name an empty folder.")
        elif self._folder.exists() and not self._folder.is_dir():
            raise UsageError(f"{self._folder} is no folder.", "Name another place.")
        before = self._before
        if before is not None and before.tenant != self._layout.tenant:
            whose = f"of the tenant {before.tenant}" if before.tenant else "of no tenant"
            raise UsageError(f"{self._folder} is a backup {whose}.", "Name another folder.")

    def _prune(
        self,
        manifest: Manifest,
        listings: Mapping[str, set[str]],
        bodies: set[str],
        beside: Mapping[str, tuple[Path, Sequence[Path]]],
    ) -> None:
        """Remove what the complete backup does not need; folders of tables made anew stay."""
        for name, table in manifest.tables.items():
            layer, _, own = name.partition(".")
            folder = self._folder / TABLES / layer / own / table.folder
            _remove(folder, set(copies.present(folder)) - listings[name])
        purged = self._purged(manifest)
        landing = self._folder / LANDING
        there = set(copies.present(landing)) - bodies
        _remove(landing, {path for path in there if Path(path).stem in purged})
        for name, (source, files) in beside.items():
            kept = {file.relative_to(source).as_posix() for file in files}
            _remove(
                self._folder / BESIDE / name,
                set(copies.present(self._folder / BESIDE / name)) - kept,
            )

    def _purged(self, manifest: Manifest) -> set[str]:
        """Return the bodies that the lake recorded as out of the way."""
        table = manifest.tables.get("ops.purges")
        if table is None:
            return set()
        where = self._folder / TABLES / "ops" / "purges" / table.folder
        rows = pl.read_delta(str(where), version=table.version).sort("recorded_at")
        last = rows.unique("body_sha256", keep="last", maintain_order=True)
        return set(last.filter(pl.col("stage").is_in(["aside", "gone"]))["body_sha256"])


def _moved(store: ObjectStore, versions: Mapping[TableName, int]) -> list[TableName]:
    """Return the tables that have a version after the one that is known."""

    def has_next(name: TableName) -> bool:
        entry = f"{name.layer}/{name.name}/{_LOG}{versions[name] + 1:020}.json"
        try:
            obstore.head(store, entry)
        except FileNotFoundError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        return [
            name
            for name, moved in zip(versions, pool.map(has_next, versions), strict=True)
            if moved
        ]


def _remove(folder: Path, paths: set[str]) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            (folder / path).unlink()
