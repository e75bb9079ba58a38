"""What cleaning promises: nothing lost, nothing shown that is not to be shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pandera.polars as pa
import polars as pl
import pytest

from intel_assets.errors import ContractBroken
from intel_assets.lakehouse.contracts import (
    INSTANT,
    Contract,
    QuarantineRecord,
    RawRecord,
    Record,
    field,
)
from intel_assets.sources import registry
from intel_assets.sources.cleaning import aggregate, clean, days_of
from intel_assets.sources.spec import UNDATED, Aggregate
from intel_assets_tests.unit.sources.fetches import DAY, NOON


class RawPatient(RawRecord):
    """A record as delivered."""

    name: pl.String | None = field("Name.", cls="personal", nullable=True)
    key: pl.String | None = field("Key.", cls="secret", nullable=True)
    illness: pl.String | None = field("Illness.", cls="health", nullable=True)
    note: pl.String | None = field("Note.", cls="internal", nullable=True)
    city: pl.String | None = field("City.", nullable=True)


class Patient(Record):
    """Typed; some columns forget the class of what they are made from."""

    name: pl.String = field("Name.", cls="personal", source="name", isin=["ok"])
    key: pl.String = field("Key.", source="key", isin=["ok"])
    illness: pl.String = field("Illness.", cls="health", isin=["ok"])
    note: pl.String = field("Note.", cls="internal", source="note", isin=["ok"])
    city: pl.String = field("City.", source="city", isin=["ok"])
    made: pl.String = field("Made here.", isin=["ok"])
    elsewhere: pl.String = field("Of a column that is not there.", source="gone", isin=["ok"])

    class Config:
        """A record stands in a body once."""

        unique = ["record_id", "known_from"]


SPEC = replace(
    registry.load(["tweetfeed"])[0],
    name="patients",
    raw=Contract("raw", "patients", RawPatient, ""),
    cleaned=Contract("cleaned", "patients", Patient, ""),
    clean=lambda raw: raw.with_columns(made=pl.col("city"), elsewhere=pl.col("city")),
)


def patients(*values: str | None) -> pl.DataFrame:
    rows = [
        {"day": DAY, "record_id": str(n), "record_digest": f"{n:032}", "known_from": NOON}
        | dict.fromkeys(["name", "key", "illness", "note", "city"], value)
        for n, value in enumerate(values)
    ]
    return SPEC.raw.conform(pl.DataFrame(rows, schema_overrides=dict(SPEC.raw.schema)))


def test_quarantine_shows_the_class_of_what_is_not_to_be_shown() -> None:
    cleaned = clean(SPEC, patients("ok", "CANARY"), "run-7")
    assert cleaned.accepted["record_id"].to_list() == ["0"]
    shown = dict(cleaned.quarantine.select("column", "value").iter_rows())
    assert shown == {
        "name": "(personal)",
        "key": "(secret)",
        "illness": "(health)",
        "note": "CANARY",
        "city": "CANARY",
        "made": None,
        "elsewhere": None,
    }
    hidden = cleaned.quarantine.filter(pl.col("column").is_in(["name", "key", "illness"]))
    assert "CANARY" not in hidden.write_json()


def test_quarantine_tells_of_each_rule_what_is_needed_to_find_the_record() -> None:
    cleaned = clean(SPEC, patients(None), "run-7")
    assert cleaned.quarantine.schema == Contract("quarantine", "q", QuarantineRecord, "").schema
    first = cleaned.quarantine.filter(pl.col("column") == "city").row(0, named=True)
    assert first == {
        "day": DAY,
        "record_id": "0",
        "record_digest": "0" * 32,
        "known_from": NOON,
        "known_to": None,
        "rule": "not_nullable",
        "column": "city",
        "value": None,
        "message": "must not be null",
        "run_id": "run-7",
    }
    assert cleaned.rejected == {DAY: 1}


def test_a_rule_over_several_columns_shows_no_value() -> None:
    raw = patients("ok", "ok").with_columns(record_id=pl.lit("same"))
    cleaned = clean(SPEC, raw, "run-7")
    assert (
        cleaned.quarantine.select("rule", "column", "value").rows() == [("unique", None, None)] * 2
    )


def test_clean_may_not_lose_or_invent_records() -> None:
    for wrong in (lambda raw: raw.head(1), lambda raw: pl.concat([raw, raw])):
        with pytest.raises(ContractBroken, match="must keep every row"):
            clean(replace(SPEC, clean=wrong), patients("ok", "ok"), "run-7")
    with pytest.raises(ContractBroken, match="must keep every row"):
        clean(replace(SPEC, clean=lambda raw: raw.drop("known_to")), patients("ok"), "run-7")


def test_a_day_is_refused_above_both_bounds_only() -> None:
    spec = replace(SPEC, refuse_share=0.5, refuse_rows=3)
    assert not clean(spec, patients("bad", "bad"), "r").refused
    assert not clean(spec, patients("bad", "bad", "bad", "ok", "ok", "ok"), "r").refused
    refused = clean(spec, patients("bad", "bad", "bad", "ok", "ok"), "r").refused
    assert "3 of 5 rows" in refused[DAY]


def test_what_no_longer_holds_is_not_counted_against_a_day() -> None:
    spec = replace(SPEC, refuse_share=0.5, refuse_rows=1)
    raw = patients("bad", "ok").with_columns(
        known_to=pl.when(pl.col("record_id") == "0").then(pl.lit(NOON, INSTANT))
    )
    cleaned = clean(spec, raw, "r")
    assert (cleaned.rejected, cleaned.refused) == ({}, {})
    assert cleaned.quarantine.height == 7


def test_undated_records_never_refuse_a_day() -> None:
    spec = replace(SPEC, refuse_share=0.1, refuse_rows=1)
    raw = patients("bad", "bad").with_columns(day=pl.lit(UNDATED))
    cleaned = clean(spec, raw, "r")
    assert (cleaned.rejected, cleaned.refused) == ({UNDATED: 2}, {})


def test_each_day_is_refused_by_itself() -> None:
    spec = replace(SPEC, refuse_share=0.5, refuse_rows=1)
    next_day = DAY + timedelta(days=1)
    second = pl.when(pl.col("record_id") == "1").then(pl.lit(next_day)).otherwise(pl.col("day"))
    cleaned = clean(spec, patients("bad", "ok").with_columns(day=second), "r")
    assert set(cleaned.refused) == {DAY}
    assert cleaned.rejected == {DAY: 1}


# -- aggregates ----------------------------------------------------------------------------------


class CityDay(pa.DataFrameModel):
    """A day of patients in numbers."""

    day: pl.Date = field("The day.")
    patients: pl.Int64 = field("Patients.", ge=2)


CITIES = Aggregate(
    Contract("aggregated", "patients_daily", CityDay, ""),
    "SELECT day, count(*) AS patients FROM cleaned.patients GROUP BY day",
)


def test_an_aggregate_counts_what_holds() -> None:
    held = clean(SPEC, patients("ok", "ok", "ok"), "r").accepted
    gone = pl.when(pl.col("record_id") == "0").then(pl.lit(NOON, INSTANT))
    found = aggregate(CITIES, SPEC.cleaned, held.with_columns(known_to=gone))
    assert found.rows() == [(DAY, 2)]
    assert found.schema == CITIES.contract.schema
    assert aggregate(CITIES, SPEC.cleaned, held.clear()).is_empty()


def test_an_aggregate_that_breaks_its_contract_is_told_with_the_rule() -> None:
    held = clean(SPEC, patients("ok"), "r").accepted
    with pytest.raises(ContractBroken, match=r"aggregated.patients_daily .*greater_than_or_equal"):
        aggregate(CITIES, SPEC.cleaned, held)


def test_frames_are_divided_by_day() -> None:
    frame = patients("ok", "ok")
    other: date = DAY + timedelta(days=1)
    parts = days_of(frame, [DAY, other])
    assert parts[DAY].equals(frame)
    assert parts[other].is_empty()
    assert parts[other].schema == frame.schema
