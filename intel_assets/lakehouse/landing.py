"""The landing: bodies as received, each stored once under its SHA-256, compressed.

Bytes in, bytes out. Nothing here knows where a body came from or what it means.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import obstore
import zstandard
from obstore.exceptions import AlreadyExistsError, BaseError

from intel_assets.errors import StorageError
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.storage import storage_errors

CHUNK = 1 << 20
# A conditional put holds the whole object in memory; larger ones go up in parts instead.
_WHOLE = 16 * CHUNK
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Body:
    """A body that stands in the landing.

    Attributes:
        sha256: The digest of the plain bytes, 64 hex digits.
        size: The number of plain bytes.
        path: A local file with the plain bytes, there until the body is discarded or the landing
            is closed.
        known: Whether the landing already held it.
    """

    sha256: str
    size: int
    path: Path
    known: bool


class Landing:
    """The content-addressed store of one lake, or of one tenant in it.

    Safe to share between threads; each writer belongs to one thread.
    """

    def __init__(self, layout: Layout, spool: Path | None = None) -> None:
        """Open the landing of a layout.

        Args:
            layout: Where the lake is.
            spool: A local folder for bodies under way; by default one that lives as long as this
                landing.
        """
        self.uri = layout.landing_uri
        self._layout = layout
        self._store: obstore.store.ObjectStore | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if spool is None:
            with storage_errors(tempfile.gettempdir()):
                self._folder = tempfile.TemporaryDirectory(prefix="intel-spool-")
            spool = Path(self._folder.name)
        self.spool = spool

    def __enter__(self) -> Self:
        """Return the landing itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the landing."""
        self.close()

    def close(self) -> None:
        """Remove the spool, if this landing made it."""
        if self._folder is not None:
            self._folder.cleanup()

    def writer(self) -> LandingWriter:
        """Return a writer for one body."""
        return LandingWriter(self)

    def put_file(self, path: Path) -> Body:
        """Store a file's bytes.

        Raises:
            StorageError: If the lake or the spool cannot be written.
        """
        with path.open("rb") as source, self.writer() as writer:
            while chunk := source.read(CHUNK):
                writer.write(chunk)
            return writer.commit()

    def exists(self, sha256: str) -> bool:
        """Return whether a body is held."""
        try:
            with storage_errors(self.uri):
                # A machine that lost power can leave an empty object: that is not the body.
                return obstore.head(self.store, _key(sha256))["size"] > 0
        except FileNotFoundError:
            return False

    @contextmanager
    def open(self, sha256: str) -> Iterator[Path]:
        """Give a local file with a body's plain bytes, checked against its digest.

        The file is removed on leaving.

        Raises:
            StorageError: If the body is not held, or is damaged.
        """
        path = self.spool_file(".plain")
        try:
            with storage_errors(self.uri):
                self._unpack(sha256, path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def set_aside(self, sha256: str) -> None:
        """Take a body out of the way, from where `put_back` can bring it again.

        To whoever stores it anew meanwhile, it is not there.
        """
        with storage_errors(self.uri), suppress(FileNotFoundError):
            obstore.rename(self.store, _key(sha256), _aside(sha256))

    def put_back(self, sha256: str) -> None:
        """Bring back a body that was set aside; nothing happens if it was not."""
        with storage_errors(self.uri), suppress(FileNotFoundError):
            if self.exists(sha256):
                obstore.delete(self.store, _aside(sha256))
            else:
                obstore.rename(self.store, _aside(sha256), _key(sha256))

    def drop(self, sha256: str) -> int:
        """Remove for good a body that was set aside; return its size as stored."""
        with storage_errors(self.uri), suppress(FileNotFoundError):
            size = int(obstore.head(self.store, _aside(sha256))["size"])
            obstore.delete(self.store, _aside(sha256))
            return size
        return 0

    def discard(self, body: Body) -> None:
        """Free the local file of a body that is done with; the landing keeps the body."""
        body.path.unlink(missing_ok=True)

    @property
    def store(self) -> obstore.store.ObjectStore:
        """The object store below this landing."""
        if self._store is None:
            try:
                with storage_errors(self.uri):
                    self._store = self._layout.store(self.uri)
            except (OSError, BaseError) as error:
                raise StorageError(
                    f"The landing {self.uri} cannot be opened: {error}.",
                    "Check INTEL_LAKE and its storage options.",
                ) from error
        return self._store

    def spool_file(self, suffix: str) -> Path:
        """Return a new empty file in the spool.

        Raises:
            StorageError: If the spool cannot be written.
        """
        with storage_errors(str(self.spool)):
            self.spool.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(suffix=suffix, dir=self.spool)
            os.close(handle)
        return Path(name)

    def keep(self, sha256: str, packed: Path) -> bool:
        """Store a compressed body unless it is there; return whether it was."""
        if self.exists(sha256):
            return True
        large = packed.stat().st_size > _WHOLE
        with storage_errors(self.uri):
            try:
                # A large body goes up in parts, which appear under the key only when complete;
                # whoever else writes that key at that moment writes the same bytes.
                obstore.put(self.store, _key(sha256), packed, mode=None if large else "create")
            except AlreadyExistsError:
                if self.exists(sha256):
                    return True
                obstore.put(self.store, _key(sha256), packed)
        return False

    def _unpack(self, sha256: str, path: Path) -> None:
        key = _key(sha256)
        digest = hashlib.sha256()
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        try:
            with path.open("wb") as plain:
                for piece in obstore.get(self.store, key).stream(min_chunk_size=CHUNK):
                    # Small bites: a damaged frame must not blow up in one step.
                    view = memoryview(piece)
                    for at in range(0, len(view), CHUNK // 16):
                        data = unpacker.decompress(view[at : at + CHUNK // 16])
                        digest.update(data)
                        plain.write(data)
        except FileNotFoundError:
            raise StorageError(
                f"The landing {self.uri} does not hold the body {sha256}.",
                "Fetch it again, or restore the landing from a backup.",
            ) from None
        except zstandard.ZstdError:
            raise self._damaged(sha256) from None
        if digest.hexdigest() != sha256:
            raise self._damaged(sha256)

    def _damaged(self, sha256: str) -> StorageError:
        return StorageError(
            f"The body {sha256} in the landing {self.uri} is damaged.",
            f"Restore {_key(sha256)} from a backup, or remove it and fetch again.",
        )


class LandingWriter:
    """Takes one body in chunks; it counts only when committed.

    Use as a context manager: leaving without `commit` leaves nothing behind.
    """

    def __init__(self, landing: Landing) -> None:
        """Prepare the spool files of one body."""
        self._landing = landing
        self._digest = hashlib.sha256()
        self.size = 0
        self._committed = False
        self._plain_path = landing.spool_file(".plain")
        self._packed_path = landing.spool_file(".zst")
        with storage_errors(str(landing.spool)):
            self._plain = self._plain_path.open("wb")
            self._packed = self._packed_path.open("wb")
        # Packed in a thread of its own while the digest is taken.
        self._packer = zstandard.ZstdCompressor(level=1, threads=1).compressobj()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Forget the body unless it was committed."""
        if not self._committed:
            self.discard()

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            StorageError: If the spool is full or cannot be written.
        """
        self._digest.update(chunk)
        self.size += len(chunk)
        with storage_errors(str(self._landing.spool)):
            self._plain.write(chunk)
            self._packed.write(self._packer.compress(chunk))

    def commit(self) -> Body:
        """Store the body under its digest and return it.

        Raises:
            StorageError: If the lake cannot be written.
        """
        with storage_errors(str(self._landing.spool)):
            self._packed.write(self._packer.flush())
            self._plain.close()
            self._packed.close()
        sha256 = self._digest.hexdigest()
        try:
            known = self._landing.keep(sha256, self._packed_path)
        except BaseException:
            self.discard()
            raise
        self._packed_path.unlink(missing_ok=True)
        self._committed = True
        return Body(sha256, self.size, self._plain_path, known)

    def discard(self) -> None:
        """Forget the body."""
        for file in (self._plain, self._packed):
            # A full disk also fails the last flush; the files go either way.
            with suppress(OSError):
                file.close()
        self._plain_path.unlink(missing_ok=True)
        self._packed_path.unlink(missing_ok=True)


def _aside(sha256: str) -> str:
    return f"aside/{_key(sha256)}"


def _key(sha256: str) -> str:
    if not _DIGEST.fullmatch(sha256):
        raise StorageError(f"'{sha256}' is no SHA-256 digest.", "It has 64 hex digits.")
    return f"{sha256[:2]}/{sha256}.zst"
