"""Unpacking bodies that are files in a wrapper: gzip, zip with one file, zstandard.

By what the bytes are, not by what a name or a header says. What is inside is for parsers.
"""

from __future__ import annotations

import gzip
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import zstandard

from intel_assets.errors import BodyTooLarge, ParseError
from intel_assets.lakehouse.storage import storage_errors

_CHUNK = 1 << 20
# A zstandard frame can grow 30 000 times; small bites keep one step below some 32 MiB.
_BITE = 1 << 10
_BROKEN = (
    OSError,  # gzip says "invalid" with it
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    zstandard.ZstdError,
)


def unpack(path: Path, into: Path, *, max_bytes: int) -> Path:
    """Return the file that a body holds: unpacked into a folder, or the body as it is.

    Args:
        path: The body.
        into: The folder for what is unpacked; the new file gets a name of our own.
        max_bytes: How large the unpacked file may be.

    Raises:
        ParseError: If the wrapper is truncated or broken, or a zip does not hold one file.
        BodyTooLarge: If more comes out than allowed.
        DiskFull: If the folder is full.
    """
    with path.open("rb") as body:
        head = body.read(4)
    if head.startswith(b"\x1f\x8b"):
        pieces = _gunzip(path)
    elif head in (b"PK\x03\x04", b"PK\x05\x06"):
        pieces = _unzip(path)
    elif head == zstandard.FRAME_HEADER:
        pieces = _unzstd(path)
    else:
        return path
    return _write(pieces, into, max_bytes)


def _write(pieces: Iterator[bytes], into: Path, max_bytes: int) -> Path:
    size = 0
    with storage_errors(str(into)):
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=into, suffix=".plain", delete=False) as target:
            result = Path(target.name)
            try:
                for piece in pieces:
                    size += len(piece)
                    if size > max_bytes:
                        raise BodyTooLarge(
                            f"The body unpacks to more than {max_bytes} bytes.",
                            "Raise the size limit of the source if this is right.",
                        )
                    target.write(piece)
            except BaseException:
                result.unlink()
                raise
    return result


def _gunzip(path: Path) -> Iterator[bytes]:
    with _broken("gzip"), gzip.open(path) as plain:
        yield from _pieces(plain)


def _unzip(path: Path) -> Iterator[bytes]:
    with _broken("zip"), zipfile.ZipFile(path) as archive:
        files = [member for member in archive.infolist() if not member.is_dir()]
        if len(files) != 1:
            names = ", ".join(repr(member.filename) for member in files[:5]) or "none"
            more = f" and {len(files) - 5} more" if len(files) > 5 else ""
            raise ParseError(
                f"The zip holds {len(files)} files where one is expected: {names}{more}.",
                "Unpack it and land the right file.",
            )
        if files[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # zipfile unpacks the other methods without a bound on what comes out at once; they get
            # the error that it raises itself for methods it does not know.
            raise NotImplementedError
        # The member's name is not used for anything: what it says is not to be trusted.
        with archive.open(files[0]) as plain:
            yield from _pieces(plain)


def _unzstd(path: Path) -> Iterator[bytes]:
    with _broken("zstandard"), path.open("rb") as body:
        frame = None
        while bite := body.read(_BITE):
            while bite:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                if piece := frame.decompress(bite):
                    yield piece
                bite = b""
                if frame.eof:
                    # A file may consist of several frames.
                    bite, frame = frame.unused_data, None
        if frame is not None:
            raise EOFError


def _pieces(plain: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    while piece := plain.read(_CHUNK):
        yield piece


@contextmanager
def _broken(kind: str) -> Iterator[None]:
    """Name what is wrong with a wrapper in the product's words."""
    try:
        yield
    except EOFError:
        why = "it ends too early"
    except NotImplementedError:
        why = "its compression is neither deflate nor none"
    except RuntimeError:
        why = "it is encrypted"
    except _BROKEN as error:
        # An error number means the file system, not the body.
        if getattr(error, "errno", None) is not None:
            raise
        why = str(error)
    else:
        return
    raise ParseError(f"The body is no sound {kind} file: {why}.", "Fetch it again.")
