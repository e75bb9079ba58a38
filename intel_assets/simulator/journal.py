"""What the simulator was asked: one record per request, countable from tests.

It holds no key: the values of query parameters that look like one are blotted out.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

_SECRET = re.compile(r"key|token|auth|secret|passw", re.IGNORECASE)
_KEPT = 200_000


@dataclass
class RecordedRequest:
    """One request as it came in.

    Attributes:
        host: The upstream host that was meant.
        path: The path on that host, without the query.
        query: The query with keys blotted out.
        method: The HTTP method.
        conditional: Whether it asked only for what had changed.
        fault: The kind of fault that was played on it, or an empty string.
        status: The answered status; None while there is none, or if there was never one.
        monotonic: When it came in, in seconds of the machine's monotonic clock.
        at: When it came in, by the machine's wall clock, UTC.
    """

    host: str
    path: str
    query: str = ""
    method: str = "GET"
    conditional: bool = False
    fault: str = ""
    status: int | None = None
    monotonic: float = field(default_factory=time.monotonic)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def as_json(self) -> dict[str, Any]:
        """Return the record as plain values for JSON."""
        return asdict(self) | {"at": self.at.isoformat()}


class Journal:
    """The records of the last requests (at most 200,000), safe to read from any thread."""

    def __init__(self) -> None:
        """Start with none."""
        self._records: deque[RecordedRequest] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def add(self, record: RecordedRequest) -> None:
        """Keep a record; its status and fault may still be filled in."""
        with self._lock:
            self._records.append(record)

    def records(self, host: str = "") -> list[RecordedRequest]:
        """Return the records in order of arrival, of one host or of all."""
        with self._lock:
            return [record for record in self._records if host in ("", record.host)]

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._records.clear()

    def most_in_a_window(self, host: str, seconds: float) -> int:
        """Return the largest number of requests to a host within any `seconds` seconds."""
        return most_in_a_window((record.monotonic for record in self.records(host)), seconds)


def most_in_a_window(moments: Iterable[float], seconds: float) -> int:
    """Return the largest number of moments in any half-open window of that length."""
    window: deque[float] = deque()
    most = 0
    for moment in sorted(moments):
        window.append(moment)
        while window[0] <= moment - seconds:
            window.popleft()
        most = max(most, len(window))
    return most


def redact(query: str) -> str:
    """Return a query string with the values of key-like parameters blotted out."""
    pairs = parse_qsl(query, keep_blank_values=True)
    return urlencode([(k, "***" if _SECRET.search(k) else v) for k, v in pairs], safe="*")
