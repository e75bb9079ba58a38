"""What reading and writing tables promises."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl
import pyarrow as arrow
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.errors import WriteConflict
from intel_assets.lakehouse import tables
from intel_assets.lakehouse.contracts import Contract, field
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import (
    MAX_RANGES,
    MAX_TRIES,
    Change,
    Commit,
    Rewrite,
    Table,
    batches,
    day_ranges,
)

spawn = multiprocessing.get_context("spawn")
FIRST = date(2026, 1, 1)
RUN = {"run_id": "run-7", "source": "numbers", "code_version": "3"}


class NumberRow(pa.DataFrameModel):
    """A number of a day."""

    day: pl.Date = field("The day.")
    number: pl.Int64 = field("The number.")
    who: pl.String | None = field("Whose it is.", cls="personal", nullable=True)


NUMBERS = Contract("raw", "numbers", NumberRow, "Numbers.")


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def rows(*pairs: tuple[int, int]) -> pl.DataFrame:
    """Rows of `(day, number)`."""
    return pl.DataFrame(
        [(day(d), n) for d, n in pairs], schema={"day": pl.Date, "number": pl.Int64}, orient="row"
    )


def open_table(folder: Path | str) -> Table:
    return Table(Layout(str(folder)), NUMBERS)


def put(table: Table, frame: pl.DataFrame, *days: int) -> Commit:
    return table.replace_partitions(lambda _: Change(frame, [day(d) for d in days]), RUN)


def content(table: Table) -> list[tuple[int, int]]:
    frame = table.read()
    return sorted(((d - FIRST).days, n) for d, n in frame.select("day", "number").iter_rows())


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return open_table(tmp_path)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without the pauses."""
    monkeypatch.setattr(tables.time, "sleep", lambda _: None)


# -- reading -------------------------------------------------------------------------------------


def test_a_table_that_was_never_written_is_empty_and_typed(table: Table, tmp_path: Path) -> None:
    assert table.open() is None
    for frame in (
        table.read(),
        table.read([FIRST]),
        table.read([]),
        table.read_where(pl.lit(True)),
    ):
        assert frame.is_empty()
        assert frame.schema == NUMBERS.schema
    assert table.days_present() == set()
    assert not list(tmp_path.iterdir())


def test_days_are_read_one_by_one(table: Table) -> None:
    put(table, rows((0, 1), (1, 2), (2, 3), (9, 4)), 0, 1, 2, 9)
    assert table.read([day(2), day(0), day(5), day(2)])["number"].sort().to_list() == [1, 3]
    assert table.read(iter([day(9)]))["number"].to_list() == [4]
    assert table.read([]).is_empty()
    assert table.days_present() == {day(0), day(1), day(2), day(9)}


def test_an_older_table_object_reads_what_stood_then(table: Table) -> None:
    put(table, rows((0, 1)), 0)
    then = table.open()
    put(table, rows((0, 2)), 0)
    assert table.read([FIRST], at=then)["number"].to_list() == [1]
    assert table.read([FIRST])["number"].to_list() == [2]


# -- replacing partitions ------------------------------------------------------------------------


def test_only_the_days_named_are_replaced(table: Table) -> None:
    put(table, rows((0, 1), (1, 2), (2, 3)), 0, 1, 2)
    put(table, rows((1, 20), (1, 21)), 1)
    assert content(table) == [(0, 1), (1, 20), (1, 21), (2, 3)]
    # Days between two that are replaced are another's.
    put(table, rows((0, 100), (2, 300)), 0, 2)
    assert content(table) == [(0, 100), (1, 20), (1, 21), (2, 300)]


def test_the_predicate_of_a_commit_names_no_other_day(table: Table) -> None:
    put(table, rows((0, 1), (1, 1), (2, 1), (9, 1)), 0, 1, 2, 9)
    opened = table.open()
    assert opened is not None
    predicate = opened.history(1)[0]["operationParameters"]["predicate"]
    assert predicate.count("2026-01-") == 3
    assert all(text in predicate for text in ("2026-01-01", "2026-01-03", "2026-01-10"))


