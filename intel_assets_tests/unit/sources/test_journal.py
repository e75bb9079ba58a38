"""Which bodies a day is folded from, and in what order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from intel_assets.clock import start_of
from intel_assets.ingest.http import Validators
from intel_assets.sources.journal import (
    Sequence,
    coverage,
    fetch_of,
    row_of,
    sequence,
    validators,
    waiting,
)
from intel_assets.sources.spec import UNDATED
from intel_assets_tests.unit.sources.fetches import DAY, NOON, fetch, folded, journal, row


def unchanged(number: int, body_of: int, **given: Any) -> dict[str, Any]:
    """A 304: the body of an earlier fetch still holds."""
    same = fetch(body_of).body_sha256
    return row(
        fetch(number, outcome="not_modified", status=304, body_sha256=same, bytes=0), **given
    )


def numbers(found: Sequence) -> list[int]:
    return [int(entry.fetch.fetch_id.split("-")[1]) for entry in found.entries]


def test_a_fetch_reads_back_from_its_row() -> None:
    one = fetch(3, error="no", error_class="ParseError")
    assert fetch_of(row_of(one, "run", NOON)) == one
    assert fetch_of(journal(row(one)).row(0, named=True)) == one


def test_waiting_bodies_are_folded_on_top_in_the_order_received() -> None:
    found = sequence(journal(folded(row(fetch(1))), row(fetch(3)), row(fetch(2))), DAY, anew=False)
    assert (numbers(found), found.anew) == ([2, 3], False)
    assert found.entries[0].covers_from == NOON - timedelta(days=1)
    assert found.entries[0].covers_to == NOON + timedelta(days=1)


def test_nothing_waits_nothing_is_folded() -> None:
    found = sequence(journal(folded(row(fetch(1))), folded(row(fetch(2)))), DAY, anew=False)
    assert found == Sequence((), anew=False)
    assert sequence(journal(row(fetch(1))).clear(), DAY, anew=False) == Sequence((), anew=False)


def test_a_body_that_was_received_before_one_that_is_folded_folds_the_day_anew() -> None:
    rows = folded(row(fetch(1))), row(fetch(2)), folded(row(fetch(3))), row(fetch(4))
    found = sequence(journal(*rows), DAY, anew=False)
    assert (numbers(found), found.anew) == ([1, 2, 3, 4], True)


def test_bodies_received_at_one_moment_are_folded_alike_whichever_entered_first() -> None:
    """As for two files that are landed with the same --fetched-at, one after the other."""
    one, other = fetch(1), fetch(2, received_at=fetch(1).received_at)
    wanted = numbers(sequence(journal(row(one), row(other)), DAY, anew=True))
    for first, second in ((one, other), (other, one)):
        found = sequence(journal(folded(row(first)), row(second)), DAY, anew=False)
        assert (numbers(found), found.anew) == (wanted, True)


def test_a_replay_folds_all_bodies_of_the_day() -> None:
    rows = folded(row(fetch(1))), folded(row(fetch(2)))
    found = sequence(journal(*rows), DAY, anew=True)
    assert (numbers(found), found.anew) == ([1, 2], True)


def test_an_unchanged_body_after_itself_says_nothing() -> None:
    assert numbers(sequence(journal(row(fetch(1)), unchanged(2, 1)), DAY, anew=False)) == [1]
    behind = journal(folded(row(fetch(1))), unchanged(2, 1), unchanged(3, 1))
    assert sequence(behind, DAY, anew=False) == Sequence((), anew=False)
    assert numbers(sequence(behind, DAY, anew=True)) == [1]


def test_an_unchanged_body_after_another_speaks_again() -> None:
    rows = row(fetch(1)), row(fetch(2)), unchanged(3, 1)
    assert numbers(sequence(journal(*rows), DAY, anew=False)) == [1, 2, 3]
    behind = journal(*(folded(one) for one in rows[:2]), unchanged(3, 1))
    assert numbers(sequence(behind, DAY, anew=False)) == [3]


def test_a_body_that_came_again_is_folded_again() -> None:
    again = fetch(2, body_sha256=fetch(1).body_sha256)
    assert numbers(sequence(journal(row(fetch(1)), row(again)), DAY, anew=False)) == [1, 2]


def test_another_days_bodies_neither_count_nor_stand_between() -> None:
    elsewhere = {"first": NOON + timedelta(days=5), "last": NOON + timedelta(days=6)}
    rows = row(fetch(1)), row(fetch(2), **elsewhere), unchanged(3, 1)
    assert numbers(sequence(journal(*rows), DAY, anew=False)) == [1]
    late = journal(row(fetch(1)), folded(row(fetch(2), **elsewhere)))
    assert not sequence(late, DAY, anew=False).anew


@pytest.mark.parametrize(
    ("first", "last", "speaks"),
    [
        (timedelta(hours=12), timedelta(hours=13), False),  # begins as the day ends
        (timedelta(hours=12, microseconds=-1), timedelta(hours=13), True),
        (timedelta(hours=-13), timedelta(hours=-12), False),  # ends as the day begins
        (timedelta(hours=-13), timedelta(hours=-12, microseconds=1), True),
    ],
)
def test_a_body_speaks_of_a_day_that_it_touches(
    first: timedelta, last: timedelta, speaks: bool
) -> None:
    one = journal(row(fetch(1), first=NOON + first, last=NOON + last))
    assert numbers(sequence(one, DAY, anew=False)) == ([1] if speaks else [])


def test_every_body_may_speak_of_undated_records() -> None:
    far = row(fetch(1), first=NOON + timedelta(days=50), last=NOON + timedelta(days=60))
    assert numbers(sequence(journal(far), UNDATED, anew=False)) == [1]


def test_failures_and_bodies_that_were_not_understood_are_not_folded() -> None:
    rows = [
        row(fetch(1, outcome="failed")),
        row(fetch(2, outcome="not_published")),
        row(fetch(3), first=None),
        row(fetch(4, outcome="landed")),
    ]
    assert numbers(sequence(journal(*rows), DAY, anew=True)) == [4]
    assert waiting(journal(*rows, folded(row(fetch(5)))))["fetch_id"].to_list() == [
        fetch(4).fetch_id
    ]


# -- what is said of a 304 -----------------------------------------------------------------------


def test_an_unchanged_body_covers_what_it_covered_last() -> None:
    wider = {"first": NOON - timedelta(days=9)}
    rows = row(fetch(1), **wider), row(fetch(2)), unchanged(3, 1, first=None)
    found = coverage(journal(*rows), fetch(4, body_sha256=fetch(1).body_sha256))
    assert found == {
        "covers_from": NOON - timedelta(days=9),
        "covers_to": NOON + timedelta(days=1),
    }
    assert coverage(journal(*rows), fetch(5)) == {}
    elsewhere = fetch(6, body_sha256=fetch(1).body_sha256, url="https://other.test")
    assert coverage(journal(*rows), elsewhere) == {}


def test_a_source_is_asked_for_changes_since_the_newest_body_that_was_understood() -> None:
    bad = row(fetch(3), parsed=None)
    rows = row(fetch(1)), row(fetch(2)), bad
    known = fetch(2)
    assert validators(journal(*rows)) == {
        known.url: Validators(known.etag, known.last_modified, known.body_sha256)
    }
    newest = validators(journal(*rows, unchanged(4, 2, parsed=None)))
    assert newest[known.url].body_sha256 == known.body_sha256


def test_a_body_without_validators_is_asked_for_whole() -> None:
    assert validators(journal(row(fetch(1, etag=None)))) == {}
    assert validators(journal(row(fetch(1, outcome="failed")))) == {}


def test_a_304_speaks_of_a_snapshots_day_only_if_the_body_was_already_that_days() -> None:
    day = start_of(DAY), start_of(DAY + timedelta(days=1))
    rows = journal(folded(row(fetch(1), first=day[0], last=day[1])))
    same = fetch(2, outcome="not_modified", body_sha256=fetch(1).body_sha256)
    assert coverage(rows, same, day) == {"covers_from": day[0], "covers_to": day[1]}
    next_day = day[1], day[1] + timedelta(days=1)
    assert coverage(rows, same, next_day) == {}
