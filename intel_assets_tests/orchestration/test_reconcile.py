"""What the reconciler finds and mends: Dagster and the lake never tell two stories for long."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from intel_assets.lakehouse.tables import Table
from intel_assets.orchestration.reconcile import reconcile
from intel_assets.simulator.server import Simulator
from intel_assets.sources.spec import SourceSpec
from intel_assets_tests.conftest import MakeLake, TestLake, unhurried

FIRST, LAST = date(2026, 5, 14), date(2026, 6, 9)
DAYS = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
DAY = date(2026, 5, 20)


@dataclass
class World:
    lake: TestLake
    spec: SourceSpec
    instance: dg.DagsterInstance

    def reconcile(self) -> dict[str, int]:
        found = reconcile(self.lake.engine, self.instance, self.spec, "reconcile")
        return {name: number for name, number in found.numbers.items() if number}

    def told(self, layer: str, name: str) -> dict[str, str]:
        """The data versions that Dagster shows."""
        tags = self.instance.event_log_storage.get_latest_tags_by_partition(
            dg.AssetKey([layer, name]),
            dg.DagsterEventType.ASSET_MATERIALIZATION,
            ["dagster/data_version"],
        )
        return {day: tag["dagster/data_version"] for day, tag in tags.items()}

    def folder(self, table: str) -> Path:
        return Path(self.lake.engine.lake.layout.base) / table

    def raw(self) -> pl.DataFrame:
        keys = ["day", "record_id", "record_digest", "known_from"]
        return Table(self.lake.engine.lake.layout, self.spec.raw).read().sort(keys)


@pytest.fixture
def world(played: Simulator, make_lake: MakeLake) -> Iterator[World]:
    spec = replace(unhurried("urlhaus"), start=FIRST)
    lake = make_lake(played)
    lake.fetch(spec, DAYS)
    with dg.DagsterInstance.ephemeral() as instance:
        found = World(lake, spec, instance)
        found.reconcile()
        yield found


@pytest.mark.slow
def test_what_the_lake_holds_and_dagster_does_not_know_is_told_to_it(world: World):
    for layer, name in (
        ("raw", "urlhaus"),
        ("cleaned", "urlhaus"),
        ("aggregated", "urlhaus_daily"),
    ):
        told = world.told(layer, name)
        assert {day for day in told if day <= LAST.isoformat()} == {str(day) for day in DAYS}


def test_a_second_look_finds_nothing(world: World):
    assert world.reconcile() == {}


def test_a_file_missing_inside_a_folder_is_found_and_built_again_without_a_request(
    world: World, played: Simulator
):
    before = world.raw()
    asked = len(played.requests)
    for file in (world.folder("raw/urlhaus") / f"day={DAY}").glob("*.parquet"):
        file.unlink()
    assert world.reconcile()["missing_files"] == 1
    # The gap sensor plans it; here it is done at once.
    world.lake.replay(world.spec, [DAY])
    assert world.raw().equals(before)
    assert len(played.requests) == asked


def test_rows_written_by_hand_are_found_and_taken_back(world: World):
    before = world.raw()
    uri = str(world.folder("raw/urlhaus"))
    forged = before.filter(pl.col("day") == DAY).head(3).with_columns(record_id=pl.lit("forged"))
    write_deltalake(DeltaTable(uri), forged, mode="append")
    assert world.raw().height == before.height + 3
    assert world.reconcile() == {"days_written_by_hand": 1}
    assert world.raw().equals(before)
    assert world.reconcile() == {}


def test_rows_deleted_by_hand_come_back(world: World):
    before = world.raw()
    DeltaTable(str(world.folder("raw/urlhaus"))).delete(f"day = DATE '{DAY}'")
    assert world.reconcile()["days_written_by_hand"] == 1
    assert world.raw().equals(before)


@pytest.mark.slow
def test_a_table_put_back_to_an_older_copy_is_built_again(
    world: World, played: Simulator, tmp_path: Path
):
    table = world.folder("raw/urlhaus")
    shutil.copytree(table, tmp_path / "copy")
    played.clock.advance(6 * 3600)
    world.lake.fetch(world.spec, DAYS)
    world.reconcile()
    before = world.raw()
    shutil.rmtree(table)
    shutil.copytree(tmp_path / "copy", table)
    assert not world.raw().equals(before)
    assert world.reconcile()["days_written_by_hand"] >= len(DAYS)
    assert world.raw().equals(before)


def test_cleaned_that_does_not_follow_from_its_raw_is_derived_again(
    world: World, played: Simulator
):
    layout = world.lake.engine.lake.layout
    partitions = layout.table_uri("ops", "partitions")
    rows = pl.read_delta(partitions).filter((pl.col("layer") == "cleaned") & (pl.col("day") == DAY))
    later = rows.with_columns(
        digest=pl.lit("of another raw"), recorded_at=pl.col("recorded_at") + timedelta(seconds=1)
    )
    write_deltalake(partitions, later, mode="append")
    played.clock.advance(60)
    assert world.reconcile()["days_behind"] == 1
    assert "days_behind" not in world.reconcile()


def test_a_lost_note_of_what_was_looked_at_costs_a_second_look_and_nothing_else(world: World):
    note = world.lake.engine.settings.state / "reconciled.json"
    assert json.loads(note.read_text())["raw.urlhaus"] >= 0
    note.unlink()
    before = world.raw()
    assert world.reconcile() == {}
    assert world.raw().equals(before)