def test_rows_outside_the_days_are_refused(table: Table) -> None:
    put(table, rows((0, 1)), 0)
    with pytest.raises(ValueError, match="2 rows lie outside"):
        put(table, rows((1, 2), (2, 3), (3, 4)), 1)
    without_day = rows((1, 2)).with_columns(day=pl.lit(None, pl.Date))
    with pytest.raises(ValueError, match="1 rows lie outside"):
        put(table, without_day, 1)
    assert content(table) == [(0, 1)]


def test_more_ranges_than_a_commit_can_take_are_refused(table: Table) -> None:
    days = range(0, 2 * MAX_RANGES, 2)
    put(table, rows(*((d, 1) for d in days)), *days)
    with pytest.raises(ValueError, match="21 ranges"):
        put(table, rows(), *range(0, 2 * MAX_RANGES + 1, 2))
    assert len(content(table)) == MAX_RANGES


def test_an_empty_frame_clears_the_days(table: Table) -> None:
    put(table, rows((0, 1), (1, 2)), 0, 1)
    assert put(table, NUMBERS.empty(), 0).written
    assert content(table) == [(1, 2)]
    assert table.days_present() == {day(1)}


def test_a_first_write_can_be_empty(table: Table) -> None:
    assert put(table, NUMBERS.empty(), 0).written
    assert table.read().schema == NUMBERS.schema


def test_nothing_to_write_makes_no_commit(table: Table, tmp_path: Path) -> None:
    assert table.replace_partitions(lambda _: None, RUN) == Commit(-1, written=False)
    assert put(table, NUMBERS.empty()) == Commit(-1, written=False)
    assert not list(tmp_path.iterdir())
    written = put(table, rows((0, 1)), 0)
    assert table.replace_partitions(lambda _: None, RUN) == Commit(written.version, written=False)


def test_a_commit_says_which_run_made_it(table: Table) -> None:
    version = put(table, rows((0, 1)), 0).version
    appended = table.append(rows((1, 1)), RUN | {"run_id": "run-8"}).version
    opened = table.open()
    assert opened is not None
    history = {entry["version"]: entry for entry in opened.history()}
    assert RUN.items() <= history[version].items()
    assert history[appended]["run_id"] == "run-8"
    assert (opened.version(), opened.metadata().name) == (appended, "numbers")
    assert opened.metadata().description == "Numbers."
    assert opened.metadata().partition_columns == ["day"]


def test_columns_carry_their_comments_and_classes(table: Table) -> None:
    put(table, rows((0, 1)), 0)
    opened = table.open()
    assert opened is not None
    found = {f.name: f.metadata for f in opened.schema().fields}
    assert found["who"] == {"comment": "Whose it is.", "intel.class": "personal"}


def test_a_new_column_is_added_with_its_comment(table: Table) -> None:
    put(table, rows((0, 1)), 0)
    put(table, rows((1, 2)).with_columns(colour=pl.lit("red")), 1)
    opened = table.open()
    assert opened is not None
    found = {f.name: f.metadata for f in opened.schema().fields}
    assert found["colour"] == {"comment": "New in the source.", "intel.class": "public"}
    frame = table.read().sort("day")
    assert frame.columns == ["day", "number", "who", "colour"]
    assert frame["colour"].to_list() == [None, "red"]
    # Rows without it do not take it away again.
    put(table, rows((2, 3)), 2)
    table.append(rows((3, 4)), RUN)
    frame = table.read().sort("day")
    assert frame["colour"].to_list() == [None, "red", None, None]
    assert frame["number"].to_list() == [1, 2, 3, 4]


