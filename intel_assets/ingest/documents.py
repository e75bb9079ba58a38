"""What passes between a source and the engine: the window asked for, and what came back.

Plain values. Nothing here talks to a network or a table.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

from intel_assets.errors import UsageError

Outcome = Literal["fetched", "not_modified", "landed", "not_published", "failed"]


@dataclass(frozen=True, order=True)
class Window:
    """A range of UTC days, both ends included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        """Refuse a range that ends before it begins."""
        if self.last < self.first:
            raise UsageError(
                f"The range {self.first} to {self.last} ends before it begins.", "Swap its ends."
            )

    @property
    def days(self) -> list[date]:
        """Every day of the range, oldest first."""
        count = (self.last - self.first).days + 1
        return [self.first + timedelta(days=i) for i in range(count)]

    def __contains__(self, day: date) -> bool:
        """Whether a day lies in the range."""
        return self.first <= day <= self.last

    def __str__(self) -> str:
        """Write it as people read it."""
        return f"{self.first}" if self.first == self.last else f"{self.first}..{self.last}"


@dataclass(frozen=True)
class Fetch:
    """One request and its answer: a row of `ops.fetches`.

    Attributes:
        fetch_id: Sortable by `received_at`, unique.
        url: Redacted.
        body_sha256: The body received, or for a 304 the body that still holds; None if none came.
        received_at: When the body was complete: the known time of what it says.
        answers_from: From when on the calendar is answered once this body is here; None where
            that is what the body covers.
        answers_to: Until when it is answered, exclusive.
    """

    fetch_id: str
    source: str
    window: Window
    url: str
    outcome: Outcome
    status: int | None
    attempts: int
    bytes: int
    body_sha256: str | None
    etag: str | None
    last_modified: str | None
    content_type: str | None
    started_at: datetime
    received_at: datetime
    seconds: float
    error_class: str | None = None
    error: str | None = None
    answers_from: datetime | None = None
    answers_to: datetime | None = None


@dataclass(frozen=True)
class Document:
    """A body that can be parsed: the fetch it came with, and a local file that holds it.

    After a 304 there is no file: the body that still holds is in landing.
    """

    fetch: Fetch
    path: Path | None = None

    def answering(self, since: datetime | None, until: datetime | None) -> Document:
        """Say what of the calendar is answered once this body is here.

        A page, or a single event of many, answers nothing by itself; the last one of a pass
        answers what the whole pass was asked for.

        Args:
            since: The first moment; None for nothing.
            until: Where it ends, exclusive; None for nothing.
        """
        at = self.fetch.received_at
        answered = replace(self.fetch, answers_from=since or at, answers_to=until or at)
        return replace(self, fetch=answered)


def new_fetch_id(received_at: datetime) -> str:
    """Return an identifier that sorts as the moments do, unique over all processes."""
    return f"{received_at:%Y%m%dT%H%M%S%f}-{secrets.token_hex(6)}"
