"""What an answer's status and headers ask for: go elsewhere, come back later, or give up.

Pure functions over one answer. Sending, counting and waiting are http.py's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from intel_assets.clock import Clock
from intel_assets.errors import NotPublished, Unauthorized, UpstreamError, UpstreamRefused
from intel_assets.lakehouse.landing import Body

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What may go to a host that the request was not meant for. A key can stand in any other header.
_HARMLESS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "if-modified-since",
        "if-none-match",
        "user-agent",
    }
)
_HOST_NAME = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_OF_CONTENT = ("Content-Length", "Content-Type", "Transfer-Encoding")


@dataclass(frozen=True)
class Answer:
    """One host's answer to one request, as far as it was read.

    Attributes:
        body: The landed body of a 2xx.
        quote: The redacted beginning of any other answer's text.
        location: Where it says to look instead.
    """

    status: int
    headers: httpx.Headers
    body: Body | None = None
    quote: str = ""
    location: str | None = None

    @property
    def redirects(self) -> bool:
        """Whether it says to look elsewhere."""
        return self.status in _REDIRECTS and self.location is not None


def redirected(request: httpx.Request, answer: Answer) -> httpx.Request:
    """Return the request that a redirect asks for; what is secret stays with its host.

    Raises:
        UpstreamRefused: If it leads out of http(s), or would carry posted data to another host.
    """
    target = _target(request.url, answer)
    headers = request.headers.copy()
    headers.pop("Host", None)
    method, content = request.method, request.read()
    if answer.status == 303 or (answer.status in (301, 302) and method == "POST"):
        method, content = "GET", b""
    if not _same_host(request.url, target):
        headers = httpx.Headers({k: v for k, v in headers.items() if k in _HARMLESS})
        if content:
            raise UpstreamRefused(
                f"{request.url.host} wants what was posted to it sent on to {target.host}.",
                "Check the address of the source.",
            )
    for name in _OF_CONTENT if not content else ():
        headers.pop(name, None)
    return httpx.Request(
        method, target, headers=headers, content=content or None, extensions=request.extensions
    )


def retry_after(headers: httpx.Headers, clock: Clock) -> float | None:
    """Return the seconds that the host asks to wait; None if it says nothing that makes sense."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        # No more digits than a moment can be told from: some 30 years.
        return min(float(value), 1e9)
    until = _http_date(value)
    if until is None:
        return None
    # The host's own clock, where it tells: ours may go wrong.
    now = _http_date(headers.get("Date", "")) or clock()
    return max(0.0, (until - now).total_seconds())


def refusal(answer: Answer, url: httpx.URL, shown: str) -> UpstreamError:
    """Return the error that an answer other than 2xx and 304 amounts to.

    Args:
        answer: The answer.
        url: The address asked; only its host is told.
        shown: The redacted address.
    """
    status, host = answer.status, url.host
    said = f' It says: "{answer.quote}"' if answer.quote else ""
    if status in (404, 410):
        return NotPublished(f"{host} has nothing at {shown} ({status}).")
    if status in (401, 402, 403):
        return Unauthorized(
            f"{host} refused the key ({status}).{said}",
            "Check the key of the source, and what its account may ask.",
        )
    return UpstreamRefused(f"{host} refused {shown} ({status}).{said}", "Check the request.")


def _target(base: httpx.URL, answer: Answer) -> httpx.URL:
    try:
        target = base.join(answer.location or "")
        name = target.raw_host.decode("ascii")
        usable = target.scheme in ("http", "https") and bool(_HOST_NAME.fullmatch(name))
    except (httpx.InvalidURL, ValueError):
        usable = False
    if usable:
        return target
    raise UpstreamRefused(
        f"{base.host} redirects to an address that is not http or https.",
        "Check the address of the source.",
    )


def _same_host(one: httpx.URL, other: httpx.URL) -> bool:
    if (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port):
        return True
    # The usual step from http to https loses nothing.
    upgrade = (one.scheme, other.scheme) == ("http", "https") and one.host == other.host
    return upgrade and one.port is None and other.port is None


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