def test_a_column_that_the_contract_gained_is_added_with_its_class(tmp_path: Path) -> None:
    class Older(pa.DataFrameModel):
        """Before."""

        day: pl.Date = field("The day.")
        number: pl.Int64 = field("The number.")

    older = Table(Layout(str(tmp_path)), Contract("raw", "numbers", Older, "Numbers."))
    put(older, rows((0, 1)), 0)
    newer = open_table(tmp_path)
    put(newer, rows((1, 2)).with_columns(who=pl.lit("tom")), 1)
    opened = newer.open()
    assert opened is not None
    found = {f.name: f.metadata for f in opened.schema().fields}
    assert found["who"] == {"comment": "Whose it is.", "intel.class": "personal"}
    assert newer.read().sort("day")["who"].to_list() == [None, "tom"]


def test_appended_rows_are_added(table: Table) -> None:
    assert table.append(NUMBERS.empty(), RUN) == Commit(-1, written=False)
    assert table.append(rows((0, 1)), RUN).written
    assert table.append(rows((0, 1)), RUN).written
    assert content(table) == [(0, 1), (0, 1)]


# -- more than one writer ------------------------------------------------------------------------


def adding(table: Table, number: int, *days: int, then: Callable[[], None] = lambda: None) -> Any:
    """A build that adds a number to some days; `then` runs between its read and its write."""

    def build(at: DeltaTable | None) -> Change:
        wanted = [day(d) for d in days]
        stored = table.read(wanted, at=at) if at else NUMBERS.empty()
        then()
        more = NUMBERS.conform(rows(*((d, number) for d in days)))
        return Change(pl.concat([stored, more], how="diagonal"), wanted)

    return build


def once(work: Callable[[], object]) -> Callable[[], None]:
    left = [work]

    def run() -> None:
        if left:
            left.pop()()

    return run


@pytest.mark.usefixtures("patient")
def test_a_write_whose_read_is_old_is_redone_from_a_fresh_read(
    table: Table, tmp_path: Path
) -> None:
    put(table, rows((0, 1)), 0)
    other = open_table(tmp_path)
    faster = once(lambda: other.replace_partitions(adding(other, 2, 0), RUN))
    table.replace_partitions(adding(table, 3, 0, then=faster), RUN)
    assert content(table) == [(0, 1), (0, 2), (0, 3)]


@pytest.mark.usefixtures("patient")
def test_the_first_rows_of_a_table_are_not_lost_to_another_first_writer(
    table: Table, tmp_path: Path
) -> None:
    other = open_table(tmp_path)
    faster = once(lambda: other.replace_partitions(adding(other, 1, 0), RUN))
    table.replace_partitions(adding(table, 2, 0, then=faster), RUN)
    assert content(table) == [(0, 1), (0, 2)]


def test_writers_of_other_days_do_not_stand_in_the_way(table: Table, tmp_path: Path) -> None:
    put(table, rows((0, 1)), 0)
    other, builds = open_table(tmp_path), []
    disjoint = once(lambda: other.replace_partitions(adding(other, 2, 50), RUN))

    def counted(at: DeltaTable | None) -> Change:
        builds.append(at)
        change: Change = adding(table, 3, *range(25), then=disjoint)(at)
        return change

    table.replace_partitions(counted, RUN)
    assert len(builds) == 1
    assert (50, 2) in content(table)
    assert len(content(table)) == 27


@pytest.mark.usefixtures("patient")
def test_a_writer_that_always_loses_gives_up_and_says_so(table: Table, tmp_path: Path) -> None:
    put(table, rows((0, 1)), 0)
    other, tries = open_table(tmp_path), []

    def faster() -> None:
        tries.append(1)
        put(other, rows((0, len(tries))), 0)

    with pytest.raises(WriteConflict, match=f"won {MAX_TRIES} times"):
        table.replace_partitions(adding(table, 99, 0, then=faster), RUN)
    assert len(tries) == MAX_TRIES
    assert content(table) == [(0, MAX_TRIES)]


def test_an_error_that_is_no_conflict_is_not_tried_again(table: Table) -> None:
    tries = []

    def build(_: DeltaTable | None) -> Change:
        tries.append(1)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        table.replace_partitions(build, RUN)
    assert len(tries) == 1


