"""What contracts promise: the split of rows, and all that follows from one model."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.config import ValidationDepth, config_context

from intel_assets.errors import ContractBroken
from intel_assets.lakehouse.contracts import (
    ENGINE_COLUMNS,
    INSTANT,
    Contract,
    Instant,
    RawRecord,
    Record,
    Texts,
    delta_field,
    field,
)
from intel_assets.sources import registry
from intel_assets.sources.spec import SourceSpec

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
DAY = date(2026, 6, 10)


class Animal(pa.DataFrameModel):
    """Every kind of rule that a model can have."""

    name: pl.String = field("Name.", str_matches=r"^[a-z]+( \(.*\))?$")
    legs: pl.Int64 = field("Legs.", ge=0, le=8, nullable=True)
    kind: pl.String = field("Kind.", isin=["cat", "dog"], source="type")
    born: pl.Date = field("Day of birth.", ge=date(2000, 1, 1), nullable=True)
    tags: Texts = field("Tags.", nullable=True)
    chip: pl.String | None = field("Chip.", cls="secret", nullable=True, str_length=4)

    class Config:
        """Names are unique for each day of birth."""

        unique = ["name", "born"]


ANIMALS = Contract("cleaned", "animals", Animal, "Animals.")


def animals(*rows: dict[str, object]) -> pl.DataFrame:
    standard = {"legs": 4, "kind": "cat", "born": None, "tags": None, "chip": None}
    return pl.DataFrame([standard | row for row in rows], schema=ANIMALS.schema)


def rules(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return ANIMALS.split(frame).failures.rows()


# -- split ---------------------------------------------------------------------------------------


def test_rows_that_keep_the_contract_are_accepted() -> None:
    frame = animals({"name": "tom"}, {"name": "rex", "kind": "dog", "chip": "1234"})
    split = ANIMALS.split(frame)
    assert split.accepted.equals(frame)
    assert split.rejected.is_empty()
    assert split.rejected.schema == frame.schema
    assert split.failures.is_empty()


def test_failures_always_have_the_same_columns() -> None:
    columns = {"row": pl.UInt32, "rule": pl.String, "column": pl.String, "message": pl.String}
    for frame in (animals(), animals({"name": "tom"}), animals({"name": "!"})):
        assert dict(ANIMALS.split(frame).failures.schema) == columns


@pytest.mark.parametrize(
    ("row", "failure"),
    [
        ({"name": None}, ("not_nullable", "name", "must not be null")),
        ({"name": "Tom"}, ("str_matches", "name", r"str_matches('^[a-z]+( \(.*\))?$')")),
        ({"legs": -1}, ("greater_than_or_equal_to", "legs", "greater_than_or_equal_to(0)")),
        ({"legs": 9}, ("less_than_or_equal_to", "legs", "less_than_or_equal_to(8)")),
        ({"kind": "cow"}, ("isin", "kind", "isin(['cat', 'dog'])")),
        ({"kind": None}, ("not_nullable", "kind", "must not be null")),
        ({"chip": "123"}, ("str_length", "chip", "str_length(4)")),
        (
            {"born": date(1999, 12, 31)},
            ("greater_than_or_equal_to", "born", "greater_than_or_equal_to(2000-01-01)"),
        ),
    ],
)
def test_a_broken_rule_is_told_with_its_column(
    row: dict[str, object], failure: tuple[str, ...]
) -> None:
    frame = animals({"name": "ann"}, {"name": "tom"} | row, {"name": "rex"})
    split = ANIMALS.split(frame)
    assert split.failures.rows() == [(1, *failure)]
    assert split.rejected.equals(frame[1:2])
    assert split.accepted.equals(frame[[0, 2]])


def test_rows_that_stand_twice_are_all_rejected() -> None:
    born = date(2020, 1, 1)
    frame = animals(
        {"name": "tom"}, {"name": "rex"}, {"name": "tom"}, {"name": "tom", "born": born}
    )
    split = ANIMALS.split(frame)
    message = "must stand only once in a body"
    assert split.failures.rows() == [(0, "unique", None, message), (2, "unique", None, message)]
    assert split.rejected.equals(frame[[0, 2]])
    assert split.accepted.equals(frame[[1, 3]])


def test_a_row_can_break_several_rules_and_is_rejected_once() -> None:
    frame = animals({"name": "Tom", "legs": 9, "kind": "cow"}, {"name": "rex", "legs": -1})
    split = ANIMALS.split(frame)
    assert split.failures.select("row", "column", "rule").rows() == [
        (0, "kind", "isin"),
        (0, "legs", "less_than_or_equal_to"),
        (0, "name", "str_matches"),
        (1, "legs", "greater_than_or_equal_to"),
    ]
    assert split.rejected.equals(frame)
    assert split.accepted.is_empty()


def test_a_rule_is_told_once_for_each_row_that_breaks_it() -> None:
    assert rules(animals(*[{"name": n, "legs": 9} for n in "abc"])) == [
        (row, "less_than_or_equal_to", "legs", "less_than_or_equal_to(8)") for row in range(3)
    ]


ROWS = st.fixed_dictionaries(
    {
        "name": st.none() | st.sampled_from(["tom", "rex", "Tom", "", "a\nb"]),
        "legs": st.none() | st.integers(-2, 10),
        "kind": st.none() | st.sampled_from(["cat", "dog", "cow"]),
        "born": st.none() | st.sampled_from([date(1999, 1, 1), date(2001, 1, 1)]),
        "tags": st.none() | st.lists(st.none() | st.text(max_size=2), max_size=2),
        "chip": st.none() | st.sampled_from(["1234", "12"]),
    }
)


def keeps(row: dict[str, object]) -> bool:
    """The contract once more, in plain words."""
    legs, born, chip = row["legs"], row["born"], row["chip"]
    return (
        row["name"] in ("tom", "rex")
        and (legs is None or 0 <= legs <= 8)  # type: ignore[operator]
        and row["kind"] in ("cat", "dog")
        and (born is None or born.year >= 2000)  # type: ignore[attr-defined]
        and (chip is None or len(chip) == 4)  # type: ignore[arg-type]
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=8))
def test_every_row_is_accepted_or_rejected(rows: list[dict[str, object]]) -> None:
    frame = animals(*rows).with_columns(extra=pl.int_range(pl.len()).cast(pl.String))
    split = ANIMALS.split(frame)
    pairs = [(row["name"], row["born"]) for row in rows]
    good = [n for n, row in enumerate(rows) if keeps(row) and pairs.count(pairs[n]) == 1]
    bad = [n for n in range(len(rows)) if n not in good]
    assert split.accepted.equals(frame[good])
    assert split.rejected.equals(frame[bad])
    assert sorted(set(split.failures["row"])) == bad
    assert split.failures.null_count().select("row", "rule", "message").row(0) == (0, 0, 0)


def test_pandera_alone_lets_a_bad_value_in_a_lazy_frame_pass() -> None:
    """The reason for the next promise; if this fails, Pandera has become stricter."""
    bad = animals({"name": "Tom", "legs": 99})
    assert Animal.validate(bad.lazy(), lazy=True).collect().equals(bad)


def test_a_bad_value_in_a_lazy_frame_cannot_pass() -> None:
    bad = animals({"name": "Tom", "legs": 99})
    with pytest.raises(TypeError, match="LazyFrame"):
        ANIMALS.split(bad.lazy())  # type: ignore[arg-type]
    assert ANIMALS.split(bad.lazy().collect()).rejected.equals(bad)


@pytest.mark.parametrize(
    "switch",
    [{"validation_enabled": False}, {"validation_depth": ValidationDepth.SCHEMA_ONLY}],
    ids=["PANDERA_VALIDATION_ENABLED", "PANDERA_VALIDATION_DEPTH"],
)
def test_pandera_s_switches_cannot_turn_rules_off(switch: dict[str, Any]) -> None:
    bad = animals({"name": "Tom"})
    with config_context(**switch):
        assert Animal.validate(bad, lazy=True).equals(bad)
        assert ANIMALS.split(bad).rejected.equals(bad)


def test_a_lost_column_is_told_with_what_is_expected_and_found() -> None:
    with pytest.raises(ContractBroken) as told:
        ANIMALS.split(animals({"name": "tom"}).drop("legs", "kind"))
    assert told.value.what == (
        "cleaned.animals lost its column kind, legs: expected name, legs, kind, born, tags, chip; "
        "found name, born, tags, chip."
    )
    assert "intel replay" in told.value.do


def test_a_column_of_another_type_is_no_matter_of_rows() -> None:
    with pytest.raises(ContractBroken, match=r"column legs: found String \(dtype\('Int64'\)\)"):
        ANIMALS.split(animals({"name": "Tom"}).with_columns(legs=pl.lit("4")))


@pytest.mark.parametrize("name", ["", " ", "a\x00b", "a\nb", "\x1b[31m"])
def test_a_column_whose_name_no_table_can_keep_is_refused(name: str) -> None:
    frame = animals({"name": "tom"}).with_columns(pl.lit("x").alias(name))
    with pytest.raises(ContractBroken, match="without a proper name") as told:
        ANIMALS.split(frame)
    assert told.value.what.isprintable()


def test_an_optional_column_may_be_absent() -> None:
    frame = animals({"name": "tom"}).drop("chip")
    assert ANIMALS.split(frame).accepted.equals(frame)


def test_columns_that_the_engine_adds_are_not_required_of_a_parser() -> None:
    class Raw(RawRecord):
        text: pl.String = field("Text.")

    contract = Contract("raw", "texts", Raw, "Texts.")
    contract.require(["text"])
    contract.require([*ENGINE_COLUMNS, "text", "more"])
    with pytest.raises(ContractBroken, match="expected text; found other"):
        contract.require(["other"])


class Once(Record):
    """A record stands in a body once."""

    class Config:
        """Pandera's settings."""

        unique = ["record_id", "known_from"]


