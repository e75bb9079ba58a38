"""How a day stands: every state, its reason and deadline, and which rule goes before which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from intel_assets.coverage import findings
from intel_assets.coverage import tables as names
from intel_assets.coverage.expected import expected
from intel_assets.coverage.states import RUNNING, STATES, states
from intel_assets.lakehouse.ops import CHECKS
from intel_assets.sources.calendars import Calendar
from intel_assets.sources.spec import SourceSpec
from intel_assets.sources.switches import Off
from intel_assets.threat.plain_lists import IPSUM
from intel_assets_tests.unit.coverage.given import (
    DAYS,
    HOUR,
    MINUTE,
    NOON,
    TODAY,
    ago,
    at,
    attempt,
    attempts,
    evidence,
    fetch,
    fetches,
    files,
    partition,
    partitions,
    spec,
    whole,
)

DAY = date(2026, 10, 28)
"""With a look-back of 30 days it can be had until 2026-11-27."""
MONTH = spec(look_back_days=30)
EVER = spec()
LIST = replace(IPSUM, name="feed", start=TODAY - 400 * DAYS)
HOURLY = replace(LIST, calendar=Calendar("hour"), cadence="5 * * * *")
OFF = {"feed": Off("disabled", "switched off by ann on 2026-11-01: too noisy")}
UNSET = {"feed": Off("not_configured", "FEED_KEY is not set")}

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """What is known of `day`, how it stands then, and why."""

    state: str
    remedy: str
    reason: str | None
    one: SourceSpec = EVER
    day: date = DAY
    now: datetime = NOON
    asked: Rows = ()
    stored: Rows = ()
    lost: str = ""
    tried: Rows = ()
    checked: Rows = ()
    off: Mapping[str, Off] = field(default_factory=dict)
    runs: bool = False
    deadline: datetime | None = None
    attempts: int = 0
    rows: int | None = None
    next_at: datetime | None = None


def judge(case: Case) -> dict[str, Any]:
    stored = partitions(*case.stored)
    there = files(stored).filter(pl.col("layer") != case.lost)
    checks = CHECKS.conform(pl.DataFrame(list(case.checked))) if case.checked else CHECKS.empty()
    known = evidence(
        fetches=fetches(*case.asked),
        partitions=stored,
        present=there,
        attempts=attempts(*case.tried),
        checks=checks,
    )
    running = [("feed", case.day, case.day)] if case.runs else []
    found = states(
        expected([case.one], case.now, {"feed": ago(100)}),
        findings.all_of(known, [case.one]),
        case.off,
        pl.DataFrame(running, schema=RUNNING, orient="row"),
        case.now,
    )
    assert found.schema == STATES
    assert found["day"].is_unique().all()
    assert set(found["state"]) <= set(names.STATES)
    assert set(found["remedy"]) <= set(names.REMEDIES)
    return found.filter(pl.col("day") == case.day).row(0, named=True)


UNTIL = datetime(2026, 11, 27, tzinfo=UTC)
ASKED = [fetch(1, DAY, NOON - 10 * DAYS)]
CUT = [fetch(1, DAY, at(DAY, 17.5))]
"""Asked while the day lasted, and never after."""
REFUSED = [
    partition(DAY, recorded_at=NOON - 9 * DAYS),
    partition(
        DAY, "cleaned", state="rejected", rows=None, message="40 of 50 rows break the contract"
    ),
]
OLD = [row | {"code_version": "0"} for row in REFUSED]
FAILED = [partition(DAY, state="failed", rows=None, message="feed 2026-10-28: HTTP 503")]
UNPUBLISHED = [partition(DAY, state="missing", rows=None, message="feed 2026-10-28: HTTP 404")]


def times(count: int, kind: str = "fetch", since: datetime = NOON - 5 * DAYS) -> Rows:
    """So many attempts, an hour apart."""
    return [attempt(DAY, since + n * HOUR, kind=kind) for n in range(count)]


def check(name: str, description: str, value: float | None = None) -> Rows:
    row = {"source": "feed", "day": DAY, "name": name, "passed": False, "value": value}
    return [row | {"usual": 100.0, "description": description}]


SNAPSHOT = [fetch(1, TODAY, at(TODAY, 1.7))]
CASES = {
    # Whole days.
    "complete": Case("complete", "none", None, asked=ASKED, stored=whole(DAY), rows=10),
    "empty": Case(
        "empty",
        "none",
        "fetched; no records",
        asked=ASKED,
        stored=whole(DAY, state="empty", rows=0),
        rows=0,
    ),
    "collapsed": Case(
        "collapsed",
        "none",
        "9 rows; usual are 100",
        asked=ASKED,
        stored=whole(DAY),
        checked=check("volume", "9 rows; usual are 100", 9),
        rows=10,
    ),
    "a burst is none": Case(
        "complete",
        "none",
        None,
        asked=ASKED,
        stored=whole(DAY),
        checked=check("volume", "900 rows; usual are 100", 900),
        rows=10,
    ),
    "stale": Case(
        "stale",
        "none",
        "the same since 2026-11-01",
        one=LIST,
        day=TODAY,
        asked=SNAPSHOT,
        stored=whole(TODAY),
        checked=[row | {"day": TODAY} for row in check("staleness", "the same since 2026-11-01")],
        rows=10,
    ),
    "a complete day stays so while it is asked again": Case(
        "complete", "none", None, asked=ASKED, stored=whole(DAY), runs=True, rows=10
    ),
    "a complete day stays so although the last attempt failed": Case(
        "complete",
        "none",
        None,
        asked=[*ASKED, fetch(2, DAY, NOON - HOUR, outcome="failed")],
        stored=[*whole(DAY), FAILED[0] | {"recorded_at": NOON - HOUR}],
        tried=times(6),
        rows=10,
        next_at=NOON - 5 * DAYS + 5 * HOUR + 64 * HOUR,
    ),
    "a complete day stays so when its source is off": Case(
        "complete", "none", None, asked=ASKED, stored=whole(DAY), off=OFF, rows=10
    ),
    "a complete day stays so when it cannot be had any more": Case(
        "complete", "none", None, one=MONTH, asked=ASKED, stored=whole(DAY), now=UNTIL, rows=10
    ),
    # Missing ones.
    "never asked": Case("missing", "fetch", "not asked for yet"),
    "recoverable": Case(
        "missing",
        "fetch",
        "not asked for yet; recoverable until 2026-11-27 00:00 UTC, then lost",
        one=MONTH,
        deadline=UNTIL,
    ),
    "asked in vain": Case(
        "missing",
        "fetch",
        "asked 2 times; last: feed 2026-10-28: HTTP 503; "
        "recoverable until 2026-11-27 00:00 UTC, then lost",
        one=MONTH,
        stored=FAILED,
        tried=times(2),
        attempts=2,
        deadline=UNTIL,
        next_at=NOON - 5 * DAYS + 2 * HOUR,
    ),
    "asked by its schedule alone": Case(
        "missing", "fetch", "asked; last: feed 2026-10-28: HTTP 503", stored=FAILED
    ),
    "fetched in part": Case(
        "missing",
        "fetch",
        "fetched up to 17:30 UTC only; not asked for yet",
        asked=CUT,
        stored=whole(DAY),
        rows=10,
    ),
    "a body that waits to be folded": Case(
        "missing", "fetch", "not asked for yet", asked=[ASKED[0] | {"folded_at": None}]
    ),
    "not published yet": Case(
        "missing",
        "fetch",
        "asked once; last: feed 2026-10-28: HTTP 404",
        stored=UNPUBLISHED,
        tried=times(1),
        attempts=1,
        next_at=NOON - 5 * DAYS + 15 * MINUTE,
    ),
    "never published": Case(
        "missing",
        "person",
        "the source has not published it: asked 6 times",
        stored=UNPUBLISHED,
        tried=times(6),
        attempts=6,
        next_at=NOON - 5 * DAYS + 5 * HOUR + 64 * HOUR,
    ),
    "attempts used up": Case(
        "failed",
        "person",
        "asked 6 times; last: feed 2026-10-28: HTTP 503; "
        "recoverable until 2026-11-27 00:00 UTC, then lost",
        one=MONTH,
        stored=FAILED,
        tried=times(6),
        attempts=6,
        deadline=UNTIL,
        next_at=NOON - 5 * DAYS + 5 * HOUR + 64 * HOUR,
    ),
    "filling": Case("filling", "none", "a run is at it", runs=True),
    "filling goes before lost": Case(
        "filling", "none", "a run is at it", one=MONTH, now=UNTIL, runs=True
    ),
    # What cannot be had.
    "lost": Case(
        "lost",
        "none",
        "the source reached back to it until 2026-11-27 00:00 UTC",
        one=MONTH,
        now=UNTIL,
    ),
    "lost although it was tried": Case(
        "lost",
        "none",
        "fetched up to 17:30 UTC only; the source reached back to it until 2026-11-27 00:00 UTC; "
        "tried 7 times; last: feed 2026-10-28: HTTP 503",
        one=MONTH,
        now=UNTIL,
        asked=CUT,
        stored=FAILED,
        tried=times(7),
        attempts=7,
        next_at=NOON - 5 * DAYS + 6 * HOUR + 64 * HOUR,
    ),
    "a minute before it is lost": Case(
        "missing",
        "fetch",
        "not asked for yet; recoverable until 2026-11-27 00:00 UTC, then lost",
        one=MONTH,
        now=UNTIL - MINUTE,
        deadline=UNTIL,
    ),
    "a state feed's past": Case(
        "lost", "none", "a state feed has no past to ask for, and that day nothing came", one=LIST
    ),
    "a state feed's past that was asked for": Case(
        "lost",
        "none",
        "a state feed has no past to ask for, and that day nothing came; "
        "last: feed 2026-10-28: HTTP 503",
        one=LIST,
        stored=FAILED,
    ),
    "hours of a state feed": Case(
        "lost",
        "none",
        "2 of 24 hours were fetched; a state feed has no past to ask for",
        one=HOURLY,
        asked=[fetch(n, DAY, at(DAY, n)) for n in (3, 4)],
    ),
    # What is not due.
    "not due": Case("not_due", "none", "due on 2026-11-21 02:00 UTC", day=TODAY),
    "just ended": Case(
        "not_due", "none", "due on 2026-11-20 02:00 UTC", day=ago(1), now=at(TODAY, 1)
    ),
    "due": Case("missing", "fetch", "not asked for yet", day=ago(1), now=at(TODAY, 2)),
    "a state feed before its first request": Case(
        "not_due", "none", "due on 2026-11-20 03:40 UTC", one=LIST, day=TODAY, now=at(TODAY, 3)
    ),
    "a state feed whose first request did not come": Case(
        "missing",
        "fetch",
        "not asked for yet; recoverable until 2026-11-21 00:00 UTC, then lost",
        one=LIST,
        day=TODAY,
        deadline=at(TODAY) + DAYS,
    ),
    "a state feed's today": Case(
        "complete", "none", None, one=LIST, day=TODAY, asked=SNAPSHOT, stored=whole(TODAY), rows=10
    ),
    # Sources that are off.
    "disabled": Case("disabled", "none", OFF["feed"].reason, off=OFF),
    "not configured": Case("not_configured", "none", "FEED_KEY is not set", off=UNSET),
    "disabled goes before lost": Case(
        "disabled", "none", OFF["feed"].reason, one=MONTH, now=UNTIL, off=OFF
    ),
    "disabled goes before not due": Case(
        "disabled", "none", OFF["feed"].reason, day=TODAY, off=OFF
    ),
    "disabled goes before used up": Case(
        "disabled",
        "none",
        OFF["feed"].reason,
        stored=FAILED,
        tried=times(6),
        off=OFF,
        attempts=6,
        next_at=NOON - 5 * DAYS + 5 * HOUR + 64 * HOUR,
    ),
    # What stands in landing and not in the tables.
    "a folder is gone": Case(
        "missing",
        "replay",
        "1 of its tables lost their files; it can be built again from landing",
        one=MONTH,
        asked=ASKED,
        stored=whole(DAY),
        lost="cleaned",
        rows=10,
    ),
    "a folder of a day that cannot be had any more is gone": Case(
        "missing",
        "replay",
        "1 of its tables lost their files; it can be built again from landing",
        one=MONTH,
        now=UNTIL,
        asked=ASKED,
        stored=whole(DAY),
        lost="raw",
        rows=10,
    ),
    "a folder of a source that is off is gone": Case(
        "missing",
        "replay",
        "1 of its tables lost their files; it can be built again from landing",
        asked=ASKED,
        stored=whole(DAY),
        lost="raw",
        off=OFF,
        rows=10,
    ),
    "a folder of today is gone": Case(
        "missing",
        "replay",
        "1 of its tables lost their files; it can be built again from landing",
        day=TODAY,
        asked=[fetch(1, TODAY, NOON - HOUR)],
        stored=whole(TODAY),
        lost="raw",
        rows=10,
    ),
    "a run died in the middle": Case(
        "missing",
        "replay",
        "a run died before every table was written; it can be built again from landing",
        asked=ASKED,
        stored=whole(DAY)[:2],
        rows=10,
    ),
    "asking for it does not use up building it again": Case(
        "missing",
        "replay",
        "1 of its tables lost their files; it can be built again from landing",
        asked=ASKED,
        stored=whole(DAY),
        lost="raw",
        tried=times(6),
        rows=10,
    ),
    "built again in vain": Case(
        "missing",
        "replay",
        "1 of its tables lost their files; it can be built again from landing",
        asked=ASKED,
        stored=whole(DAY),
        lost="raw",
        tried=times(2, "replay"),
        attempts=2,
        rows=10,
        next_at=NOON - 5 * DAYS + 2 * HOUR,
    ),
    "built again too often": Case(
        "failed",
        "person",
        "1 of its tables lost their files; it can be built again from landing; tried 6 times",
        asked=ASKED,
        stored=whole(DAY),
        lost="raw",
        tried=times(6, "replay"),
        attempts=6,
        rows=10,
    ),
    "built again right now": Case(
        "filling",
        "none",
        "a run is at it",
        asked=ASKED,
        stored=whole(DAY),
        lost="raw",
        runs=True,
        rows=10,
    ),
    # What broke its contract.
    "rejected": Case(
        "rejected",
        "fetch",
        "40 of 50 rows break the contract",
        one=MONTH,
        asked=ASKED,
        stored=REFUSED,
        deadline=UNTIL,
        rows=10,
    ),
    "rejected by a source that is off": Case(
        "rejected",
        "person",
        "40 of 50 rows break the contract",
        asked=ASKED,
        stored=REFUSED,
        off=OFF,
        rows=10,
    ),
    "rejected, and asked again": Case(
        "filling", "none", "a run is at it", asked=ASKED, stored=REFUSED, runs=True, rows=10
    ),
    "rejected too often": Case(
        "rejected",
        "person",
        "40 of 50 rows break the contract; tried 6 times",
        asked=ASKED,
        stored=REFUSED,
        tried=times(6),
        attempts=6,
        rows=10,
        next_at=NOON - 5 * DAYS + 5 * HOUR + 64 * HOUR,
    ),
    "rejected although every body was another": Case(
        "rejected",
        "fetch",
        "40 of 50 rows break the contract",
        asked=ASKED,
        # Raw was written after the attempts.
        stored=[REFUSED[0] | {"recorded_at": NOON - MINUTE}, REFUSED[1]],
        tried=times(3),
        attempts=3,
        rows=10,
        next_at=NOON - 5 * DAYS + 6 * HOUR,
    ),
    "rejected and out of reach": Case(
        "rejected",
        "person",
        "40 of 50 rows break the contract",
        one=MONTH,
        now=UNTIL,
        asked=ASKED,
        stored=REFUSED,
        rows=10,
    ),
    "rejected by code of yesterday": Case(
        "rejected",
        "replay",
        "40 of 50 rows break the contract; the code has changed since",
        asked=ASKED,
        stored=OLD,
        tried=times(6),
        rows=10,
    ),
    "rejected by code of yesterday, and built again in vain": Case(
        "rejected",
        "fetch",
        "40 of 50 rows break the contract",
        asked=ASKED,
        stored=OLD,
        tried=times(6, "replay"),
        rows=10,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_how_a_day_stands_and_why(case: Case) -> None:
    found = judge(case)
    del found["silent"]
    assert found == {
        "source": "feed",
        "day": case.day,
        "state": case.state,
        "reason": case.reason,
        "deadline": case.deadline,
        "remedy": case.remedy,
        "attempts": case.attempts,
        "rows": case.rows,
        "next_at": case.next_at,
    }


def test_every_state_that_there_is_has_a_case() -> None:
    assert {case.state for case in CASES.values()} == set(names.STATES)


def test_a_source_is_off_alone() -> None:
    found = states(
        expected([spec("one"), spec("two")], NOON, {}),
        findings.all_of(evidence(), [spec("one"), spec("two")]),
        {"one": Off("disabled", "off")},
        pl.DataFrame(schema=RUNNING),
        NOON,
    )
    by_source = dict(found.group_by("source").agg(pl.col("state").unique().sort()).iter_rows())
    assert by_source == {"one": ["disabled"], "two": ["missing", "not_due"]}


def test_a_day_is_whole_once_two_bodies_together_speak_of_all_of_it() -> None:
    half = HOUR * 12
    morning = fetch(1, DAY, NOON, covers_from=at(DAY), covers_to=at(DAY) + half)
    evening = fetch(2, DAY, NOON, covers_from=at(DAY) + half, covers_to=at(DAY) + DAYS)
    hole = evening | {"covers_from": at(DAY) + half + timedelta(microseconds=1)}
    stored = whole(DAY)
    assert judge(Case("", "", None, asked=[morning, evening], stored=stored))["state"] == "complete"
    found = judge(Case("", "", None, asked=[morning, hole], stored=stored))
    assert (found["state"], found["reason"]) == (
        "missing",
        "fetched up to 12:00 UTC only; not asked for yet",
    )


def test_days_without_any_evidence_are_judged_in_order() -> None:
    found = states(
        expected([MONTH], NOON, {}),
        findings.all_of(evidence(), [MONTH]),
        {},
        pl.DataFrame(schema=RUNNING),
        NOON,
    )
    assert found["day"].to_list() == [ago(back) for back in range(29, -1, -1)]
    assert found["state"].to_list() == ["missing"] * 29 + ["not_due"]