def test_threads_that_write_the_same_days_lose_nothing(tmp_path: Path) -> None:
    ready, errors = threading.Barrier(4), []

    def work(number: int) -> None:
        mine = open_table(tmp_path)
        ready.wait()
        try:
            for step in range(3):
                mine.replace_partitions(adding(mine, 10 * number + step, 0, 1), RUN)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    wanted = sorted(10 * n + step for n in range(4) for step in range(3))
    assert content(open_table(tmp_path)) == [(d, n) for d in (0, 1) for n in wanted]


def _write_many(folder: str, ready: Any, told: Any, number: int, own: Sequence[int]) -> None:
    """A process that adds to days of its own and to one that all share."""
    table = open_table(folder)
    ready.wait()
    try:
        for step in range(2):
            table.replace_partitions(adding(table, 10 * number + step, *own), RUN)
            table.replace_partitions(adding(table, 10 * number + step, 999), RUN)
        told.put(None)
    except Exception as error:
        told.put(repr(error))


@pytest.mark.slow
def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Ranges of more than 20 days of their own, a day that all share, a table not there yet."""
    count, length = 3, 25
    ready, told = spawn.Barrier(count), spawn.Queue()
    own = [range(n * length, (n + 1) * length) for n in range(count)]
    processes = [
        spawn.Process(target=_write_many, args=(str(tmp_path), ready, told, n, list(own[n])))
        for n in range(count)
    ]
    for process in processes:
        process.start()
    assert [told.get(timeout=240) for _ in processes] == [None] * count
    for process in processes:
        process.join()
    found = content(open_table(tmp_path))
    disjoint = [(d, 10 * n + step) for n in range(count) for d in own[n] for step in range(2)]
    shared = [(999, 10 * n + step) for n in range(count) for step in range(2)]
    assert found == sorted(disjoint + shared)


@pytest.mark.usefixtures("patient")
def test_writers_that_find_the_same_new_column_both_succeed(table: Table, tmp_path: Path) -> None:
    put(table, rows((0, 1)), 0)
    other = open_table(tmp_path)
    red, blue = (
        lambda change, c=c: Change(change.frame.with_columns(colour=pl.lit(c)), change.days)
        for c in ("red", "blue")
    )
    faster = once(
        lambda: other.replace_partitions(lambda at: red(adding(other, 2, 1)(at)), RUN),
    )
    table.replace_partitions(lambda at: blue(adding(table, 3, 2, then=faster)(at)), RUN)
    found = table.read().sort("number").select("number", "colour").rows()
    assert found == [(1, None), (2, "red"), (3, "blue")]


def test_a_conflict_is_told_as_such(tmp_path: Path) -> None:
    """What the redoing stands on: Delta refuses a write whose read is old."""
    table = open_table(tmp_path)
    put(table, rows((0, 1)), 0)
    old = table.open()
    put(table, rows((0, 2)), 0)
    assert old is not None
    with pytest.raises(CommitFailedError):
        table.rewrite(old, Rewrite(rows((0, 3)), "day = DATE '2026-01-01'"), RUN)
    log = sorted((tmp_path / "raw" / "numbers" / "_delta_log").glob("*.json"))
    assert json.loads(log[-1].read_text().splitlines()[-1])
    assert content(table) == [(0, 2)]


# -- rewriting -----------------------------------------------------------------------------------


def test_rows_come_from_a_reader_without_standing_in_memory(table: Table) -> None:
    put(table, rows((0, 1), (1, 2)), 0, 1)
    reader = rows((1, 7), (1, 8)).with_columns(who=pl.lit("x")).to_arrow().to_reader()
    change = Rewrite(reader, "day >= DATE '2026-01-02'")
    table.redone(lambda stored: table.rewrite(stored, change, RUN))
    assert content(table) == [(0, 1), (1, 7), (1, 8)]


def test_a_reader_that_breaks_leaves_the_table_as_it_was(table: Table) -> None:
    put(table, rows((0, 1)), 0)
    schema = NUMBERS.empty().to_arrow().schema

    def batches_that_break() -> Iterator[arrow.RecordBatch]:
        yield from rows((0, 2)).with_columns(who=pl.lit("x")).to_arrow().cast(schema).to_batches()
        raise ValueError("row 2 is no row")

    broken = arrow.RecordBatchReader.from_batches(schema, batches_that_break())
    with pytest.raises(Exception, match="row 2 is no row"):
        table.redone(lambda stored: table.rewrite(stored, Rewrite(broken, "true"), RUN))
    assert content(table) == [(0, 1)]


def test_a_table_without_partitions_is_replaced_as_a_whole(tmp_path: Path) -> None:
    whole = Table(Layout(str(tmp_path)), replace(NUMBERS, partition_by=()))
    for change in (rows((0, 1), (1, 2)), rows((3, 3))):
        whole.redone(lambda stored, rows=change: whole.rewrite(stored, Rewrite(rows, "true"), RUN))
    assert content(whole) == [(3, 3)]


def test_what_was_taken_in_stands_with_the_rows_and_cannot_be_taken_in_twice(table: Table) -> None:
    first = Rewrite(rows((0, 1)), None, {"of another table": 4})
    table.redone(lambda stored: table.rewrite(stored, first, RUN))
    one, other = table.open(), table.open()
    assert one is not None
    assert one.transaction_version("of another table") == 4
    assert one.transaction_version("of a third") is None
    again = Rewrite(rows((1, 2)), None, {"of another table": 5})
    table.rewrite(one, again, RUN)
    with pytest.raises(CommitFailedError):
        table.rewrite(other, again, RUN)
    assert content(table) == [(0, 1), (1, 2)]


# -- ranges and batches --------------------------------------------------------------------------

days_of_year = st.lists(st.integers(0, 400).map(day), max_size=120)


@settings(max_examples=100, deadline=None)
@given(days_of_year)
def test_ranges_hold_every_day_once_and_no_other(days: list[date]) -> None:
    ranges = day_ranges(days)
    held = [
        first + timedelta(days=n) for first, last in ranges for n in range((last - first).days + 1)
    ]
    assert held == sorted(set(days))
    gaps = zip(ranges, ranges[1:], strict=False)
    assert all((after[0] - before[1]).days > 1 for before, after in gaps)


@settings(max_examples=100, deadline=None)
@given(
    days_of_year,
    st.dictionaries(st.integers(0, 400).map(day), st.integers(0, 50)),
    st.integers(1, 100),
    st.randoms(use_true_random=False),
)
def test_batches_hold_every_day_once_in_order_and_within_bounds(
    days: list[date], weights: dict[date, int], most: int, random: Any
) -> None:
    found = batches(days, weights, most)
    assert [d for batch in found for d in batch] == sorted(set(days))
    for batch in found:
        assert 1 <= len(batch) <= 30
        assert len(batch) == 1 or sum(weights.get(d, 0) for d in batch) <= most
        # Whichever of its days turn out to have changed, one commit can take them.
        alternate = [b for a, b in zip([None, *batch], batch, strict=False) if a is None or b]
        assert len(day_ranges(alternate)) <= MAX_RANGES
        for _ in range(3):
            some = random.sample(batch, random.randint(0, len(batch)))
            assert len(day_ranges(some)) <= MAX_RANGES
        worst = [b for n, b in enumerate(batch) if not n or (b - FIRST).days % 2 == 0]
        assert len(day_ranges(worst)) <= MAX_RANGES


def test_batches_are_as_large_as_they_may_be() -> None:
    month = [day(n) for n in range(70)]
    assert [len(batch) for batch in batches(month, {}, 10)] == [30, 30, 10]
    assert [len(batch) for batch in batches(month[:6], dict.fromkeys(month, 5), 10)] == [2, 2, 2]
    assert [len(batch) for batch in batches(month[:3], {day(1): 99}, 10)] == [1, 1, 1]
    apart = [day(2 * n) for n in range(45)]
    assert [len(batch) for batch in batches(apart, {}, 10)] == [20, 20, 5]
    assert batches([], {}, 10) == []