UNIQUE = Contract("cleaned", "once", Once, "")


def test_a_column_of_the_engine_that_is_lost_breaks_the_contract() -> None:
    with pytest.raises(ContractBroken, match="as a whole"):
        UNIQUE.split(UNIQUE.empty().drop("known_from"))


def test_rows_that_stand_twice_are_told_apart_whatever_their_lists_hold() -> None:
    """Pandera's own check of uniqueness dies of these."""
    frame = animals({"name": "a", "tags": [None]}, {"name": "a", "tags": ["x"]}, {"name": "a"})
    assert ANIMALS.split(frame).rejected.equals(frame)


# -- what follows from the model -----------------------------------------------------------------


class Money(Record):
    """Types that a later source needs."""

    amount: Annotated[pl.Decimal, 12, 2] = field("Amount, EUR.", cls="health")
    share: pl.Float64 = field("Share.", nullable=True)
    small: pl.Int32 = field("Small.", nullable=True)
    sure: pl.Boolean = field("Sure.", nullable=True)
    texts: Texts = field("Texts.", nullable=True)


MONEY = Contract("cleaned", "money", Money, "Money.")


def test_an_empty_frame_is_typed() -> None:
    assert MONEY.empty().schema == {
        "day": pl.Date,
        "record_id": pl.String,
        "record_digest": pl.String,
        "known_from": INSTANT,
        "known_to": INSTANT,
        "amount": pl.Decimal(12, 2),
        "share": pl.Float64,
        "small": pl.Int32,
        "sure": pl.Boolean,
        "texts": pl.List(pl.String),
    }
    assert MONEY.empty().is_empty()
    assert MONEY.split(MONEY.empty()).accepted.schema == MONEY.schema


