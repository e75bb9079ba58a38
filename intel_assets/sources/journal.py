"""Which bodies a day of raw is folded from, and in what order, read from `ops.fetches`.

A body waits while the journal has it without counts. Waiting bodies are folded on top of what is
stored; where one was received before a body that is folded already, the day is folded again from
the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from intel_assets.clock import start_of
from intel_assets.ingest.documents import Fetch, Window
from intel_assets.ingest.messages import Validators
from intel_assets.sources.bodies import ParsedBody
from intel_assets.sources.spec import UNDATED, Interval

ANSWERS_FROM = pl.coalesce("answers_from", "covers_from")
ANSWERS_TO = pl.coalesce("answers_to", "covers_to")
_HAS_BODY = pl.col("outcome").is_in(["fetched", "landed", "not_modified"])


@dataclass(frozen=True)
class Entry:
    """A body in the journal that speaks of a day."""

    fetch: Fetch
    covers_from: datetime
    covers_to: datetime


@dataclass(frozen=True)
class Sequence:
    """The bodies to fold into a day, oldest first.

    Attributes:
        anew: Whether the day is folded from nothing instead of on top of what is stored.
    """

    entries: tuple[Entry, ...]
    anew: bool


def row_of(fetch: Fetch, run_id: str, at: datetime) -> dict[str, Any]:
    """Return the row that a fetch gets in `ops.fetches`."""
    row = asdict(fetch)
    del row["window"]
    row |= {"window_first": fetch.window.first, "window_last": fetch.window.last}
    return row | {"run_id": run_id, "recorded_at": at}


def reach(body: ParsedBody) -> dict[str, Any]:
    """Return what a row of `ops.fetches` says of a body that was understood."""
    found: dict[str, Any] = {"parsed": body.parsed}
    if body.covers is not None:
        found["covers_from"], found["covers_to"] = body.covers
    return found


def coverage(journal: pl.DataFrame, fetch: Fetch, within: Interval | None = None) -> dict[str, Any]:
    """Return what a fetch speaks of that found the body of an earlier one unchanged.

    Args:
        journal: The fetches.
        fetch: The one that found nothing new.
        within: What it speaks of, if that does not follow from the body: nothing is returned when
            the earlier one spoke of another time.
    """
    same = journal.filter(
        pl.col("url") == fetch.url,
        pl.col("body_sha256") == fetch.body_sha256,
        pl.col("covers_from").is_not_null(),
    )
    if within is not None:
        same = same.filter(pl.col("covers_from") == within[0], pl.col("covers_to") == within[1])
    return same.select("covers_from", "covers_to").tail(1).to_dicts()[0] if same.height else {}


def fetch_of(row: Mapping[str, Any]) -> Fetch:
    """Return the fetch that a row of `ops.fetches` tells of."""
    names = Fetch.__dataclass_fields__.keys() - {"window"}
    window = Window(row["window_first"], row["window_last"])
    return Fetch(window=window, **{name: row[name] for name in names})


def validators(journal: pl.DataFrame) -> dict[str, Validators]:
    """Return, for each address, what lets the source say that nothing changed."""
    rows = journal.filter(_HAS_BODY, pl.col("parsed").is_not_null() | (pl.col("status") == 304))
    newest = rows.unique("url", keep="last", maintain_order=True)
    return {
        row["url"]: Validators(row["etag"], row["last_modified"], row["body_sha256"])
        for row in newest.iter_rows(named=True)
        if row["etag"] or row["last_modified"]
    }


def waiting(journal: pl.DataFrame) -> pl.DataFrame:
    """Return the rows whose bodies are not folded yet."""
    return journal.filter(
        _HAS_BODY, pl.col("folded_at").is_null(), pl.col("covers_from").is_not_null()
    )


def sequence(journal: pl.DataFrame, day: date, *, anew: bool) -> Sequence:
    """Return what to fold into a day.

    Args:
        journal: One row a fetch, in the order received.
        day: The day.
        anew: Whether to fold from nothing in any case.
    """
    covering = _covering(journal, day)
    is_waiting = pl.col("folded_at").is_null()
    first = covering.filter(is_waiting)["received_at"].min()
    if first is None and not anew:
        return Sequence((), anew=False)
    if not anew:
        anew = covering.filter(~is_waiting, pl.col("received_at") >= first).height > 0
    chosen = covering if anew else covering.filter(pl.col("received_at") >= first, is_waiting)
    before = None if anew else covering.filter(~is_waiting)["body_sha256"].last()
    entries: list[Entry] = []
    for row in chosen.iter_rows(named=True):
        # Nothing changed since the body just before it: folding it again says nothing new.
        if not (row["outcome"] == "not_modified" and row["body_sha256"] == before):
            entries.append(Entry(fetch_of(row), row["covers_from"], row["covers_to"]))
        before = row["body_sha256"]
    return Sequence(tuple(entries), anew=anew)


def is_answered(journal: pl.DataFrame, day: date) -> bool:
    """Whether any body answers for a day, also one that is gone by now."""
    answers = pl.col("answers_from").is_null() | (ANSWERS_FROM < ANSWERS_TO)
    return not _reaching(journal.filter(answers), day, ANSWERS_FROM, ANSWERS_TO).is_empty()


def last_received(journal: pl.DataFrame, url: str, since: datetime) -> Fetch | None:
    """Return the newest answer of an address since a moment whose body was understood."""
    rows = journal.filter(
        _HAS_BODY,
        pl.col("url") == url,
        pl.col("received_at") >= since,
        pl.col("covers_from").is_not_null(),
    )
    return fetch_of(rows.row(-1, named=True)) if rows.height else None


def _covering(journal: pl.DataFrame, day: date) -> pl.DataFrame:
    return _reaching(journal, day, pl.col("covers_from"), pl.col("covers_to"))


def _reaching(journal: pl.DataFrame, day: date, since: pl.Expr, until: pl.Expr) -> pl.DataFrame:
    speaks = _HAS_BODY & pl.col("covers_from").is_not_null()
    if day != UNDATED:
        speaks &= (since < start_of(day + timedelta(days=1))) & (until > start_of(day))
    return journal.filter(speaks)
