"""What goes wrong with storage, told so that a person can act on it.

One translation for the file system, the object store, Delta and SQLite. Nothing here stores
anything.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from intel_assets.errors import DiskFull, IntelError, LakeReadOnly, StorageError

_FULL = ("no space left", "disk quota exceeded", "disk is full")
_READ_ONLY = ("read-only file system", "readonly database", "read-only database")
_FORBIDDEN = (
    "permission denied",
    "operation not permitted",
    "accessdenied",
    "access denied",
    "unable to open database file",
)
_BY_ERRNO = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
}


@contextmanager
def storage_errors(place: str) -> Iterator[None]:
    """Turn a full disk or a refused access into an error that names the place.

    The libraries below (object store, Delta, SQLite) pass the system's words on as text and in
    classes of their own, so the words are looked at, and the error number where there is one.
    Every other error goes through unchanged.

    Args:
        place: The path or URI that is read or written.

    Raises:
        DiskFull: If no space is left there.
        LakeReadOnly: If this user may not read or write there.
    """
    try:
        yield
    except IntelError:
        raise
    except Exception as error:
        told = _told(error, place)
        if told is None:
            raise
        raise told from error


def _told(error: Exception, place: str) -> StorageError | None:
    number = error.errno if isinstance(error, OSError) else None
    known = _BY_ERRNO.get(number) if number is not None else None
    said = f"{type(error).__name__}: {error}".lower()
    if known is _FULL or any(words in said for words in _FULL):
        return DiskFull(
            f"No space is left for {place}.", "Free some space, or put the lake on a larger disk."
        )
    if known is _READ_ONLY or any(words in said for words in _READ_ONLY):
        return LakeReadOnly(
            f"{place} is read-only.", "Make it writable, or set INTEL_LAKE to another place."
        )
    if known is _FORBIDDEN or any(words in said for words in _FORBIDDEN):
        return LakeReadOnly(
            f"This user may not read or write {place}.",
            "Change its permissions, or set INTEL_LAKE to another place.",
        )
    return None
