"""What the lake's own records promise."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.ops import (
    CHECKS,
    FETCHES,
    PARTITIONS,
    CheckOutcome,
    Journal,
    PartitionState,
)
from intel_assets_tests.unit.sources.fetches import DAY, NOON, fetch, folded, row


@pytest.fixture
def kept(tmp_path: Path) -> Journal:
    return Journal(Layout(str(tmp_path)), "urlhaus")


def test_a_journal_that_was_never_written_is_empty_and_typed(kept: Journal) -> None:
    assert kept.fetches().schema == FETCHES.schema
    assert kept.partitions([DAY]).schema == PARTITIONS.schema
    assert kept.partitions([]).schema == PARTITIONS.schema
    kept.record_fetches([], "run")
    kept.record_partitions([], code_version="1", run_id="run", at=NOON)
    assert kept.fetches().is_empty()


def test_fetches_come_in_the_order_received(kept: Journal) -> None:
    kept.record_fetches([row(fetch(n)) for n in (3, 1, 2)], "run")
    assert kept.fetches()["fetch_id"].to_list() == [fetch(n).fetch_id for n in (1, 2, 3)]


def test_fetches_of_one_moment_come_in_an_order_that_does_not_depend_on_chance(
    kept: Journal,
) -> None:
    at = fetch(1).received_at
    same = [fetch(n, received_at=at, fetch_id=f"x-{9 - n}") for n in range(5)]
    kept.record_fetches([row(one) for one in same], "run")
    found = kept.fetches()["body_sha256"].to_list()
    assert found == sorted(found)


@pytest.mark.parametrize("late", [False, True], ids=["newest", "written before"])
def test_the_row_of_a_folded_body_counts(kept: Journal, late: bool) -> None:
    received = row(fetch(1))
    after = folded(received) | {"recorded_at": NOON + timedelta(days=-1 if late else 1)}
    for one in (received, after, received):
        kept.record_fetches([one], "run")
    found = kept.fetches()
    assert found.height == 1
    assert found.row(0, named=True)["added"] == 1


def test_of_two_rows_with_counts_the_first_fold_is_kept(kept: Journal) -> None:
    """A crash between two runs may fold a body twice; the second finds nothing new."""
    first = folded(row(fetch(1)))
    again = first | {"folded_at": NOON + timedelta(days=1), "added": 0}
    kept.record_fetches([again | {"recorded_at": NOON + timedelta(days=1)}, first], "run")
    assert kept.fetches()["added"].to_list() == [1]


def test_until_a_body_is_folded_its_newest_row_counts(kept: Journal) -> None:
    bad = row(fetch(1), first=None, error="line 7")
    mended = row(fetch(1)) | {"recorded_at": NOON + timedelta(days=1)}
    kept.record_fetches([mended], "run")
    kept.record_fetches([bad], "run")
    found = kept.fetches().row(0, named=True)
    assert (found["error"], found["covers_from"]) == (None, NOON - timedelta(days=1))


def test_sources_have_journals_of_their_own(kept: Journal, tmp_path: Path) -> None:
    other = Journal(Layout(str(tmp_path)), "tweetfeed")
    kept.record_fetches([row(fetch(1))], "run")
    other.record_fetches([row(fetch(2, source="tweetfeed"))], "run")
    assert kept.fetches()["source"].to_list() == ["urlhaus"]
    assert other.fetches()["source"].to_list() == ["tweetfeed"]


def states(*given: tuple[date, str]) -> Iterable[PartitionState]:
    return (PartitionState("raw", "urlhaus", day, state, rows=1) for day, state in given)


def test_a_partition_is_what_it_came_to_last(kept: Journal) -> None:
    for hour, state in ((2, "complete"), (1, "failed")):
        at = NOON + timedelta(hours=hour)
        kept.record_partitions(states((DAY, state)), code_version="1", run_id="r", at=at)
    found = kept.partitions([DAY])
    assert found["state"].to_list() == ["complete"]
    assert found.schema == PARTITIONS.schema


def test_partitions_are_told_by_table_and_day(kept: Journal, tmp_path: Path) -> None:
    days = [DAY + timedelta(days=n) for n in range(4)]
    kept.record_partitions(
        [
            *states(*((day, "complete") for day in days)),
            PartitionState("cleaned", "u", DAY, "empty"),
        ],
        code_version="7",
        run_id="run-1",
        at=NOON,
    )
    found = kept.partitions([days[2], days[0]]).sort("layer", "day")
    assert found.select("layer", "day").rows() == [
        ("cleaned", DAY),
        *(("raw", day) for day in days[:3]),
    ]
    assert found.select("source", "code_version", "run_id").unique().rows() == [
        ("urlhaus", "7", "run-1")
    ]
    assert Journal(Layout(str(tmp_path)), "tweetfeed").partitions(days).is_empty()


def test_a_commit_names_its_run_and_source(kept: Journal) -> None:
    kept.record_fetches([row(fetch(1))], "run-9")
    opened = kept._fetches.open()
    assert opened is not None
    entry = opened.history(1)[0]
    assert (entry["run_id"], entry["source"]) == ("run-9", "urlhaus")


def test_columns_that_a_row_does_not_know_are_null(kept: Journal) -> None:
    kept.record_fetches([row(fetch(1))], "run")
    found = kept.fetches()
    assert found.schema == FETCHES.schema
    assert found.select(pl.col("added", "folded_at").is_null().all()).row(0) == (True, True)


def test_the_rows_of_a_day_are_those_it_was_last_good_with(kept: Journal) -> None:
    def record(hour: int, state: str, rows: int | None, code: str, layer: str = "raw") -> None:
        one = PartitionState(layer, "urlhaus", DAY, state, rows=rows)
        at = NOON + timedelta(hours=hour)
        kept.record_partitions([one], code_version=code, run_id="run", at=at)

    record(1, "complete", 900, "1")
    record(2, "complete", 300, "2")
    record(3, "complete", 200, "2")
    record(4, "failed", None, "2")
    record(5, "complete", 999, "2", layer="cleaned")
    assert kept.volumes(DAY, "2").rows() == [(DAY, 200, 300)]
    assert kept.volumes(DAY, "1").rows() == [(DAY, 200, 900)]
    assert kept.volumes(DAY + timedelta(days=1), "2").is_empty()
    record(6, "empty", 0, "2")
    assert kept.volumes(DAY - timedelta(days=9), "2").rows() == [(DAY, 0, 300)]


def test_a_check_came_out_as_it_was_last_said(kept: Journal, tmp_path: Path) -> None:
    assert kept.checks([DAY]).schema == CHECKS.schema
    assert kept.checks([]).schema == CHECKS.schema
    later = DAY + timedelta(days=1)
    for hour, passed in enumerate((False, True)):
        outcomes = [
            CheckOutcome(day, "raw", "volume", passed, "warn", "x", 1.0, None)
            for day in (DAY, later)
        ]
        kept.record_checks(outcomes, run_id=f"run-{hour}", at=NOON + timedelta(hours=hour))
    kept.record_checks([], run_id="run", at=NOON)
    (found,) = kept.checks([DAY]).to_dicts()
    assert (found["passed"], found["run_id"], found["value"], found["usual"]) == (
        True,
        "run-1",
        1.0,
        None,
    )
    assert kept.checks([DAY, later]).height == 2
    assert Journal(Layout(str(tmp_path)), "tweetfeed").checks([DAY]).is_empty()
