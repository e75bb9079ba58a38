"""A transport that asks a simulator instead of the hosts.

Only the last step differs: addresses, limits, redaction and the journal are those of the host.
"""

from __future__ import annotations

import httpx


class Played(httpx.HTTPTransport):
    """Sends `https://host/path` to `<simulator>/host/path`."""

    def __init__(self, simulator: str) -> None:
        """Name the simulator's base address."""
        super().__init__()
        self._base = httpx.URL(simulator)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the simulator."""
        asked = request.url
        path = f"/{asked.host}".encode() + asked.raw_path
        played = httpx.Request(
            request.method,
            self._base.copy_with(raw_path=path),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        return super().handle_request(played)
