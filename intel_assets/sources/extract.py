"""Asking a source: windows concurrently, each request landed and noted.

What comes out is documents, the rows for the journal, and for each window that failed the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import date, datetime
from threading import Lock
from typing import TYPE_CHECKING

from intel_assets.clock import Clock
from intel_assets.errors import ConfigurationError, IntelError, NotPublished, UpstreamError
from intel_assets.ingest.documents import Document, Fetch, Outcome, Window, new_fetch_id
from intel_assets.ingest.messages import Received, Request, Validators
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.tables import day_ranges
from intel_assets.sources import snapshots
from intel_assets.sources.spec import SourceSpec

if TYPE_CHECKING:
    from intel_assets.ingest.http import HttpClient

logger = logging.getLogger(__name__)

CONCURRENT_WINDOWS = 4


@dataclass(frozen=True)
class Upstream:
    """The outside world as the engine reaches it.

    Attributes:
        http: The client, with its limits, retries and landing.
        secrets: Secrets by name; those that are not set are absent.
    """

    http: HttpClient
    secrets: Mapping[str, str]


@dataclass
class Extraction:
    """What asking a source came to.

    Attributes:
        documents: Bodies, in the order they were received.
        fetches: Every request, for the journal.
        problems: For each day that failed, why.
    """

    documents: list[Document] = field(default_factory=list)
    fetches: list[Fetch] = field(default_factory=list)
    problems: dict[date, IntelError] = field(default_factory=dict)


class _Asking:
    """The context of one call of `extract`."""

    def __init__(
        self,
        spec: SourceSpec,
        upstream: Upstream,
        landing: Landing,
        validators: Mapping[str, Validators],
        clock: Clock,
    ) -> None:
        self._spec = spec
        self._upstream = upstream
        self._landing = landing
        self._validators = validators
        self._clock = clock
        self._lock = Lock()
        self.fetches: list[Fetch] = []

    def secret(self, name: str) -> str:
        if name not in self._spec.secrets:
            raise ValueError(f"{self._spec.name} does not declare the secret {name}")
        try:
            return self._upstream.secrets[name]
        except KeyError:
            raise missing_secret(self._spec, name) from None

    def get(self, request: Request, window: Window) -> Document:
        started = self._clock()
        known = self._upstream.http.shown(request)
        try:
            received = self._upstream.http.fetch(
                request, policy=self._spec.policy, validators=self._validators.get(known)
            )
        except UpstreamError as error:
            came = error.partial
            body = f", body {came.sha256[:16]}… (as far as it came)" if came else ""
            error.at(f"{self._spec.name} {window}{body}")
            self._note_failure(known, window, started, error)
            raise
        return self._note(received, window, self._validators.get(known))

    def _note(self, got: Received, window: Window, known: Validators | None) -> Document:
        sha256 = got.body.sha256 if got.body else known.body_sha256 if known else None
        if sha256 is None:
            raise UpstreamError(f"{got.url} answered 304 to an unconditional request.")
        fetch = Fetch(
            fetch_id=new_fetch_id(got.received_at),
            source=self._spec.name,
            window=window,
            url=got.url,
            outcome="fetched" if got.body else "not_modified",
            status=got.status,
            attempts=got.attempts,
            bytes=got.body.size if got.body else 0,
            body_sha256=sha256,
            # A new body has its own validators or none: another body's would lead to a false 304.
            etag=got.etag or (known.etag if known and not got.body else None),
            last_modified=got.last_modified
            or (known.last_modified if known and not got.body else None),
            content_type=got.content_type,
            started_at=got.started_at,
            received_at=got.received_at,
            seconds=got.seconds,
        )
        self._keep(fetch)
        logger.info(
            "%s %s: %s, %d bytes in %.2f s, %d attempts",
            fetch.source,
            window,
            fetch.outcome,
            fetch.bytes,
            fetch.seconds,
            fetch.attempts,
            extra={"window": str(window), "fetch_id": fetch.fetch_id},
        )
        return Document(fetch, got.body.path if got.body else None)

    def _note_failure(
        self, url: str, window: Window, started: datetime, error: UpstreamError
    ) -> None:
        now = self._clock()
        outcome: Outcome = "not_published" if isinstance(error, NotPublished) else "failed"
        partial = error.partial
        self._keep(
            Fetch(
                fetch_id=new_fetch_id(now),
                source=self._spec.name,
                window=window,
                url=url,
                outcome=outcome,
                status=error.status,
                attempts=error.attempts,
                bytes=partial.size if partial else 0,
                body_sha256=partial.sha256 if partial else None,
                etag=None,
                last_modified=None,
                content_type=None,
                started_at=started,
                received_at=now,
                seconds=(now - started).total_seconds(),
                error_class=type(error).__name__,
                error=error.what,
            )
        )

    def _keep(self, fetch: Fetch) -> None:
        with self._lock:
            self.fetches.append(fetch)


def extract(
    spec: SourceSpec,
    days: Sequence[date],
    upstream: Upstream,
    landing: Landing,
    validators: Mapping[str, Validators],
    clock: Clock,
) -> Extraction:
    """Ask a source for some days: in windows as wide as it can answer, several at a time.

    A window that fails does not stop the others. A state feed is asked for today alone; for
    other days no request is made.
    """
    asking = _Asking(spec, upstream, landing, validators, clock)
    days, refused = snapshots.askable(spec, days, clock())
    result = Extraction(problems=refused)

    def ask(window: Window) -> tuple[Window, list[Document], IntelError | None]:
        try:
            return window, list(spec.extract(asking, window)), None
        except IntelError as error:
            return window, [], error

    asked = windows(days, spec.window_days)
    with ThreadPoolExecutor(CONCURRENT_WINDOWS, thread_name_prefix=spec.name) as pool:
        # Each thread gets a copy of the context, so that its log lines name the run as well.
        asking_all = [pool.submit(copy_context().run, ask, window) for window in asked]
        for window, documents, error in (one.result() for one in asking_all):
            result.documents += documents
            if error is not None:
                level = logging.INFO if isinstance(error, NotPublished) else logging.WARNING
                logger.log(level, "%s", error)
                result.problems |= {day: error for day in window.days if day in set(days)}
    result.documents.sort(key=lambda document: document.fetch.fetch_id)
    result.fetches = sorted(asking.fetches, key=lambda fetch: fetch.fetch_id)
    return result


def windows(days: Sequence[date], most: int) -> list[Window]:
    """Divide days into windows that one call of a source can answer.

    Args:
        days: The days.
        most: How many days a call can answer; days between two asked for come along.
    """
    found: list[Window] = []
    for first, last in day_ranges(days):
        for day in Window(first, last).days:
            if found and (day - found[-1].first).days < most:
                found[-1] = Window(found[-1].first, day)
            else:
                found.append(Window(day, day))
    return found


def missing_secret(spec: SourceSpec, name: str) -> ConfigurationError:
    """Return the error for a secret that is not set."""
    place = spec.keys_at or spec.homepage
    return ConfigurationError(
        f"{spec.name} needs {name}, which is not set.",
        f"Get a key at {place} and put {name}=… into the environment or .env.",
    )
