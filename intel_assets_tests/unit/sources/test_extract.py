"""Asking a source: windows, the journal's rows, and what stops what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.errors import (
    ConfigurationError,
    NotPublished,
    QuotaExhausted,
    UpstreamError,
)
from intel_assets.ingest.documents import Document, Fetch, Window
from intel_assets.ingest.http import HttpClient, HttpPolicy, Received, Request, Validators
from intel_assets.lakehouse.landing import Body, Landing
from intel_assets.sources import registry
from intel_assets.sources.extract import Past, Upstream, extract, look_up, windows
from intel_assets.sources.spec import Context, Quota, SourceSpec, on_demand
from intel_assets_tests.unit.sources.fetches import DAY, NOON, fetch, journal, row

Days = list[date]


def day(number: int) -> date:
    return DAY + timedelta(days=number)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 90).map(day), max_size=40), st.integers(1, 40))
def test_windows_hold_the_days_asked_for_and_are_no_wider_than_allowed(
    days: Days, most: int
) -> None:
    found = windows(days, most)
    held = [d for window in found for d in window.days]
    assert set(days) <= set(held)
    assert held == sorted(set(held))
    assert all(len(window.days) <= most for window in found)
    # A window begins and ends with a day that was asked for.
    assert {d for window in found for d in (window.first, window.last)} <= set(days)


def test_days_between_two_that_are_asked_for_come_along() -> None:
    assert windows([day(0), day(5)], 30) == [Window(day(0), day(5))]
    assert windows([day(0), day(5)], 5) == [Window(day(0), day(0)), Window(day(5), day(5))]
    assert windows([day(n) for n in range(5)], 2) == [
        Window(day(0), day(1)),
        Window(day(2), day(3)),
        Window(day(4), day(4)),
    ]
    assert windows([], 3) == []


@dataclass
class Answers:
    """Stands for the client: what it was asked, and what it answers by address."""

    answers: Mapping[str, Received | UpstreamError]
    asked: list[tuple[str, Validators | None]] = field(default_factory=list)
    patience: list[int] = field(default_factory=list)

    def shown(self, request: Request) -> str:
        return request.url

    def fetch(self, request: Request, *, policy: HttpPolicy, validators: Any) -> Received:
        self.patience.append(policy.attempts)
        self.asked.append((request.url, validators))
        answer = self.answers[request.url]
        if isinstance(answer, UpstreamError):
            raise answer
        return answer


def answer(url: str, status: int = 200, **given: Any) -> Received:
    values: dict[str, Any] = {
        "url": url,
        "status": status,
        "body": Body("a" * 64, 3, Path("body"), known=False) if status == 200 else None,
        "etag": None,
        "last_modified": None,
        "content_type": "text/csv",
        "attempts": 2,
        "started_at": NOON,
        "received_at": NOON + timedelta(seconds=5),
        "seconds": 5.0,
    }
    return Received(**values | given)


def by_day(context: Context, window: Window) -> Iterator[Document]:
    for one in window.days:
        yield context.get(Request(f"u{(one - DAY).days}"), Window(one, one))


def spec(**given: Any) -> SourceSpec:
    changes = {"extract": by_day, "window_days": 1} | given
    return replace(registry.load(["tweetfeed"])[0], **changes)


def ask(source: SourceSpec, days: Days, answers: Answers, past: Past | None = None) -> Any:
    upstream = Upstream(cast(HttpClient, answers), {"KEY": "hush"})
    return extract(source, days, upstream, cast(Landing, None), past or Past(), lambda: NOON)


def past(*fetches: Fetch) -> Past:
    return Past(journal(*(row(one) for one in fetches)))


def test_every_request_becomes_a_row_and_every_body_a_document() -> None:
    answers = Answers({f"u{n}": answer(f"u{n}") for n in range(3)})
    found = ask(spec(), [day(0), day(2)], answers)
    assert sorted(url for url, _ in answers.asked) == ["u0", "u2"]
    assert {f.window.first for f in found.fetches} == {day(0), day(2)}
    assert [d.fetch for d in found.documents] == found.fetches
    assert found.problems == {}
    one = found.fetches[0]
    assert (one.outcome, one.status, one.attempts, one.bytes) == ("fetched", 200, 2, 3)
    assert (one.body_sha256, one.received_at) == ("a" * 64, NOON + timedelta(seconds=5))


def test_a_window_that_fails_does_not_stop_the_others() -> None:
    gone = NotPublished("Not there.", status=404, attempts=1)
    broken = UpstreamError("No.", status=500, attempts=5)
    answers = Answers({"u0": gone, "u1": answer("u1"), "u2": broken})
    found = ask(spec(), [day(0), day(1), day(2)], answers)
    assert found.problems == {day(0): gone, day(2): broken}
    assert [d.fetch.url for d in found.documents] == ["u1"]
    told = {f.url: (f.outcome, f.status, f.attempts, f.error_class) for f in found.fetches}
    assert told == {
        "u0": ("not_published", 404, 1, "NotPublished"),
        "u1": ("fetched", 200, 2, None),
        "u2": ("failed", 500, 5, "UpstreamError"),
    }


def test_only_days_asked_for_fail_with_their_window() -> None:
    answers = Answers({"u0": UpstreamError("No.")})
    found = ask(spec(window_days=9), [day(0), day(2)], answers)
    assert set(found.problems) == {day(0), day(2)}


def test_what_arrived_of_a_body_that_failed_is_named() -> None:
    error = UpstreamError("Cut off.")
    error.partial = Body("b" * 64, 7, Path("part"), known=False)
    found = ask(spec(), [day(0)], Answers({"u0": error}))
    assert (found.fetches[0].body_sha256, found.fetches[0].bytes) == ("b" * 64, 7)
    assert found.documents == []


def test_an_unchanged_body_is_the_one_that_was_known() -> None:
    known = Validators('"1"', "Mon", "c" * 64)
    answers = Answers({"u0": answer("u0", 304)})
    before = fetch(1, url="u0", etag='"1"', last_modified="Mon", body_sha256="c" * 64)
    found = ask(spec(), [day(0)], answers, past(before))
    assert answers.asked == [("u0", known)]
    one = found.fetches[0]
    assert (one.outcome, one.status, one.bytes) == ("not_modified", 304, 0)
    assert (one.body_sha256, one.etag, one.last_modified) == ("c" * 64, '"1"', "Mon")
    assert found.documents[0].path is None


def test_an_answer_that_says_unchanged_without_being_asked_is_refused() -> None:
    found = ask(spec(), [day(0)], Answers({"u0": answer("u0", 304)}))
    assert "304 to an unconditional request" in str(found.problems[day(0)])


def test_a_source_gets_the_secrets_that_it_declares_and_no_other() -> None:
    told: list[str] = []

    def tell(context: Context, window: Window) -> Iterator[Document]:
        told.append(context.secret("KEY"))
        yield from ()

    assert ask(spec(extract=tell, secrets=("KEY",)), [day(0)], Answers({})).problems == {}
    assert told == ["hush"]
    with pytest.raises(ValueError, match="does not declare the secret KEY"):
        ask(spec(extract=tell), [day(0)], Answers({}))


def test_a_secret_that_is_not_set_is_told_with_where_to_get_it() -> None:
    def need(context: Context, window: Window) -> Iterator[Document]:
        context.secret("OTHER")
        yield from ()

    source = spec(extract=need, secrets=("OTHER",))
    problem = ask(source, [day(0)], Answers({})).problems[day(0)]
    assert isinstance(problem, ConfigurationError)
    assert problem.what == "tweetfeed needs OTHER, which is not set."
    assert source.homepage in problem.do
    assert "OTHER=" in problem.do


def test_what_came_before_a_window_failed_is_kept() -> None:
    broken = UpstreamError("504", status=504, attempts=5)
    answers = Answers({"u0": answer("u0"), "u1": answer("u1"), "u2": broken})
    found = ask(spec(window_days=3), [day(0), day(1), day(2)], answers)
    assert {d.fetch.url for d in found.documents} == {"u0", "u1"}
    assert set(found.problems) == {day(0), day(1), day(2)}


def test_what_a_document_answers_stands_in_the_journal() -> None:
    def pages(context: Context, window: Window) -> Iterator[Document]:
        yield context.get(Request("u0"), window).answering(None, None)
        yield context.get(Request("u1"), window).answering(NOON, NOON + timedelta(days=1))

    answers = Answers({"u0": answer("u0"), "u1": answer("u1")})
    found = ask(spec(extract=pages), [day(0)], answers)
    told = {f.url: (f.answers_from, f.answers_to) for f in found.fetches}
    came = NOON + timedelta(seconds=5)
    assert told == {"u0": (came, came), "u1": (NOON, NOON + timedelta(days=1))}


def test_a_source_is_told_the_time_what_raw_holds_and_what_it_answered_before() -> None:
    told: list[object] = []

    def tell(context: Context, window: Window) -> Iterator[Document]:
        told.extend([context.now, context.held("value").rows()])
        for since in (NOON, NOON + timedelta(hours=2)):
            found = context.received(Request("u0"), since)
            told.append(found.fetch_id if found else None)
        yield from ()

    before = fetch(1, url="u0")
    held = pl.DataFrame({"day": [DAY], "value": ["x"]})
    known = Past(journal(row(before)), lambda columns: held.select("day", *columns))
    assert ask(spec(extract=tell), [day(0)], Answers({}), known).problems == {}
    assert told == [NOON, [(DAY, "x")], before.fetch_id, None]


def test_no_request_goes_beyond_the_quota_also_not_a_retry() -> None:
    answers = Answers({f"u{n}": answer(f"u{n}", attempts=1) for n in range(4)})
    yesterday = fetch(1, url="x", attempts=9, received_at=NOON - timedelta(days=1))
    this_morning = fetch(2, url="y", attempts=3, received_at=NOON - timedelta(hours=1))
    limited = spec(quota=Quota(5))
    found = ask(limited, [day(n) for n in range(4)], answers, past(yesterday, this_morning))
    assert len(answers.asked) == 2
    refused = list(found.problems.values())
    assert [type(one) for one in refused] == [QuotaExhausted] * 2
    assert "quota of 5 requests a day" in refused[0].what
    assert max(answers.patience) <= 2


def about(context: Context, indicator: str, kind: str) -> Request:
    return Request(f"u-{indicator}")


def looking_up(*values: str, answers: Answers, before: Past | None = None, **given: Any) -> Any:
    source = spec(kind="lookup", extract=on_demand, lookup=about, looks_up=("ipv4",), **given)
    upstream = Upstream(cast(HttpClient, answers), {})
    asked = [(value, "url" if ":" in value else "ipv4") for value in values]
    return look_up(source, asked, upstream, cast(Landing, None), before or Past(), lambda: NOON)


def test_an_indicator_is_asked_of_once_while_its_answer_is_fresh() -> None:
    answers = Answers({f"u-{n}": answer(f"u-{n}") for n in "abc"} | {"u-d": NotPublished("No.")})
    fresh = fetch(1, url="u-a", received_at=NOON - timedelta(days=6))
    old = fetch(2, url="u-b", received_at=NOON - timedelta(days=8))
    found = looking_up("a", "b", "c", "d", "http://x", answers=answers, before=past(fresh, old))
    assert found.outcomes == {
        "a": "fresh",
        "b": "asked",
        "c": "asked",
        "d": "unknown",
        "http://x": "not_applicable",
    }
    assert [url for url, _ in answers.asked] == ["u-b", "u-c", "u-d"]
    assert {d.fetch.url for d in found.extraction.documents} == {"u-b", "u-c"}


def test_looking_up_ends_where_the_quota_ends() -> None:
    answers = Answers({f"u-{n}": answer(f"u-{n}", attempts=1) for n in "abc"})
    found = looking_up("a", "b", "c", answers=answers, quota=Quota(2))
    assert found.outcomes == {"a": "asked", "b": "asked"}
    assert isinstance(found.error, QuotaExhausted)
