"""Writing files that others read at any time: aside first, and then in place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def put(file: Path, pieces: Iterable[str]) -> None:
    """Write a file; whoever reads it meanwhile gets the old one or the new one, and whole.

    Raises:
        OSError: If it cannot be written; the old one stands.
    """
    aside = file.with_name(f".{file.name}.new")
    try:
        with aside.open("w", encoding="utf-8") as stream:
            stream.writelines(pieces)
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)
