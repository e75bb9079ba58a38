"""Copies of files: what stands under a name is whole, or not there.

For backup and restore. Nothing here knows what a file means.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import obstore
import zstandard
from obstore.store import ObjectStore

from intel_assets.errors import DiskFull
from intel_assets.lakehouse.storage import storage_errors

_CHUNK = 1 << 20
_AT_ONCE = 4
_PART = ".part"
_SPARE = 64 * 2**20


def listed(store: ObjectStore, prefix: str) -> dict[str, int]:
    """Return the files below a prefix, relative to it, with their sizes."""
    return {
        entry["path"].removeprefix(f"{prefix}/"): entry["size"]
        for batch in obstore.list(store, prefix)
        for entry in batch
        if entry["path"].startswith(f"{prefix}/")
    }


def present(folder: Path) -> dict[str, int]:
    """Return the whole files below a folder, relative to it, with their sizes."""
    return {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in folder.rglob("*")
        if file.is_file() and not file.name.endswith(_PART)
    }


def bring(store: ObjectStore, path: str, target: Path) -> None:
    """Copy a file out of a store."""
    with storage_errors(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + _PART)
        with part.open("wb") as out:
            for piece in obstore.get(store, path).stream(min_chunk_size=_CHUNK):
                out.write(piece)
        part.replace(target)


def bring_all(
    store: ObjectStore,
    prefix: str,
    wanted: Mapping[str, int],
    folder: Path,
    told: Callable[[str], None],
) -> list[str]:
    """Copy the files that a folder does not have yet, several at a time; return which.

    Args:
        store: Where they are.
        prefix: Below which.
        wanted: Paths below the prefix, with their sizes.
        folder: Where to; a file of that name and size is the same file.
        told: Is told of each file.

    Raises:
        DiskFull: If there is no room for them.
    """
    held = present(folder)
    new = [path for path, size in sorted(wanted.items()) if held.get(path) != size]
    need_room(folder, sum(wanted[path] for path in new))
    each(new, lambda path: bring(store, f"{prefix}/{path}", folder / path), told)
    return new


def put_all(
    folder: Path,
    wanted: Iterable[str],
    store: ObjectStore,
    prefix: str,
    told: Callable[[str], None],
) -> None:
    """Copy files of a folder into a store, several at a time."""

    def put(path: str) -> None:
        with storage_errors(prefix):
            obstore.put(store, f"{prefix}/{path}", folder / path)

    each(sorted(wanted), put, told)


def each(paths: Sequence[str], work: Callable[[str], None], told: Callable[[str], None]) -> None:
    """Do something to each path, several at a time; the first that fails ends it."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            doing = [pool.submit(work, path) for path in paths]
            for path, done in zip(paths, doing, strict=True):
                done.result()
                told(path)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def need_room(folder: Path, size: int) -> None:
    """Refuse to begin what would fill the disk.

    Raises:
        DiskFull: If there is no room for so many bytes.
    """
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    if size + _SPARE > free:
        raise DiskFull(
            f"{size / 2**20:,.0f} MiB are to be copied to {folder}, and {free / 2**20:,.0f} MiB "
            "are free there.",
            "Free some space, or name another folder.",
        )


def copy_database(source: Path, target: Path) -> None:
    """Copy a database of SQLite as it stands at one moment, while others write to it."""
    with storage_errors(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + _PART)
        part.unlink(missing_ok=True)
        changed = _changed(source)
        with (
            closing(sqlite3.connect(source, timeout=60.0)) as whence,
            closing(sqlite3.connect(part)) as whither,
        ):
            whence.backup(whither)
        os.utime(part, ns=(changed, changed))
        part.replace(target)


def copy_databases(source: Path, target: Path, files: Iterable[Path]) -> int:
    """Copy databases and other files of a folder that changed; return how many were copied.

    Args:
        source: The folder.
        target: Where to.
        files: Files below the source.
    """
    count = 0
    for file in files:
        copy = target / file.relative_to(source)
        if copy.exists() and copy.stat().st_mtime_ns >= _changed(file):
            continue
        if file.name.endswith((".db", ".sqlite")):
            copy_database(file, copy)
        else:
            with storage_errors(str(copy)):
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy)
        count += 1
    return count


def is_body(file: Path, sha256: str) -> bool:
    """Whether a compressed file holds the bytes of a digest."""
    digest = hashlib.sha256()
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    try:
        with file.open("rb") as packed:
            while piece := packed.read(_CHUNK // 16):
                digest.update(unpacker.decompress(piece))
    except zstandard.ZstdError:
        return False
    return digest.hexdigest() == sha256


def _changed(file: Path) -> int:
    log = Path(f"{file}-wal")
    with_log = [file, log] if log.exists() else [file]
    return max(one.stat().st_mtime_ns for one in with_log)
