"""What a source is: the facts, the two functions and the contracts that make one.

A source says how its bodies are fetched (`extract`), what records they hold (`parse`) and what
these mean (`clean`). Everything else (retry, landing, history, quarantine, checks, schedules, gap
filling, SQL views) comes with the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import Literal, Protocol

import polars as pl
from cronsim import CronSim

from intel_assets.clock import start_of
from intel_assets.ingest.documents import Document, Fetch, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.lakehouse.contracts import INSTANT, Contract
from intel_assets.sources.calendars import DAILY, Calendar

UNDATED = date(1970, 1, 1)
"""The partition of records that carry no day: kept in raw, and always in quarantine."""

Interval = tuple[datetime, datetime]


class Context(Protocol):
    """What the engine lends to `extract`."""

    @property
    def now(self) -> datetime:
        """The present moment, aware UTC."""
        ...

    def held(self, *columns: str) -> pl.DataFrame:
        """Return `day` and some columns of the records that raw holds now."""
        ...

    def received(self, request: Request, since: datetime) -> Fetch | None:
        """Return the newest understood answer to a request since a moment, if there is one."""
        ...

    def secret(self, name: str) -> str:
        """Return a secret that the source declares."""
        ...

    def get(self, request: Request, window: Window, *, conditional: bool = True) -> Document:
        """Make a request, land its body and note it in the journal.

        Args:
            request: What to ask.
            window: The days that it is asked for.
            conditional: Whether the host may answer that nothing changed since the last time. Not
                where the source has to read the body to know what to ask for next.

        Raises:
            UpstreamError: If the source did not give it; `NotPublished` on 404, and
                `QuotaExhausted` where its terms allow no more requests for now.
        """
        ...


@dataclass(frozen=True)
class Span:
    """The records of a body: how many, and between which moments."""

    rows: int
    first: datetime | None
    last: datetime | None


def whole_window(document: Document, span: Span) -> Interval | None:
    """The body speaks of exactly the days that were asked for."""
    window = document.fetch.window
    return start_of(window.first), start_of(window.last + timedelta(days=1))


def observed_span(document: Document, span: Span) -> Interval | None:
    """The body speaks of what lies between its oldest and its newest record.

    For rolling dumps: records at its oldest moment may be cut off already, so it does not count.
    """
    if span.first is None or span.last is None:
        return None
    return span.first + timedelta(microseconds=1), span.last + timedelta(microseconds=1)


def on_demand(context: Context, window: Window) -> Iterator[Document]:
    """A lookup is asked of given indicators alone (for `SourceSpec.extract`)."""
    return iter(())


@dataclass(frozen=True)
class Aggregate:
    """A table made from a source's cleaned records by SQL.

    Attributes:
        contract: The table.
        sql: One SELECT over `cleaned.<source>` that groups by `day`.
    """

    contract: Contract
    sql: str


@dataclass(frozen=True)
class Quota:
    """How often a source may be asked.

    Attributes:
        requests: So many requests, retries included, ...
        per: ... in each UTC day or calendar month.
    """

    requests: int
    per: Literal["day", "month"] = "day"

    def since(self, now: datetime) -> datetime:
        """Return when the day or month began that a moment lies in."""
        return start_of(now.date().replace(day=1) if self.per == "month" else now.date())


@dataclass(frozen=True)
class VolumeRule:
    """When the rows of a day are too few or too many to be believed.

    An event feed's day is measured against the trailing median of its weekday; a state feed's
    snapshot against the one before, since a list that shrank for good is not wrong every day.

    Attributes:
        collapse: Below this share of what is usual, a day has collapsed.
        burst: Above this many times of what is usual, it has burst.
        least: Where usual is less than so many rows, nothing is judged.
    """

    collapse: float = 0.4
    burst: float = 5.0
    least: int = 20


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """A source of the lake.

    Attributes:
        kind: `event`: records carry their own time, and a past day can be asked for; `state`: a
            body is the whole truth now, and a missed day can never be fetched again; `lookup`: it
            is asked of given indicators, on demand, and no day is expected of it.
        look_back_days: How many days back can still be asked for; None is without bound.
        start: The first day that the source has.
        window_days: How many days one call of `extract` can answer.
        cadence: When the source is asked, as cron (UTC).
        calendar: The days that the source is expected to have.
        late_days: How many past days each scheduled request asks for again, because records of
            them may still come.
        due_after: How long after its end a day is expected to be whole.
        attempts: How often a missing day is asked for before a person has to look.
        quota: How often the source may be asked, if its terms say so.
        volume: When a day's rows are too few or too many.
        stale_after: How long a state feed's body may stay the same before it is called stale.
        time_limit: How long a run may take before it is ended.
        derived_from: The sources whose records this one repeats: no evidence of its own.
        landing_days: How long a body is kept that said nothing new; None is for ever.
        secrets: Names of the secrets it needs, as settings know them.
        keys_at: Where a key is to be had; the homepage if left out.
        extract: `(context, window) -> documents`. What was yielded before an error is kept.
        lookup: For `lookup`: `(context, indicator, type) -> request`.
        looks_up: For `lookup`: the types of indicators that it can be asked of.
        fresh_for: For `lookup`: how long an answer is good for.
        trust: How sure its listing an indicator makes, 0 to 100, where it does not say so itself.
        parse: `document -> LazyFrame` of text columns under the source's own names; a `day`
            column (Date) besides if the day follows from the request and not from the record.
        clean: `raw -> cleaned`, a pure function over LazyFrames; it carries the columns of
            `contracts.Record` along.
        record_id: Over parsed columns: the source's own identifier; the digest where null.
        event_time: Over parsed columns: the moment that decides a record's day.
        covers: What of the time a body speaks of.
        scope: A column of raw: a body speaks only of records whose value there it holds itself.
            A page of pulses withdraws nothing of other pulses.
        refuse_share: A partition is refused when more than this share of its rows ...
        refuse_rows: ... and at least this many break the contract.
        code_version: Raised when `parse` or `clean` changes what it makes.
    """

    name: str
    domain: str
    title: str
    description: str
    homepage: str
    licence: str
    redistributable: bool
    owner: str
    kind: Literal["event", "state", "lookup"]
    look_back_days: int | None
    start: date
    window_days: int
    cadence: str
    extract: Callable[[Context, Window], Iterator[Document]]
    parse: Callable[[Document], pl.LazyFrame]
    clean: Callable[[pl.LazyFrame], pl.LazyFrame]
    raw: Contract
    cleaned: Contract
    aggregates: tuple[Aggregate, ...]
    calendar: Calendar = DAILY
    late_days: int = 1
    due_after: timedelta = timedelta(hours=2)
    attempts: int = 6
    quota: Quota | None = None
    volume: VolumeRule = field(default_factory=VolumeRule)
    stale_after: timedelta | None = None
    time_limit: timedelta = timedelta(hours=1)
    derived_from: tuple[str, ...] = ()
    landing_days: int | None = 90
    secrets: tuple[str, ...] = ()
    keys_at: str | None = None
    policy: HttpPolicy = field(default_factory=HttpPolicy)
    record_id: pl.Expr | None = None
    event_time: pl.Expr = field(default_factory=lambda: pl.col("day").cast(INSTANT))
    covers: Callable[[Document, Span], Interval | None] = whole_window
    scope: str | None = None
    lookup: Callable[[Context, str, str], Request] | None = None
    looks_up: tuple[str, ...] = ()
    fresh_for: timedelta = timedelta(days=7)
    trust: int = 50
    refuse_share: float = 0.05
    refuse_rows: int = 20
    code_version: str = "1"

    @property
    def longest_wait(self) -> timedelta:
        """The longest time between two ticks of its cadence."""
        ticks = list(islice(CronSim(self.cadence, datetime(2026, 1, 5, tzinfo=UTC)), 60))
        return max(after - before for before, after in pairwise(ticks))
