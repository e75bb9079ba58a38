"""A tenant's data lives under its own root: isolation is a path."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from intel_assets.ingest.documents import Window
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.layout import Layout
from intel_assets.simulator.server import Simulator
from intel_assets_tests.conftest import NOON, MakeLake, unhurried

URLHAUS, TWEETFEED = unhurried("urlhaus"), unhurried("tweetfeed")
DAYS = Window(NOON.date() - timedelta(days=4), NOON.date()).days


def below(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_a_tenants_run_writes_nothing_outside_its_root(
    played: Simulator, make_lake: MakeLake, tmp_path: Path
) -> None:
    lake = make_lake(played, tenant="acme")
    for spec in (URLHAUS, TWEETFEED):
        results = lake.fetch(spec, DAYS)
        assert {result.state for result in results} <= {"complete", "empty", "missing"}
    lake.replay(URLHAUS, DAYS)
    root = tmp_path / "lake"
    assert [entry.name for entry in root.iterdir()] == ["tenants"]
    assert [entry.name for entry in (root / "tenants").iterdir()] == ["acme"]
    written = {path.split("/")[0] for path in below(root / "tenants" / "acme")}
    assert written >= {"raw", "cleaned", "aggregated", "ops", "landing", "lake.json"}
    assert lake.table("raw.urlhaus").height > 0


def test_the_lakes_own_catalog_does_not_see_a_tenant(
    played: Simulator, make_lake: MakeLake, tmp_path: Path
) -> None:
    make_lake(played, tenant="acme").fetch(TWEETFEED, DAYS)
    own = Catalog(Layout(str(tmp_path / "lake")))
    assert own.tables() == []
    with own.connect() as connection, pytest.raises(duckdb.CatalogException):
        connection.sql("FROM raw.tweetfeed")


@pytest.mark.slow
def test_two_tenants_and_the_lake_itself_know_nothing_of_each_other(
    played: Simulator, make_lake: MakeLake, tmp_path: Path
) -> None:
    acme = make_lake(played, tenant="acme")
    acme.fetch(TWEETFEED, DAYS)
    before, truth = below(tmp_path / "lake" / "tenants" / "acme"), acme.tables("tweetfeed")
    played.clock.advance(7200)
    for other in (make_lake(played, tenant="globex"), make_lake(played)):
        other.fetch(TWEETFEED, DAYS[2:])
        assert set(other.table("raw.tweetfeed")["day"]) <= set(DAYS[2:])
        # Each has its own journal: nobody is told 304 on account of what another one holds.
        assert set(other.sql("FROM ops.fetches")["outcome"]) <= {"fetched", "not_published"}
    assert below(tmp_path / "lake" / "tenants" / "acme") == before
    after = acme.tables("tweetfeed")
    assert all(after[name].equals(frame) for name, frame in truth.items())
