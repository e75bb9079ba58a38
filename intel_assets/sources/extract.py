"""Asking a source: windows concurrently, each request landed and noted.

What comes out is documents, the rows for the journal, and for each window that failed the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from threading import Lock
from typing import TYPE_CHECKING, Literal

import polars as pl

from intel_assets.clock import Clock
from intel_assets.errors import (
    ConfigurationError,
    IntelError,
    NotPublished,
    QuotaExhausted,
    UpstreamError,
)
from intel_assets.ingest.documents import Document, Fetch, Outcome, Window, new_fetch_id
from intel_assets.ingest.messages import HttpPolicy, Received, Request, Validators
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.ops import FETCHES
from intel_assets.lakehouse.tables import day_ranges
from intel_assets.sources import journal as journals
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


def _nothing(columns: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(schema={"day": pl.Date} | dict.fromkeys(columns, pl.String))


@dataclass(frozen=True)
class Past:
    """What the lake knows of a source before it is asked.

    Attributes:
        fetches: Its requests (`ops.fetches`), one row each.
        held: Gives `day` and some columns of the records that raw holds now.
    """

    fetches: pl.DataFrame = field(default_factory=FETCHES.empty)
    held: Callable[[Sequence[str]], pl.DataFrame] = _nothing


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


LookupOutcome = Literal["asked", "fresh", "unknown", "not_applicable"]


@dataclass
class Lookup:
    """What asking a source of given indicators came to.

    Attributes:
        extraction: What came.
        outcomes: For each indicator: asked now, answered freshly before, unknown to the source,
            or none that it can be asked of. Those after `error` are absent.
        error: Why it was not asked any further.
    """

    extraction: Extraction
    outcomes: dict[str, LookupOutcome] = field(default_factory=dict)
    error: IntelError | None = None


class _Asking:
    """The context of a source while it is asked."""

    def __init__(
        self, spec: SourceSpec, upstream: Upstream, landing: Landing, past: Past, clock: Clock
    ) -> None:
        self._spec = spec
        self._upstream = upstream
        self._landing = landing
        self._past = past
        self._validators = journals.validators(past.fetches)
        self._clock = clock
        self._lock = Lock()
        self.fetches: list[Fetch] = []

    @property
    def now(self) -> datetime:
        return self._clock()

    def held(self, *columns: str) -> pl.DataFrame:
        return self._past.held(columns)

    def received(self, request: Request, since: datetime) -> Fetch | None:
        return journals.last_received(self._past.fetches, self._upstream.http.shown(request), since)

    def secret(self, name: str) -> str:
        if name not in self._spec.secrets:
            raise ValueError(f"{self._spec.name} does not declare the secret {name}")
        try:
            return self._upstream.secrets[name]
        except KeyError:
            raise missing_secret(self._spec, name) from None

    def get(self, request: Request, window: Window, *, conditional: bool = True) -> Document:
        started = self._clock()
        known = self._upstream.http.shown(request)
        validators = self._validators.get(known) if conditional else None
        policy = self._policy(known, started)
        try:
            received = self._upstream.http.fetch(request, policy=policy, validators=validators)
        except UpstreamError as error:
            came = error.partial
            body = f", body {came.sha256[:16]}… (as far as it came)" if came else ""
            error.at(f"{self._spec.name} {window}{body}")
            self._note_failure(known, window, started, error)
            raise
        return self._note(received, window, validators)

    def _policy(self, url: str, now: datetime) -> HttpPolicy:
        """Return the policy, with no more attempts than the quota leaves.

        Raises:
            QuotaExhausted: If it leaves none.
        """
        quota, policy = self._spec.quota, self._spec.policy
        if quota is None:
            return policy
        before = self._past.fetches.filter(pl.col("received_at") >= quota.since(now))
        used = sum([*before["attempts"], *(one.attempts for one in self.fetches)])
        if used >= quota.requests:
            raise QuotaExhausted(
                f"{self._spec.name}: its quota of {quota.requests} requests a {quota.per} is used "
                "up.",
                f"It is renewed with the next {quota.per} (UTC).",
                url=url,
            )
        return replace(policy, attempts=min(policy.attempts, quota.requests - used))

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
    past: Past,
    clock: Clock,
) -> Extraction:
    """Ask a source for some days: in windows as wide as it can answer, several at a time.

    A window that fails does not stop the others, and what came of it before it failed is kept. A
    state feed is asked for today alone; for other days no request is made.
    """
    asking = _Asking(spec, upstream, landing, past, clock)
    days, refused = snapshots.askable(spec, days, clock())
    result = Extraction(problems=refused)

    def ask(window: Window) -> tuple[Window, list[Document], IntelError | None]:
        documents: list[Document] = []
        try:
            documents.extend(spec.extract(asking, window))
        except IntelError as error:
            return window, documents, error
        return window, documents, None

    asked = windows(days, spec.window_days)
    # One after the other where each is counted before the next may be made.
    at_once = 1 if spec.quota else CONCURRENT_WINDOWS
    with ThreadPoolExecutor(at_once, thread_name_prefix=spec.name) as pool:
        # Each thread gets a copy of the context, so that its log lines name the run as well.
        asking_all = [pool.submit(copy_context().run, ask, window) for window in asked]
        for window, documents, error in (one.result() for one in asking_all):
            result.documents += documents
            if error is not None:
                level = logging.INFO if isinstance(error, NotPublished) else logging.WARNING
                logger.log(level, "%s", error)
                result.problems |= {day: error for day in window.days if day in set(days)}
    return _in_order(result, asking.fetches)


def look_up(
    spec: SourceSpec,
    indicators: Sequence[tuple[str, str]],
    upstream: Upstream,
    landing: Landing,
    past: Past,
    clock: Clock,
) -> Lookup:
    """Ask a source of given indicators, one after the other, until its quota is used up.

    What was answered within `fresh_for`, also that nothing is known, is not asked again.

    Args:
        spec: A source of the kind `lookup`.
        indicators: Canonical indicators, each with its type.
        upstream: The way to it.
        landing: Where bodies go.
        past: What the lake knows of it.
        clock: The time.
    """
    if spec.lookup is None:
        raise ValueError(f"{spec.name} cannot be asked of an indicator")
    asking = _Asking(spec, upstream, landing, past, clock)
    found = Lookup(Extraction())
    today = clock().date()
    answered = past.fetches.filter(
        pl.col("received_at") >= clock() - spec.fresh_for,
        pl.col("parsed").is_not_null() | (pl.col("outcome") == "not_published"),
    )
    known = set(answered["url"])
    for indicator, kind in indicators:
        if kind not in spec.looks_up:
            found.outcomes[indicator] = "not_applicable"
            continue
        request = spec.lookup(asking, indicator, kind)
        if upstream.http.shown(request) in known:
            found.outcomes[indicator] = "fresh"
            continue
        try:
            found.extraction.documents.append(asking.get(request, Window(today, today)))
            found.outcomes[indicator] = "asked"
        except NotPublished:
            found.outcomes[indicator] = "unknown"
        except UpstreamError as error:
            # The next one would fare no better: no quota, no key, or nobody there.
            found.error = error
            break
    _in_order(found.extraction, asking.fetches)
    return found


def _in_order(result: Extraction, fetches: Sequence[Fetch]) -> Extraction:
    """Put what came into the order received; a document may say more of its request."""
    result.documents.sort(key=lambda document: document.fetch.fetch_id)
    told = {document.fetch.fetch_id: document.fetch for document in result.documents}
    ordered = sorted(fetches, key=lambda fetch: fetch.fetch_id)
    result.fetches = [told.get(fetch.fetch_id, fetch) for fetch in ordered]
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
