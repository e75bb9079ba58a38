"""How sure several feeds make together, and how that fades: what must hold whatever they say."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intel_assets.sources.goldsql import sql_type
from intel_assets.threat.gold.sightings import SIGHTINGS
from intel_assets_tests.conftest import NOON
from intel_assets_tests.unit.threat.gold.given import made, sighting, tables

pytestmark = pytest.mark.slow

FEEDS = (
    *("abuseipdb", "blocklist_de", "feodo", "ipsum"),
    *("malicious_ip", "otx", "threatfox", "urlhaus"),
)
said = st.dictionaries(
    st.sampled_from(FEEDS), st.none() | st.integers(0, 100), min_size=1, max_size=len(FEEDS)
)
"""What feeds say of an indicator: each its confidence, or none."""
unhurried = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with tables([]) as con:
        yield con


@pytest.fixture(scope="module")
def feeds(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[int, set[str]]]:
    found = con.sql("SELECT source, trust, derived_from FROM aggregated.feeds").fetchall()
    return {source: (trust, set(origins)) for source, trust, origins in found}


def told(con: duckdb.DuckDBPyConnection, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return what is known of indicators of which feeds tell these sightings."""
    frame = pl.DataFrame(rows, schema=SIGHTINGS.schema)
    columns = ", ".join(f'"{c}"::{sql_type(t)} AS "{c}"' for c, t in frame.schema.items())
    con.execute("DELETE FROM aggregated.sightings")
    con.register("one", frame)
    con.execute(f"INSERT INTO aggregated.sightings SELECT {columns} FROM one")
    return made(con, "indicators")


def of(confidences: Mapping[str, int | None]) -> list[dict[str, Any]]:
    return [
        sighting(0, source, "198.18.0.1", confidence=confidence)
        for source, confidence in confidences.items()
    ]


def evidence(con: duckdb.DuckDBPyConnection, confidences: Mapping[str, int | None]) -> float:
    return float(told(con, of(confidences))["evidence"].item())


def expected(
    confidences: Mapping[str, int | None], feeds: Mapping[str, tuple[int, set[str]]]
) -> float:
    """Noisy-OR, written down once more: of what repeats others, one counts at most."""
    weight = {
        source: min((feeds[source][0] if sure is None else sure) / 100, 0.999)
        for source, sure in confidences.items()
    }
    firsts = [source for source in weight if not feeds[source][1]]
    doubts = [math.prod(1 - weight[source] for source in firsts)]
    for source in weight.keys() - set(firsts):
        others = (1 - weight[one] for one in firsts if one not in feeds[source][1])
        doubts.append((1 - weight[source]) * math.prod(others))
    return 100 * (1 - min(doubts))


@unhurried
@given(said)
def test_independent_feeds_make_more_certain_together_and_copies_do_not(
    con: duckdb.DuckDBPyConnection,
    feeds: dict[str, tuple[int, set[str]]],
    confidences: dict[str, int | None],
):
    assert evidence(con, confidences) == pytest.approx(expected(confidences, feeds), abs=0.006)


@unhurried
@given(said, st.sampled_from(FEEDS), st.integers(0, 100))
def test_a_further_report_never_lowers_what_is_known(
    con: duckdb.DuckDBPyConnection,
    confidences: dict[str, int | None],
    further: str,
    sure: int,
):
    before = {source: one for source, one in confidences.items() if source != further}
    if before:
        assert evidence(con, before | {further: sure}) >= evidence(con, before)


@unhurried
@given(said, st.integers(0, 99))
def test_a_surer_report_never_lowers_what_is_known(
    con: duckdb.DuckDBPyConnection, confidences: dict[str, int | None], sure: int
):
    source = next(iter(confidences))
    low, high = confidences | {source: sure}, confidences | {source: sure + 1}
    assert evidence(con, low) <= evidence(con, high) <= 100


@unhurried
@given(said, st.randoms())
def test_the_order_of_reports_and_saying_a_thing_twice_change_nothing(
    con: duckdb.DuckDBPyConnection, confidences: dict[str, int | None], dice: random.Random
):
    rows = of(confidences)
    first = told(con, rows)
    dice.shuffle(rows)
    assert told(con, rows).equals(first)
    again = told(con, [*rows, *(row | {"day": row["day"] + timedelta(days=1)} for row in rows)])
    assert again["evidence"].item() == first["evidence"].item()


@unhurried
@given(
    st.sampled_from(["ipv4", "domain", "sha256", "cve"]),
    st.lists(st.integers(0, 72_000), min_size=2, max_size=12, unique=True).map(sorted),
)
def test_confidence_only_fades_and_ends_at_nothing(
    con: duckdb.DuckDBPyConnection, kind: str, hours: list[int]
):
    rows = [
        sighting(0, "feodo", f"i{n:02}", indicator_type=kind)
        | {"first_seen": NOON - timedelta(hours=age)}
        for n, age in enumerate(hours)
    ]
    found = told(con, rows).sort("indicator")
    decay, age = found["decay"], pl.Series(hours) / 24
    assert decay.is_between(0, 1).all()
    assert decay.is_sorted(descending=True)
    wanted = 1 - (age / found["tau_days"]).clip(0, 1) ** (1 / found["delta"])
    assert (decay - wanted).abs().max() < 0.0001
    assert (found["confidence"] - found["evidence"] * wanted).abs().max() < 0.02
    sure, threshold = found["evidence"] * wanted, found["threshold"]
    near = (sure - threshold).abs() < 0.01
    assert (((found["status"] == "active") == (sure >= threshold)) | near).all()
    assert set(found["status"]) <= {"active", "expired"}
