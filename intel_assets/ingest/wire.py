"""What httpx leaves open: an end to the whole exchange, and decoding that cannot blow up.

Sockets and bytes only. Attempts, limits and errors of the product are http.py's.
"""

from __future__ import annotations

import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

_STEP = 1 << 20


class Garbled(Exception):
    """The bytes are not what their Content-Encoding says, or end too early.

    Attributes:
        raw: The bytes at which that showed, as they came.
    """

    def __init__(self, why: str, raw: bytes = b"") -> None:
        """Keep the bytes."""
        super().__init__(why)
        self.raw = raw


class TooLarge(Exception):
    """More bytes came out than are allowed."""


class Deadline(threading.local):
    """When the exchange of this thread has to be over."""

    at: float | None = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """End every socket operation of this thread after so many seconds in all."""
        self.at = time.monotonic() + seconds
        try:
            yield
        finally:
            self.at = None

    @property
    def passed(self) -> bool:
        """Whether the time is used up."""
        return self.at is not None and time.monotonic() >= self.at

    def cut(self, timeout: float | None, error: type[Exception]) -> float | None:
        """Return the timeout, cut to the time that is left."""
        if self.at is None:
            return timeout
        left = self.at - time.monotonic()
        if left <= 0:
            raise error("The time for the whole exchange is over.")
        return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    """A socket whose operations end with the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.cut(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.cut(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        timeout = self._deadline.cut(timeout, httpcore.ConnectTimeout)
        return _Stream(
            self._stream.start_tls(ssl_context, server_hostname, timeout), self._deadline
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Opens sockets whose operations end with the deadline."""

    def __init__(self, backend: httpcore.NetworkBackend, deadline: Deadline) -> None:
        self._backend = backend
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = self._deadline.cut(timeout, httpcore.ConnectTimeout)
        stream = self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(stream, self._deadline)


def set_deadline(client: httpx.Client, deadline: Deadline) -> None:
    """Make a client's sockets, also those through a proxy, end with the deadline.

    httpx times single reads only: a host that sends one byte of a header every 29 s would hold
    it for ever. httpcore has the seam for this and httpx does not hand it through, hence the
    private names; the tests with a trickling host notice when they move.
    """
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend, deadline)


def keep_location(response: httpx.Response) -> None:
    """Take the redirect out of httpx's hands; an event hook for answers.

    httpx looks at it even when told not to follow, and quotes what it cannot read.
    """
    if "Location" in response.headers:
        response.extensions["location"] = response.headers.pop("Location")


def decode(chunks: Iterable[bytes], encoding: str, max_bytes: int) -> Iterator[bytes]:
    """Undo a Content-Encoding, never holding more than a few MiB.

    Args:
        chunks: The bytes as they came.
        encoding: The header's value; `gzip`, `deflate` and `identity` are understood.
        max_bytes: How many bytes may come out.

    Raises:
        Garbled: If the bytes are not of that encoding, or end too early.
        TooLarge: If more bytes come out.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        plain: Iterable[bytes] = chunks
    elif encoding in ("gzip", "x-gzip", "deflate"):
        plain = _inflate(chunks, deflate=encoding == "deflate")
    else:
        plain = _unknown(chunks)
    size = 0
    for piece in plain:
        size += len(piece)
        if size > max_bytes:
            raise TooLarge
        yield piece


def _unknown(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        raise Garbled("its Content-Encoding was not asked for", chunk)
    yield from ()


def _inflate(chunks: Iterable[bytes], *, deflate: bool) -> Iterator[bytes]:
    inflater, chunk = None, b""
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if inflater is None:
                    inflater = zlib.decompressobj(_window_bits(data, deflate))
                piece = inflater.decompress(data, _STEP)
                if piece:
                    yield piece
                data = inflater.unconsumed_tail
                if inflater.eof:
                    # A gzip body may consist of several members.
                    data, inflater = inflater.unused_data, None
    except zlib.error:
        raise Garbled("its compression is broken", chunk) from None
    if inflater is not None:
        raise Garbled("its compressed data end too early")


def _window_bits(data: bytes, deflate: bool) -> int:
    if not deflate:
        return 16 + zlib.MAX_WBITS
    # "deflate" should be zlib's format; some hosts send it without zlib's header.
    wrapped = data[0] & 0x0F == 8 and (len(data) < 2 or int.from_bytes(data[:2], "big") % 31 == 0)
    return zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS
