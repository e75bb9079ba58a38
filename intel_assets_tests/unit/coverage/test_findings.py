"""What the evidence says: pure functions over frames, in whatever order the rows come."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.coverage import findings
from intel_assets.coverage.evidence import newest
from intel_assets.coverage.findings import PAUSES, health, snapshots, stretches, tries
from intel_assets.coverage.tables import COVERAGE
from intel_assets.lakehouse.contracts import INSTANT
from intel_assets.lakehouse.ops import CHECKS
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
    fetch,
    fetches,
    files,
    partition,
    partitions,
    spec,
    whole,
)

LATER = NOON + 100 * DAYS


def body(number: int, since: datetime, until: datetime, **given_: object) -> dict[str, object]:
    """A body that speaks of a stretch of time, received long after it."""
    return fetch(number, since.date(), LATER, covers_from=since, covers_to=until, **given_)


def union(*rows: dict[str, object]) -> list[tuple[datetime, datetime]]:
    return list(stretches(fetches(*rows)).select("since", "until").iter_rows())


# -- stretches --------------------------------------------------------------------------------


def test_stretches_that_overlap_or_touch_are_one() -> None:
    rows = [
        body(1, at(ago(9)), at(ago(7))),
        body(2, at(ago(7)), at(ago(6))),
        body(3, at(ago(8)), at(ago(5))),
        body(4, at(ago(4)), at(ago(3))),
        body(5, at(ago(9)), at(ago(8))),
    ]
    assert union(*rows) == [(at(ago(9)), at(ago(5))), (at(ago(4)), at(ago(3)))]


def test_a_body_inside_another_does_not_cut_it() -> None:
    rows = [
        body(1, at(ago(9)), at(ago(2))),
        body(2, at(ago(8)), at(ago(7))),
        body(3, at(ago(5)), at(ago(4))),
    ]
    assert union(*rows) == [(at(ago(9)), at(ago(2)))]


def test_a_body_says_nothing_of_the_time_after_it_was_received() -> None:
    assert union(fetch(1, TODAY, NOON)) == [(at(TODAY), NOON)]
    assert union(fetch(1, TODAY + DAYS, NOON)) == []


def test_a_body_that_is_not_folded_yet_covers_nothing() -> None:
    assert union(fetch(1, ago(1), NOON, folded_at=None)) == []
    assert union(fetch(1, ago(1), NOON, outcome="failed")) == []


def test_sources_are_kept_apart() -> None:
    rows = [body(1, at(ago(9)), at(ago(7))), body(2, at(ago(8)), at(ago(5)), source="other")]
    assert stretches(fetches(*rows)).rows() == [
        ("feed", at(ago(9)), at(ago(7))),
        ("other", at(ago(8)), at(ago(5))),
    ]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=25),
    st.randoms(use_true_random=False),
)
def test_stretches_are_the_union_of_the_bodies_in_whatever_order_they_came(
    pairs: list[tuple[int, int]], random: object
) -> None:
    rows = [
        body(n, at(ago(99)) + a * HOUR, at(ago(99)) + (a + w) * HOUR)
        for n, (a, w) in enumerate(pairs)
    ]
    found = union(*rows)
    hours = {a + n for a, w in pairs for n in range(w)}
    spoken_of = {
        int((since - at(ago(99))) / HOUR) + n
        for since, until in found
        for n in range(int((until - since) / HOUR))
    }
    assert spoken_of == hours
    assert all(a[1] < b[0] for a, b in zip(found, found[1:], strict=False))
    random.shuffle(rows)  # type: ignore[attr-defined]
    assert union(*rows) == found


# -- snapshots --------------------------------------------------------------------------------


def test_a_state_feeds_day_has_as_many_snapshots_as_hours_in_which_one_came() -> None:
    rows = [fetch(n, TODAY, at(TODAY, n / 2)) for n in range(7)]  # two in each hour
    assert snapshots(fetches(*rows)).rows() == [("feed", TODAY, 4)]


def test_a_snapshot_is_of_the_day_on_which_it_came() -> None:
    # Asked at 23:59:59 of the day before.
    row = fetch(1, ago(1), at(TODAY), covers_from=at(TODAY), covers_to=at(TODAY) + DAYS)
    assert snapshots(fetches(row)).rows() == [("feed", TODAY, 1)]


def test_a_snapshot_that_failed_or_waits_is_none() -> None:
    rows = [fetch(1, TODAY, NOON, folded_at=None), fetch(2, TODAY, NOON, outcome="failed")]
    assert snapshots(fetches(*rows)).is_empty()


# -- what stands ------------------------------------------------------------------------------


def stand(rows: list[dict[str, object]], **gone: object) -> dict[str, object]:
    known = partitions(*rows)
    there = files(known)
    if gone:
        there = there.filter(
            ~pl.all_horizontal(pl.col(name) == value for name, value in gone.items())
        )
    return findings.standing(known, there).row(0, named=True)


def test_a_day_whose_tables_and_files_are_all_there_stands() -> None:
    found = stand(whole(ago(1)))
    assert (found["layers"], found["gone"], found["rows"]) == (3, 0, 10)
    assert (found["good_at"], found["outcome"], found["rejected"]) == (at(TODAY), "complete", None)


def test_a_table_that_lost_its_files_is_counted() -> None:
    assert stand(whole(ago(1)), layer="cleaned")["gone"] == 1


def test_an_empty_partition_needs_no_file() -> None:
    rows = whole(ago(1), state="empty", rows=0)
    assert findings.standing(partitions(*rows), files(partitions())).row(0, named=True)["gone"] == 0


def test_what_was_good_before_stands_although_the_last_attempt_failed() -> None:
    failed = partition(ago(1), state="failed", rows=None, message="HTTP 503", recorded_at=NOON)
    found = stand([*whole(ago(1)), failed])
    assert (found["layers"], found["rows"], found["good_at"]) == (3, 10, at(TODAY))
    assert (found["outcome"], found["message"]) == ("failed", "HTTP 503")


def test_a_refused_day_says_why_and_by_which_code_and_was_last_good_before() -> None:
    rows = [
        *whole(ago(1)),
        partition(ago(1), recorded_at=NOON),
        partition(ago(1), "cleaned", state="rejected", message="40 of 50 rows", recorded_at=NOON),
    ]
    found = stand(rows)
    assert (found["rejected"], found["rejected_by"]) == ("40 of 50 rows", "1")
    assert found["good_at"] == at(TODAY)
    accepted = partition(ago(1), "cleaned", recorded_at=NOON + HOUR)
    assert stand([*rows, accepted])["rejected"] is None


def test_a_day_of_which_only_a_failure_is_known_says_so() -> None:
    found = stand([partition(ago(1), state="missing", rows=None, message="not published")])
    assert (found["outcome"], found["message"]) == ("missing", "not published")
    assert found["layers"] is None


# -- tries ------------------------------------------------------------------------------------

MARKS = pl.Schema({"source": pl.String, "day": pl.Date, "good_at": INSTANT, "told_at": INSTANT})


def marked(good: datetime | None = None, told: datetime | None = None) -> pl.DataFrame:
    """When the day was last good, and last heard of."""
    return pl.DataFrame([("feed", ago(9), good, told)], schema=MARKS, orient="row")


def tried(
    *planned: dict[str, object],
    asked: tuple[dict[str, object], ...] = (),
    marks: pl.DataFrame | None = None,
) -> dict[str, object]:
    found = tries(
        attempts(*planned), fetches(*asked), marked() if marks is None else marks, [spec()]
    )
    return found.filter(pl.col("day") == ago(9)).row(0, named=True)


def test_each_attempt_counts_and_each_pause_is_four_times_the_one_before() -> None:
    pauses = [
        tried(*(attempt(ago(9), NOON) for _ in range(count)))["fetch_at"] - NOON  # type: ignore[operator]
        for count in (1, 2, 3, 4, 5, 6, 99)
    ]
    assert pauses == [15 * MINUTE, HOUR, 4 * HOUR, 16 * HOUR, 64 * HOUR, 64 * HOUR, 64 * HOUR]
    assert list(PAUSES) == pauses[:5]


def test_an_attempt_at_a_range_is_one_at_each_of_its_days() -> None:
    found = tries(attempts(attempt(ago(9), NOON, last=ago(7))), fetches(), marked(), [spec()])
    assert dict(found.select("day", "fetches").iter_rows()) == {ago(n): 1 for n in (9, 8, 7)}


def test_a_run_that_never_began_is_an_attempt() -> None:
    assert tried(attempt(ago(9), NOON))["fetches"] == 1


@pytest.mark.parametrize(
    ("asked", "counted"),
    [
        ([("failed", 5)], 0),
        ([("failed", 5), ("failed", 20)], 0),
        ([("failed", 5), ("fetched", 20)], 1),
        ([("fetched", 5), ("failed", 6)], 1),
        ([("not_published", 5)], 1),
        ([("not_modified", 5), ("failed", 6)], 1),
        # Only what came while the run could last says something of it.
        ([("failed", 5), ("fetched", 61)], 0),
        ([("failed", 61)], 1),
        ([("fetched", -5), ("failed", 5)], 0),
    ],
)
def test_an_attempt_counts_unless_the_source_failed_everybody(
    asked: list[tuple[str, int]], counted: int
) -> None:
    rows = tuple(
        fetch(n, ago(9), NOON + minutes * MINUTE, outcome=outcome)
        for n, (outcome, minutes) in enumerate(asked)
    )
    found = tried(attempt(ago(9), NOON), asked=rows)
    assert found["fetches"] == counted
    # Excused or not, it is not tried again at once.
    assert found["fetch_at"] == NOON + 15 * MINUTE


def test_what_fails_at_another_source_excuses_nothing() -> None:
    row = fetch(1, ago(9), NOON + MINUTE, outcome="failed", source="other")
    assert tried(attempt(ago(9), NOON), asked=(row,))["fetches"] == 1


def test_a_probe_is_no_attempt() -> None:
    found = tried(attempt(ago(9), NOON, kind="probe"))
    assert (found["fetches"], found["fetch_at"]) == (0, NOON + 15 * MINUTE)


def test_asking_and_building_again_are_counted_apart() -> None:
    found = tried(attempt(ago(9), NOON), attempt(ago(9), NOON + HOUR, kind="replay"))
    assert (found["fetches"], found["replays"]) == (1, 1)
    assert found["fetch_at"] == NOON + 15 * MINUTE
    assert found["replay_at"] == NOON + HOUR + 15 * MINUTE


def test_building_again_is_not_excused_by_a_source_that_does_not_answer() -> None:
    row = fetch(1, ago(9), NOON + MINUTE, outcome="failed")
    assert tried(attempt(ago(9), NOON, kind="replay"), asked=(row,))["replays"] == 1


def test_what_was_tried_before_the_day_was_good_does_not_count_but_is_not_repeated_at_once() -> (
    None
):
    good = marked(NOON + HOUR)
    found = tried(attempt(ago(9), NOON), attempt(ago(9), NOON + 2 * HOUR), marks=good)
    assert found["fetches"] == 1
    found = tried(attempt(ago(9), NOON), marks=good)
    assert (found["fetches"], found["fetch_at"]) == (0, NOON + 15 * MINUTE)


def test_attempts_after_which_nothing_was_heard_of_a_day_are_silent() -> None:
    planned = [attempt(ago(9), NOON + n * HOUR, kind="replay") for n in range(4)]
    assert tried(*planned)["silent"] == 4
    found = tried(*planned, marks=marked(told=NOON + 90 * MINUTE))
    assert (found["replays"], found["silent"]) == (4, 2)


def seen(state: str, recorded: datetime) -> dict[str, object]:
    return {"source": "feed", "day": ago(9), "state": state, "recorded_at": recorded}


def test_a_day_was_last_good_when_it_was_written_or_seen_to_be_good() -> None:
    stands = findings.standing(partitions(*whole(ago(9))), files(partitions(*whole(ago(9)))))
    rows = [seen("missing", NOON), seen("complete", NOON + HOUR), seen("filling", NOON + 2 * HOUR)]
    history = COVERAGE.conform(pl.DataFrame(rows).cast({"recorded_at": INSTANT}))
    found = findings.marks(stands, newest(history))
    assert found.rows() == [("feed", ago(9), NOON + HOUR, NOON + HOUR)]
    before = findings.marks(stands, newest(history.clear()))
    assert before.rows() == [("feed", ago(9), at(ago(8)), at(ago(8)))]


def test_a_day_was_last_heard_of_when_anything_was_said_of_it() -> None:
    failed = partition(ago(9), state="failed", rows=None, recorded_at=NOON)
    stands = findings.standing(partitions(failed), files(partitions()))
    found = findings.marks(stands, newest(COVERAGE.empty()))
    assert found.rows() == [("feed", ago(9), None, NOON)]


def test_of_the_history_the_newest_row_counts() -> None:
    rows = [seen("filling", NOON + 2 * HOUR), seen("missing", NOON), seen("empty", NOON + HOUR)]
    history = COVERAGE.conform(pl.DataFrame(rows).cast({"recorded_at": INSTANT}))
    (row,) = newest(history).rows(named=True)
    assert (row["state"], row["good_at"]) == ("filling", NOON + HOUR)


# -- health -----------------------------------------------------------------------------------


def healthy(*rows: dict[str, object]) -> dict[str, object]:
    return health(fetches(*rows), [spec()]).row(0, named=True)


def failure(number: int, minutes: float, **given_: object) -> dict[str, object]:
    return fetch(number, TODAY, NOON + minutes * MINUTE, outcome="failed", **given_)


def test_a_source_that_was_never_asked_is_not_down() -> None:
    found = healthy()
    assert (found["failures"], found["probe_at"], found["last_success"]) == (0, None, None)


def test_a_source_that_answers_is_not_down_even_if_it_has_nothing() -> None:
    found = healthy(failure(1, 0), fetch(2, TODAY, NOON + MINUTE, outcome="not_published"))
    assert (found["failures"], found["probe_at"]) == (0, None)
    assert found["last_success"] == NOON + MINUTE


def test_each_run_that_got_nothing_doubles_the_wait_until_an_hour() -> None:
    waits = []
    for count in range(1, 8):
        rows = [failure(n, n) for n in range(count)]
        found = healthy(fetch(99, TODAY, NOON - HOUR), *rows)
        assert found["failures"] == count
        waits.append(found["probe_at"] - found["failed_at"])  # type: ignore[operator]
    assert waits == [5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, HOUR, HOUR]


def test_many_requests_of_one_run_are_one_failure() -> None:
    rows = [failure(n, n, run_id="run") for n in range(30)]
    assert healthy(*rows)["failures"] == 1


def test_a_landed_body_says_nothing_of_a_sources_health() -> None:
    found = healthy(failure(1, 0), fetch(2, TODAY, NOON + HOUR, outcome="landed"))
    assert found["failures"] == 1
    assert found["error"] == "HTTP 503"


# -- checks -----------------------------------------------------------------------------------


def test_a_volume_that_is_too_small_is_a_collapse_and_one_that_is_too_large_is_not() -> None:
    def check(day: int, name: str, passed: bool, value: float | None) -> dict[str, object]:
        row = {"source": "feed", "day": ago(day), "name": name, "passed": passed, "value": value}
        return row | {"usual": 100.0, "description": f"{name} {value}"}

    rows = [
        check(1, "volume", False, 9),
        check(2, "volume", False, 900),
        check(3, "volume", True, 9),
        check(4, "staleness", False, None),
        check(5, "contract", False, None),
    ]
    found = findings.flags(CHECKS.conform(pl.DataFrame(rows))).sort("day")
    assert found.rows() == [
        ("feed", ago(4), None, "staleness None"),
        ("feed", ago(1), "volume 9", None),
    ]


def test_the_lack_of_all_evidence_is_no_error() -> None:
    nothing = findings.standing(partitions(), files(partitions()))
    assert nothing.is_empty()
    assert tries(attempts(), fetches(), marked(), [spec()]).is_empty()
    assert stretches(fetches()).is_empty()
