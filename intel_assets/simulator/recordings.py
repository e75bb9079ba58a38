"""Serves recorded bodies from a folder as if they were the live hosts'.

`DIR/<host>/<path>` if it is there, else a file in DIR named as the path's last segment; either
may be packed as `<name>.gz`. It never leaves the folder and never plays anything.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from intel_assets.simulator.stage import respond

_CHUNK = 64 * 1024
_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".zip": "application/zip",
    ".xml": "application/xml",
}


class Recordings:
    """The bodies in one folder."""

    def __init__(self, folder: Path) -> None:
        """Serve from `folder`, which need not be complete."""
        self._root = folder.resolve()

    def answer(self, request: Request, host: str, path: str) -> Response:
        """Answer a GET with the recorded body, or with 404 when there is none."""
        if request.method != "GET":
            return PlainTextResponse("405: Method Not Allowed", status_code=405)
        file = self.find(host, path)
        if file is None:
            return PlainTextResponse("404: Not Found", status_code=404)
        facts = file.stat()
        packed = file.suffix == ".gz" and not path.endswith(".gz")
        name = file.stem if packed else file.name
        return respond(
            request,
            lambda: _read(file, packed),
            media_type=_TYPES.get(Path(name).suffix, "text/plain; charset=utf-8"),
            etag=f"{facts.st_mtime_ns:x}-{facts.st_size:x}",
            modified=datetime.fromtimestamp(facts.st_mtime, UTC),
            compressible=False,
            size=None if packed else facts.st_size,
        )

    def find(self, host: str, path: str) -> Path | None:
        """Return the file that holds a host's path, or None."""
        segments = [segment for segment in path.split("/") if segment]
        if not segments or any(_unsafe(segment) for segment in (host, *segments)):
            return None
        for place in (self._root.joinpath(host, *segments), self._root / segments[-1]):
            for file in (place, place.with_name(place.name + ".gz")):
                if file.is_file() and file.resolve().is_relative_to(self._root):
                    return file
        return None


def _unsafe(segment: str) -> bool:
    return segment in ("", ".", "..") or any(sign in segment for sign in "/\\\0")


def _read(file: Path, packed: bool) -> Iterator[bytes]:
    with gzip.open(file) if packed else file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
