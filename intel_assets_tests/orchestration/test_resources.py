"""Resources: what assets are handed, and what happens to it when they fail."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import duckdb
import pytest

from intel_assets.errors import LakeTooNew
from intel_assets.orchestration.resources import CatalogResource, LakehouseResource
from intel_assets_tests.orchestration.conftest import Installation, published_days


def _materialize(asset: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
    resources = {"duckdb": CatalogResource()}
    return dg.materialize([asset], resources=resources, raise_on_error=False)


@pytest.mark.slow
def test_the_duckdb_resource_hands_out_the_catalog(installation: Installation):
    days = published_days(2)
    installation.run("tweetfeed", days)
    found = []

    @dg.asset
    def gold(duckdb: CatalogResource) -> None:
        with duckdb.get_connection() as connection:
            found.extend(
                connection.execute(
                    "SELECT day FROM aggregated.tweetfeed_daily ORDER BY 1"
                ).fetchall()
            )

    assert _materialize(gold).success
    assert [day for (day,) in found] == days


def test_the_connection_is_closed_when_the_asset_raises(installation: Installation):
    held: list[duckdb.DuckDBPyConnection] = []

    @dg.asset
    def gold(duckdb: CatalogResource) -> None:
        with duckdb.get_connection() as connection:
            held.append(connection)
            raise ValueError("the asset's own mistake")

    assert not _materialize(gold).success
    with pytest.raises(duckdb.ConnectionException, match="closed"):
        held[0].execute("SELECT 1")


def test_the_connection_is_closed_when_the_asset_is_done(installation: Installation):
    with CatalogResource().get_connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(duckdb.ConnectionException, match="closed"):
        connection.execute("SELECT 1")


def test_the_lakehouse_is_the_one_that_the_settings_name(installation: Installation):
    with LakehouseResource().open() as engine:
        assert engine.settings.lake == installation.settings.lake
        assert engine.lake.layout.base == installation.settings.layout.base


def test_a_run_on_a_lake_of_a_newer_version_says_so_and_changes_nothing(
    installation: Installation,
):
    with LakehouseResource().open():
        pass
    marker = Path(installation.settings.layout.base) / "lake.json"
    marker.write_text('{"format": 99}')
    outcome = installation.run("tweetfeed", published_days(1))
    assert "is of format 99" in (outcome.message or "")
    assert outcome.exit_code == LakeTooNew.exit_code
    assert [entry.name for entry in marker.parent.iterdir()] == ["lake.json"]


def test_a_run_in_live_mode_without_its_key_names_the_key(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("INTEL_MODE", "live")
    monkeypatch.delenv("ABUSECH_AUTH_KEY", raising=False)
    outcome = installation.run("urlhaus", published_days(1))
    assert "urlhaus needs ABUSECH_AUTH_KEY, which is not set." in (outcome.message or "")
    assert outcome.exit_code == 3


def test_in_demo_mode_a_run_finds_a_world_even_when_nobody_plays_one(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, free_port: int
):
    """As under `dg dev`, where no command has started the simulator."""
    monkeypatch.setenv("INTEL_SIMULATOR", f"http://127.0.0.1:{free_port}")
    outcome = installation.run("tweetfeed", published_days(1))
    assert outcome.message is None