def test_an_amount_keeps_its_cents() -> None:
    row = {"day": DAY, "record_id": "1", "record_digest": "2", "known_from": NOON}
    frame = MONEY.conform(
        pl.DataFrame([row | {"amount": Decimal("0.10")}]).with_columns(
            pl.col("amount").cast(pl.Decimal(12, 2)), pl.col("known_from").cast(INSTANT)
        )
    )
    assert MONEY.split(frame).accepted["amount"].to_list() == [Decimal("0.10")]


def test_the_delta_schema_carries_types_comments_and_classes() -> None:
    found = {
        f.name: (str(f.type), f.metadata["comment"], f.metadata["intel.class"])
        for f in MONEY.delta_schema(extra=["more"]).fields
    }
    assert list(found) == [*MONEY.schema, "more"]
    assert found["amount"] == ('PrimitiveType("decimal(12,2)")', "Amount, EUR.", "health")
    assert found["share"][0] == 'PrimitiveType("double")'
    assert found["small"][0] == 'PrimitiveType("integer")'
    assert found["sure"][0] == 'PrimitiveType("boolean")'
    assert found["day"][0] == 'PrimitiveType("date")'
    assert found["known_from"][0] == 'PrimitiveType("timestamp")'
    assert "array" in found["texts"][0].lower()
    assert found["more"] == ('PrimitiveType("string")', "New in the source.", "public")


