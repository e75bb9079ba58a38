"""How indicators grow old: by default, and as somebody said."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from intel_assets.errors import UsageError
from intel_assets.lakehouse.catalog import Catalog, packaged_blank
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Table
from intel_assets.lakehouse.views import TableName
from intel_assets.sources.goldsql import sql_type
from intel_assets.threat.decay import DECAY_RULES, DecayRule, say
from intel_assets.threat.model import INDICATOR_TYPES
from intel_assets_tests.conftest import NOON, MakeLake
from intel_assets_tests.unit.threat.gold.given import made, sighting, tables

HOUR = timedelta(hours=1)
NOTHING: dict[str, Any] = {"tau_days": None, "delta": None, "threshold": None}


def rule(kind: str = "ipv4", at: datetime = NOON - HOUR, **given: Any) -> DecayRule:
    numbers = {"tau_days": 10.0, "delta": 1.0, "threshold": 40.0} | given
    return DecayRule(indicator_type=kind, reason="test", who="ann@desk", recorded_at=at, **numbers)


@pytest.fixture
def layout(make_lake: MakeLake) -> Layout:
    return make_lake().engine.settings.layout


def decays(layout: Layout, at: datetime = NOON) -> dict[str, tuple[Any, ...]]:
    catalog = Catalog(layout, clock=lambda: at)
    with catalog.connect(wanted=[TableName("aggregated", "decay")]) as con:
        found = con.sql("FROM aggregated.decay").fetchall()
    return {str(row[0]): tuple(row[1:]) for row in found}


def test_the_blank_table_has_the_columns_of_the_contract() -> None:
    blank = packaged_blank()[TableName("ops", "decay_rules")]
    assert blank == {name: sql_type(kind) for name, kind in DECAY_RULES.schema.items()}


def test_every_type_has_a_default(layout: Layout) -> None:
    found = decays(layout)
    assert set(found) == set(INDICATOR_TYPES)
    assert not any(is_own for *_, is_own in found.values())
    assert found["ipv4"] == (60.0, 2.0, 30.0, False)


def test_the_newest_word_counts_from_when_it_was_said_until_it_is_taken_back(
    layout: Layout,
) -> None:
    say(layout, rule(at=NOON - 3 * HOUR))
    say(layout, rule(at=NOON - 2 * HOUR, tau_days=20.0))
    say(layout, rule(at=NOON - 1 * HOUR, **NOTHING))
    moments = [3.5, 2.5, 1.5, 0.5]
    assert [decays(layout, NOON - hours * HOUR)["ipv4"] for hours in moments] == [
        (60.0, 2.0, 30.0, False),
        (10.0, 1.0, 40.0, True),
        (20.0, 1.0, 40.0, True),
        (60.0, 2.0, 30.0, False),
    ]
    assert decays(layout)["ipv6"] == (60.0, 2.0, 30.0, False)


def test_an_indicator_decays_as_was_said(layout: Layout) -> None:
    say(layout, rule())
    rows = [sighting(3, "urlhaus", "198.18.0.1"), sighting(3, "urlhaus", "198.18.0.2")]
    with tables(rows, ops__decay_rules=Table(layout, DECAY_RULES).read()) as con:
        found = made(con, "indicators", "true", "decay", "age_days", "tau_days", "threshold")
    assert found.height == 2
    for decay, age, tau, threshold in found.iter_rows():
        assert (tau, threshold) == (10.0, 40.0)
        assert decay == pytest.approx(max(0.0, 1 - age / 10), abs=1e-3)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (rule("ipv5"), "no type 'ipv5'"),
        (rule(tau_days=0.0), "tau of 0"),
        (rule(delta=-1.0), "delta of -1"),
        (rule(threshold=101.0), "threshold of 101"),
    ],
)
def test_what_makes_no_sense_is_refused(layout: Layout, wrong: DecayRule, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        say(layout, wrong)
    assert Table(layout, DECAY_RULES).open() is None
