"""What is asked of a host, how patiently, and what comes back.

Plain values. Nothing here talks to a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from intel_assets.lakehouse.landing import Body


@dataclass(frozen=True)
class HttpPolicy:
    """How patiently and how politely a host is asked.

    Attributes:
        attempts: Requests in all, the first included.
        max_wait: The longest wait between two attempts, seconds.
        connect_timeout: Seconds for a connection.
        read_timeout: Seconds without a byte.
        total_timeout: Seconds for one attempt from first to last byte.
        max_bytes: The largest body, after its Content-Encoding is undone.
        rate_per_second: Requests per second to one host, over all processes.
        burst: How many of them may go without a space between them.
    """

    attempts: int = 5
    max_wait: float = 60.0
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    total_timeout: float = 900.0
    max_bytes: int = 4 << 30
    rate_per_second: float = 5.0
    burst: int = 1


@dataclass(frozen=True)
class Request:
    """What is asked: the parameters are added to those that the address already has."""

    url: str
    method: str = "GET"
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: object | None = None
    data: Mapping[str, str] | bytes | None = None


@dataclass(frozen=True)
class Validators:
    """What an earlier answer said of itself, so that an unchanged body need not come again.

    Attributes:
        body_sha256: The body that they belong to: it must still be in the landing.
    """

    etag: str | None = None
    last_modified: str | None = None
    body_sha256: str | None = None


@dataclass(frozen=True)
class Received:
    """An answer: 2xx with a body, or 304 without.

    Attributes:
        url: The address asked, redacted.
        body: The body in the landing; None for a 304.
        started_at: When the first attempt began, aware UTC.
        received_at: When the answer was complete, aware UTC.
        seconds: From the one to the other, waits included.
    """

    url: str
    status: int
    attempts: int
    body: Body | None
    etag: str | None
    last_modified: str | None
    content_type: str | None
    started_at: datetime
    received_at: datetime
    seconds: float
