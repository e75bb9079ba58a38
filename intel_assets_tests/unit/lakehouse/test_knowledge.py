"""What the merge of knowledge promises."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.lakehouse.contracts import INSTANT
from intel_assets.lakehouse.knowledge import VERSION, Folded, data_version, digests, fold

Said = Sequence[tuple[str, str]]
"""What a body says: identifiers and what is said of each."""

ALL = pl.lit(True)
NONE = pl.lit(False)
SCHEMA = {"record_id": pl.String, "text": pl.String, "record_digest": pl.String}
KNOWN = pl.DataFrame(schema=SCHEMA | {"known_from": INSTANT, "known_to": INSTANT})

records = st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz"))
sayings = st.lists(records, max_size=8)
histories = st.lists(sayings, min_size=1, max_size=6)
thorough = settings(max_examples=50, deadline=None)


def at(number: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)


def body(said: Said) -> pl.DataFrame:
    frame = pl.DataFrame(said, schema={"record_id": pl.String, "text": pl.String}, orient="row")
    return frame.with_columns(digests(frame))


def tell(history: Sequence[Said], judged: pl.Expr = ALL) -> list[Folded]:
    """Fold bodies one after the other; the n-th is received at `at(n)`."""
    states, frame = [], KNOWN
    for number, said in enumerate(history):
        states.append(fold(frame, body(said), known_at=at(number), judged=judged))
        frame = states[-1].frame
    return states


def held(frame: pl.DataFrame, moment: datetime) -> set[tuple[str, str]]:
    """What was known at a moment."""
    then = frame.filter(
        pl.col("known_from") <= moment,
        pl.col("known_to").is_null() | (pl.col("known_to") > moment),
    )
    assert then.select(VERSION).is_unique().all()
    return set(then.select("record_id", "text").iter_rows())


def intervals(frame: pl.DataFrame) -> list[tuple[str, str, int, int | None]]:
    """Every version, with the numbers of the bodies that opened and closed it."""
    hours = [
        ((pl.col(name) - at(0)).dt.total_hours()).alias(name) for name in ("known_from", "known_to")
    ]
    return sorted(frame.select("record_id", "text", *hours).iter_rows(), key=repr)


# -- fold ----------------------------------------------------------------------------------------


@thorough
@given(histories, st.sampled_from([ALL, NONE, pl.col("record_id") < "c"]))
def test_every_record_of_a_body_is_accounted_for(history: list[Said], judged: pl.Expr) -> None:
    before = KNOWN
    for said, folded in zip(history, tell(history, judged), strict=True):
        open_before = before.filter(pl.col("known_to").is_null())
        stood = set(open_before.select("record_id", "text").iter_rows())
        names = set(open_before["record_id"])
        fresh = set(said) - stood
        assert folded.duplicates == len(said) - len(set(said))
        assert folded.unchanged == len(set(said) & stood)
        assert folded.changed == sum(name in names for name, _ in fresh)
        assert folded.new == sum(name not in names for name, _ in fresh)
        assert len(said) == folded.new + folded.changed + folded.unchanged + folded.duplicates
        before = folded.frame


@thorough
@given(histories)
def test_what_is_known_right_after_a_body_is_what_it_says(history: list[Said]) -> None:
    frame = tell(history)[-1].frame
    for number, said in enumerate(history):
        assert held(frame, at(number)) == set(said)
        assert held(frame, at(number + 1) - timedelta(microseconds=1)) == set(said)
    assert held(frame, at(0) - timedelta(microseconds=1)) == set()


@thorough
@given(histories, st.sampled_from([ALL, NONE, pl.col("record_id") < "c"]))
def test_the_same_body_again_says_nothing(history: list[Said], judged: pl.Expr) -> None:
    *_, last = tell(history, judged)
    again = fold(last.frame, body(history[-1]), known_at=at(99), judged=judged)
    assert not again.touched
    assert again.frame.equals(last.frame)
    assert (again.new, again.changed, again.withdrawn) == (0, 0, 0)


@thorough
@given(histories, st.sampled_from([ALL, NONE, pl.col("record_id") < "c"]))
def test_a_fold_that_says_it_touched_nothing_changed_nothing(
    history: list[Said], judged: pl.Expr
) -> None:
    before = KNOWN
    for folded in tell(history, judged):
        assert folded.touched is not (data_version(folded.frame) == data_version(before))
        before = folded.frame


@thorough
@given(histories, st.sampled_from([ALL, NONE, pl.col("record_id") < "c"]))
def test_intervals_of_a_version_do_not_overlap(history: list[Said], judged: pl.Expr) -> None:
    frame = tell(history, judged)[-1].frame.sort("known_from")
    assert frame.filter(pl.col("known_from") >= pl.col("known_to")).is_empty()
    for version in frame.partition_by(VERSION):
        ends = version["known_to"].to_list()[:-1]
        begins = version["known_from"].to_list()[1:]
        assert all(end is not None and end < begin for end, begin in zip(ends, begins, strict=True))


@thorough
@given(histories, st.sampled_from([ALL, NONE, pl.col("record_id") < "c"]))
def test_nothing_that_was_said_vanishes(history: list[Said], judged: pl.Expr) -> None:
    said: set[tuple[str, str]] = set()
    begun: set[tuple[object, ...]] = set()
    for one, folded in zip(history, tell(history, judged), strict=True):
        said |= set(one)
        assert set(folded.frame.select("record_id", "text").iter_rows()) == said
        now = set(folded.frame.select(*VERSION, "known_from").iter_rows())
        assert begun <= now
        begun = now


@thorough
@given(histories)
def test_what_is_closed_stays_as_it_is(history: list[Said]) -> None:
    closed: set[tuple[object, ...]] = set()
    for folded in tell(history):
        now = set(folded.frame.filter(pl.col("known_to").is_not_null()).iter_rows())
        assert closed <= now
        closed = now


@thorough
@given(histories)
def test_records_that_a_body_does_not_speak_of_are_never_withdrawn(history: list[Said]) -> None:
    for number, folded in enumerate(tell(history, NONE)):
        named = {name for name, _ in history[number]}
        closed_now = folded.frame.filter(pl.col("known_to") == at(number))
        assert set(closed_now["record_id"]) <= named
    *_, last = tell(history, NONE)
    open_ids = set(last.frame.filter(pl.col("known_to").is_null())["record_id"])
    assert open_ids == {name for said in history for name, _ in said}


def test_only_judged_records_are_withdrawn() -> None:
    first = tell([[("a", "x"), ("b", "x"), ("c", "x")]])[0]
    second = fold(first.frame, body([("a", "x")]), known_at=at(1), judged=pl.col("record_id") < "c")
    assert second.withdrawn == 1
    assert intervals(second.frame) == [
        ("a", "x", 0, None),
        ("b", "x", 0, 1),
        ("c", "x", 0, None),
    ]


def test_a_judgement_that_is_unknown_withdraws_nothing() -> None:
    first = tell([[("a", "x")]])[0]
    unknown = pl.lit(None, pl.Boolean)
    second = fold(first.frame, body([]), known_at=at(1), judged=unknown)
    assert not second.touched
    assert second.frame.equals(first.frame)


def test_a_record_that_changes_is_closed_and_opened_at_one_moment() -> None:
    first, second = tell([[("a", "x"), ("b", "x")], [("a", "y"), ("b", "x")]])
    assert (first.new, first.changed, first.unchanged, first.withdrawn) == (2, 0, 0, 0)
    assert (second.new, second.changed, second.unchanged, second.withdrawn) == (0, 1, 1, 0)
    assert second.touched
    assert intervals(second.frame) == [("a", "x", 0, 1), ("a", "y", 1, None), ("b", "x", 0, None)]


def test_a_record_that_changes_is_closed_although_the_body_is_not_judged() -> None:
    *_, last = tell([[("a", "x")], [("a", "y")]], NONE)
    assert intervals(last.frame) == [("a", "x", 0, 1), ("a", "y", 1, None)]


def test_a_record_that_comes_back_gets_a_new_interval() -> None:
    gone, back = tell([[("a", "x"), ("b", "x")], [("b", "x")], [("a", "x"), ("b", "x")]])[1:]
    assert (gone.withdrawn, gone.new) == (1, 0)
    assert (back.withdrawn, back.new, back.changed, back.unchanged) == (0, 1, 0, 1)
    assert intervals(back.frame) == [("a", "x", 0, 1), ("a", "x", 2, None), ("b", "x", 0, None)]


def test_a_record_that_returns_to_an_older_version_has_changed() -> None:
    *_, last = tell([[("a", "x")], [("a", "y")], [("a", "x")]])
    assert (last.new, last.changed) == (0, 1)
    assert intervals(last.frame) == [("a", "x", 0, 1), ("a", "x", 2, None), ("a", "y", 1, 2)]


def test_two_versions_of_one_record_in_one_body_both_hold() -> None:
    first, again = tell([[("a", "x"), ("a", "y"), ("a", "x")], [("a", "y"), ("a", "x")]])
    assert (first.new, first.duplicates) == (2, 1)
    assert (again.unchanged, again.touched) == (2, False)
    assert intervals(again.frame) == [("a", "x", 0, None), ("a", "y", 0, None)]


@pytest.mark.parametrize("judged", [ALL, NONE], ids=["judged", "unjudged"])
def test_a_body_that_drops_one_of_two_versions_has_touched_the_day(judged: pl.Expr) -> None:
    *_, last = tell([[("a", "x"), ("a", "y")], [("a", "x")]], judged)
    assert last.touched
    assert (last.withdrawn, last.unchanged) == (1, 1)
    assert intervals(last.frame) == [("a", "x", 0, None), ("a", "y", 0, 1)]


def test_of_two_equal_records_the_first_is_kept() -> None:
    two = body([("a", "x"), ("a", "x")]).with_columns(body_sha256=pl.Series(["first", "second"]))
    assert fold(KNOWN, two, known_at=at(0), judged=ALL).frame["body_sha256"].to_list() == ["first"]


def test_versions_stand_in_the_order_in_which_they_became_known() -> None:
    *_, last = tell([[("c", "x"), ("a", "x")], [("b", "x"), ("a", "y")]])
    assert last.frame["record_id"].to_list() == ["c", "a", "b", "a"]


def test_columns_that_either_side_lacks_become_null() -> None:
    first = tell([[("a", "x")]])[0].frame.with_columns(old=pl.lit("was"))
    more = body([("b", "x")]).with_columns(added=pl.lit("is"))
    frame = fold(first, more, known_at=at(1), judged=NONE).frame
    assert frame.select("record_id", "old", "added").rows() == [
        ("a", "was", None),
        ("b", None, "is"),
    ]


def test_an_empty_body_withdraws_all_that_it_speaks_of() -> None:
    *_, last = tell([[("a", "x"), ("b", "x")], []])
    assert (last.withdrawn, last.touched) == (2, True)
    assert held(last.frame, at(1)) == set()
    assert last.frame.height == 2


def test_an_empty_body_into_nothing_touches_nothing() -> None:
    only = tell([[]])[0]
    assert not only.touched
    assert only.frame.is_empty()


def test_moments_keep_their_type() -> None:
    *_, last = tell([[("a", "x")], [("a", "y")], []])
    assert last.frame.schema["known_from"] == INSTANT
    assert last.frame.schema["known_to"] == INSTANT
    assert set(last.frame.columns) == set(KNOWN.columns)


# -- digests -------------------------------------------------------------------------------------


def digest(record: dict[str, str | None]) -> str:
    frame = pl.DataFrame([record], schema=dict.fromkeys(record, pl.String))
    return str(digests(frame).item())


@pytest.mark.parametrize(
    ("record", "known"),
    [
        ({"a": "x"}, "9b7dc091ebc688ae9ee89bbf0755e367"),
        ({"a": None}, "99aa06d3014798d86001c324468d497f"),
        ({"a": ""}, "5762f2b7d20d15439340a33495224aeb"),
        ({"a{x}": "x"}, "60ee9d95635c0bf67ecfa26629291176"),
        ({"url": "http://münchen.de/", "id": "1"}, "dd19a52502084dac873d787132a4539d"),
        ({"a=b": "x", "c%": "1;2"}, "9b3b646da9e1735fe0b7d1d450e1c573"),
    ],
)
def test_digests_never_change(record: dict[str, str | None], known: str) -> None:
    assert digest(record) == known


@thorough
@given(
    st.dictionaries(
        st.text("ab", min_size=1, max_size=2),
        st.none() | st.text("x:;=1é", max_size=4),
        min_size=1,
        max_size=3,
    )
)
def test_a_digest_is_that_of_the_canonical_text(record: dict[str, str | None]) -> None:
    said = {name: value for name, value in sorted(record.items()) if value is not None}
    text = "".join(f"{name}={len(value.encode())}:{value};" for name, value in said.items())
    whole = pl.select(pl.lit(text).nchash.xxh3_128()).item()  # type: ignore[attr-defined]
    assert digest(record) == f"{whole:032x}"


TRICKY = st.text(st.sampled_from(":;=%{}0123456789ab\x00\x1f\n\r\t\"',é"), max_size=6)
NAMES = TRICKY.filter(lambda name: "\x00" not in name and name != "")
VALUES = st.one_of(st.none(), TRICKY, st.text(st.characters(codec="utf-8"), max_size=6))
RECORDS = st.lists(VALUES, min_size=3, max_size=3)


@thorough
@given(RECORDS, RECORDS)
def test_different_records_have_different_digests(
    one: list[str | None], other: list[str | None]
) -> None:
    frame = pl.DataFrame([one, other], schema=dict.fromkeys("abc", pl.String), orient="row")
    first, second = digests(frame)
    assert (first == second) is (one == other)


@thorough
@given(
    st.dictionaries(NAMES, TRICKY, min_size=1, max_size=3),
    st.dictionaries(NAMES, TRICKY, min_size=1, max_size=3),
)
def test_different_columns_have_different_digests(
    one: dict[str, str | None], other: dict[str, str | None]
) -> None:
    assert (digest(one) == digest(other)) is (one == other)


@thorough
@given(st.lists(RECORDS, max_size=5), st.permutations(["a", "b", "c", "none"]))
def test_neither_order_nor_null_columns_matter(
    rows: list[list[str | None]], order: list[str]
) -> None:
    frame = pl.DataFrame(rows, schema=dict.fromkeys("abc", pl.String), orient="row")
    wider = frame.with_columns(none=pl.lit(None, pl.String)).select(order)
    assert digests(wider).equals(digests(frame))


@thorough
@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_a_record_has_the_same_digest_wherever_it_stands(rows: list[list[str | None]]) -> None:
    frame = pl.DataFrame(rows, schema=dict.fromkeys("abc", pl.String), orient="row")
    alone = [digests(frame[i : i + 1]).item() for i in range(frame.height)]
    assert digests(frame).to_list() == alone
    assert digests(pl.concat([frame, frame], rechunk=False)).to_list() == alone * 2


def test_a_digest_is_32_small_hexadecimals() -> None:
    found = digests(pl.DataFrame({"a": [str(i) for i in range(2000)]}))
    assert found.name == "record_digest"
    assert found.dtype == pl.String
    assert found.str.contains(r"^[0-9a-f]{32}$").all()
    assert found.n_unique() == 2000
    # Both halves and every place of it vary.
    assert all(found.str.slice(i, 1).n_unique() == 16 for i in range(32))


def test_no_records_have_no_digests() -> None:
    assert digests(pl.DataFrame(schema={"a": pl.String})).to_list() == []


# -- data_version --------------------------------------------------------------------------------


@thorough
@given(histories, st.randoms(use_true_random=False))
def test_the_version_of_a_day_does_not_depend_on_the_order_of_its_rows(
    history: list[Said], random: object
) -> None:
    frame = tell(history)[-1].frame
    order = list(range(frame.height))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert data_version(frame[order]) == data_version(frame)
    halves = pl.concat([frame[:1], frame[1:]], rechunk=False)
    assert data_version(halves) == data_version(frame)


@thorough
@given(histories, histories)
def test_different_days_have_different_versions(one: list[Said], other: list[Said]) -> None:
    first, second = tell(one)[-1].frame, tell(other)[-1].frame
    same = intervals(first) == intervals(second)
    assert (data_version(first) == data_version(second)) is same


def test_the_version_of_a_day_sees_every_part_of_a_version() -> None:
    frame = tell([[("a", "x"), ("b", "x")], [("a", "x")]])[-1].frame
    later = timedelta(microseconds=1)
    others = [
        frame.with_columns(record_digest=pl.col("record_digest").str.reverse()),
        frame.with_columns(known_from=pl.col("known_from") + later),
        frame.with_columns(known_to=pl.col("known_to") + later),
        frame.with_columns(known_to=pl.lit(None, INSTANT)),
        frame[:1],
        frame.clear(),
    ]
    versions = [data_version(other) for other in [frame, *others]]
    assert len(set(versions)) == len(versions)


def test_versions_of_days_never_change() -> None:
    frame = tell([[("a", "x"), ("b", "x")], [("a", "x")]])[-1].frame
    assert data_version(frame) == "b6dccd77b954bb1718e1a785fc8a59da"
    assert data_version(frame.clear()) == "374708fff7719dd5979ec875d56cd228"