def test_a_delta_field_may_be_null() -> None:
    assert delta_field("a", pl.Int64(), "A.", "personal").nullable


def test_descriptions_classes_and_sources_stand_in_one_place() -> None:
    assert ANIMALS.descriptions["legs"] == "Legs."
    assert ANIMALS.classes["chip"] == "secret"
    assert ANIMALS.classes["legs"] == "public"
    assert ANIMALS.sources == {"kind": "type"}
    assert ANIMALS.required == {"name", "legs", "kind", "born", "tags"}
    assert ANIMALS.nullable("legs")
    assert not ANIMALS.nullable("name")
    assert ANIMALS.partition_by == ("day",)


def test_a_model_without_descriptions_is_public_and_silent() -> None:
    class Bare(pa.DataFrameModel):
        a: pl.Int64

    bare = Contract("ops", "bare", Bare, "")
    assert (bare.descriptions, bare.classes, bare.sources) == ({"a": ""}, {"a": "public"}, {})


def test_a_frame_is_brought_into_the_order_of_the_contract() -> None:
    frame = pl.DataFrame({"z": ["1"], "kind": ["cat"], "new": ["2"], "name": ["tom"]})
    conformed = ANIMALS.conform(frame)
    assert conformed.columns == ["name", "legs", "kind", "born", "tags", "chip", "new", "z"]
    assert conformed.schema["tags"] == pl.List(pl.String)
    assert conformed.row(0) == ("tom", None, "cat", None, None, None, "2", "1")
    assert ANIMALS.conform(conformed).equals(conformed)


@pytest.mark.parametrize("source", registry.load(), ids=lambda spec: spec.name)
def test_every_column_of_every_source_says_what_it_holds(source: SourceSpec) -> None:
    for contract in (source.raw, source.cleaned, *(a.contract for a in source.aggregates)):
        assert all(contract.descriptions.values())
        assert set(contract.classes.values()) <= {"public", "internal", "personal", "health"}
        assert [f.name for f in contract.delta_schema().fields] == list(contract.schema)


def test_moments_are_in_utc() -> None:
    class Moment(pa.DataFrameModel):
        at: Instant = field("When.")

    contract = Contract("ops", "moments", Moment, "")
    with pytest.raises(ContractBroken):
        contract.split(pl.DataFrame({"at": [NOON.replace(tzinfo=None)]}))
