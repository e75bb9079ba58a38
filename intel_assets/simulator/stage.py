"""What every played API shares: the world's settings, and how a body is answered.

Conditional requests, compression and streaming are here once; what is said is in the API's file.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from intel_assets.clock import Clock

_CHUNK = 64 * 1024


@dataclass(frozen=True)
class Stage:
    """What an API needs to play: the seed, the time, the volume and the accepted key.

    Attributes:
        seed: Decides everything that is ever published.
        clock: The simulated time.
        volume: How many times the usual number of records there is.
        auth_key: The one key that is accepted.
    """

    seed: int
    clock: Clock
    volume: float
    auth_key: str

    def etag(self, *parts: object) -> str:
        """Return the opaque tag of a body that is a function of the world and these parts."""
        text = "\0".join(map(str, (self.seed, self.volume, *parts)))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def floor_to(moment: datetime, seconds: int) -> datetime:
    """Return the last full step of `seconds` before or at a moment."""
    return datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)


def respond(
    request: Request,
    body: Callable[[], Iterable[bytes]],
    *,
    media_type: str,
    etag: str,
    modified: datetime | None = None,
    headers: Mapping[str, str] | None = None,
    compressible: bool = True,
    size: int | None = None,
) -> Response:
    """Answer with a streamed body, or with 304 when the client already has it.

    Args:
        request: What was asked.
        body: Makes the body's pieces; called only when they are sent.
        media_type: The Content-Type.
        etag: The opaque tag, without quotes.
        modified: When the body last changed, for Last-Modified; None leaves it out.
        headers: More headers.
        compressible: Whether gzip may be used when the client accepts it.
        size: The plain body's length in bytes, if known.
    """
    zipped = compressible and _accepts_gzip(request.headers.get("accept-encoding", ""))
    fields = {"ETag": f'"{etag}-gzip"' if zipped else f'"{etag}"', **(headers or {})}
    if compressible:
        fields["Vary"] = "Accept-Encoding"
    if modified is not None:
        fields["Last-Modified"] = format_datetime(modified.astimezone(UTC), usegmt=True)
    if _unchanged(request, etag, modified):
        return Response(status_code=304, headers=fields)
    chunks = batched(body())
    if zipped:
        fields["Content-Encoding"] = "gzip"
        chunks = gzipped(chunks)
    elif size is not None:
        fields["Content-Length"] = str(size)
    return StreamingResponse(chunks, headers=fields | {"Content-Type": media_type})


def batched(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join small pieces into chunks of about 64 KiB."""
    chunk = bytearray()
    for piece in pieces:
        chunk += piece
        if len(chunk) >= _CHUNK:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


def gzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Compress a stream as gzip; the same input gives the same bytes."""
    packer = zlib.compressobj(6, zlib.DEFLATED, wbits=31)
    for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
    yield packer.flush()


def _accepts_gzip(header: str) -> bool:
    codings = (coding.replace(" ", "").partition(";") for coding in header.lower().split(","))
    return any(name == "gzip" and option not in ("q=0", "q=0.0") for name, _, option in codings)


def _unchanged(request: Request, etag: str, modified: datetime | None) -> bool:
    known = request.headers.get("if-none-match")
    if known is not None:
        tags = (tag.strip().removeprefix("W/").strip('"') for tag in known.split(","))
        return any(tag in ("*", etag, f"{etag}-gzip") for tag in tags)
    since = request.headers.get("if-modified-since")
    if since is None or modified is None:
        return False
    try:
        return modified.replace(microsecond=0) <= parsedate_to_datetime(since)
    except (ValueError, TypeError):
        return False  # RFC 9110 §13.1.3: a date that cannot be read is to be ignored
