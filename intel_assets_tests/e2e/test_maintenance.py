"""Upkeep: fewer files, shorter logs, the same answers."""

from __future__ import annotations

import os
import re
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from deltalake import DeltaTable

from intel_assets.errors import DiskFull, UsageError
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.contracts import Contract, field
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.maintenance import Removed, compact, maintain, vacuum
from intel_assets.lakehouse.tables import Change, Table

DAYS = [date(2026, 5, day) for day in range(1, 5)]
ZERO = timedelta(0)
COMMIT = {"run_id": "r", "source": "small", "code_version": "1"}


class Small(pa.DataFrameModel):
    """A number a row."""

    day: pl.Date = field("The partition.")
    number: pl.Int64 = field("A number.")


CONTRACT = Contract("raw", "small", Small, "A small table.")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "lake"))


def numbers(day: date, *values: int) -> pl.DataFrame:
    return pl.DataFrame({"day": [day] * len(values), "number": list(values)})


def table_with_small_files(layout: Layout) -> Table:
    table = Table(layout, CONTRACT)
    for number in range(6):
        table.append(pl.concat([numbers(day, number) for day in DAYS]), COMMIT)
    return table


def delta(table: Table) -> DeltaTable:
    found = table.open()
    assert found is not None
    return found


def rows(table: Table) -> list[tuple[object, ...]]:
    return table.read().sort("day", "number").rows()


def replace_day(table: Table, day: date, *values: int) -> None:
    table.replace_partitions(lambda _: Change(numbers(day, *values), [day]), COMMIT)


def make_older(folder: Path, days: int) -> None:
    """Make everything in a table look as if it had been written so many days earlier."""
    for file in folder.rglob("*"):
        if file.suffix == ".json":
            stamp = re.compile(r'("(?:timestamp|deletionTimestamp|modificationTime)":)(\d+)')
            text = stamp.sub(
                lambda found: found[1] + str(int(found[2]) - days * 86_400_000), file.read_text()
            )
            file.write_text(text)
        before = file.stat().st_mtime - days * 86_400
        os.utime(file, (before, before))


def test_small_files_become_one_a_day_and_say_the_same(layout: Layout) -> None:
    table = table_with_small_files(layout)
    before = rows(table)
    opened = delta(table)
    assert len(opened.file_uris()) == 24
    assert compact(opened, "upkeep") == 24
    assert len(delta(table).file_uris()) == len(DAYS)
    assert rows(table) == before
    assert opened.history(1)[0]["run_id"] == "upkeep"
    version = delta(table).version()
    assert compact(delta(table)) == 0
    assert delta(table).version() == version


def test_no_deletion_vectors_come_in(layout: Layout) -> None:
    table = table_with_small_files(layout)
    maintain(layout, retention=ZERO, shorter=True)
    protocol = delta(table).protocol()
    assert "deletionVectors" not in (protocol.writer_features or [])
    assert delta(table).metadata().configuration.get("delta.enableDeletionVectors") != "true"


def test_past_versions_are_shown_for_as_long_as_promised(layout: Layout) -> None:
    table = table_with_small_files(layout)
    before = rows(table)
    shown_at = datetime.now(UTC)
    replace_day(table, DAYS[0], 99)
    done = maintain(layout)
    assert [(upkeep.name, upkeep.removed) for upkeep in done] == [("small", 0)]
    with Catalog(layout).connect(shown_at=shown_at) as connection:
        then = connection.sql("FROM raw.small ORDER BY ALL").pl()
    assert then.select("day", "number").rows() == before


@pytest.mark.parametrize("retention", [ZERO, timedelta(days=29, hours=23)])
def test_less_than_promised_is_refused(layout: Layout, retention: timedelta) -> None:
    table = table_with_small_files(layout)
    files = set(Path(layout.root).rglob("*"))
    with pytest.raises(UsageError, match="30 days"):
        maintain(layout, retention=retention)
    with pytest.raises(UsageError, match="30 days"):
        vacuum(delta(table), layout.store(table.uri), retention)
    assert set(Path(layout.root).rglob("*")) == files


def test_what_no_version_needs_any_more_goes_after_the_retention(layout: Layout) -> None:
    table = table_with_small_files(layout)
    folder = Path(layout.table_uri("raw", "small"))
    small = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    compact(delta(table))
    make_older(folder, 31)
    replace_day(table, DAYS[0], 7)
    before = rows(table)
    assert vacuum(delta(table), layout.store(table.uri)) == Removed(24, small)
    assert len(list(folder.rglob("*.parquet"))) == len(DAYS) + 1
    assert rows(table) == before


def test_a_killed_writers_file_goes_and_one_under_way_stays(layout: Layout) -> None:
    table = table_with_small_files(layout)
    folder = Path(layout.table_uri("raw", "small"))
    killed, under_way = (
        folder / f"day={DAYS[0]}" / f"part-{name}.parquet" for name in ("killed", "under-way")
    )
    for file in (killed, under_way):
        file.write_bytes(b"half a file")
    long_ago = datetime.now(UTC) - timedelta(days=31)
    os.utime(killed, (long_ago.timestamp(), long_ago.timestamp()))
    assert vacuum(delta(table), layout.store(table.uri)) == Removed(1, len(b"half a file"))
    assert under_way.exists()
    assert not killed.exists()


def test_nothing_to_remove_is_no_commit(layout: Layout) -> None:
    table = table_with_small_files(layout)
    maintain(layout)
    version = delta(table).version()
    assert [upkeep.version for upkeep in maintain(layout)] == [version]
    assert delta(table).version() == version


def test_a_shorter_log_still_shows_every_moment_of_the_retention(layout: Layout) -> None:
    table = table_with_small_files(layout)
    folder = Path(layout.table_uri("raw", "small"))
    maintain(layout)
    long_valid = rows(table)
    make_older(folder, 45)
    replace_day(table, DAYS[0], 7)
    maintain(layout)
    maintain(layout)
    log = sorted(int(file.stem) for file in folder.glob("_delta_log/*.json"))
    assert log[0] == 7
    assert log[-1] == delta(table).version() > 7
    for days_ago in (29, 20, 1):
        moment = datetime.now(UTC) - timedelta(days=days_ago)
        with Catalog(layout).connect(shown_at=moment) as connection:
            then = connection.sql("FROM raw.small ORDER BY ALL").pl()
        assert then.select("day", "number").rows() == long_valid


@pytest.mark.slow
def test_the_log_is_cut_by_upkeep_alone(layout: Layout) -> None:
    table = table_with_small_files(layout)
    folder = Path(layout.table_uri("raw", "small"))
    make_older(folder, 45)
    for number in range(110):  # a checkpoint comes by itself after 100
        table.append(numbers(DAYS[0], number), COMMIT)
    assert list(folder.glob("_delta_log/*.checkpoint.parquet"))
    assert len(list(folder.glob("_delta_log/*.json"))) == 7 + 110


def test_writers_and_upkeep_at_once_lose_nothing(layout: Layout) -> None:
    table = table_with_small_files(layout)
    rounds = 12
    failures: list[BaseException] = []

    def write(day: date) -> None:
        try:
            for number in range(rounds):
                replace_day(Table(layout, CONTRACT), day, number, number)
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(day,)) for day in DAYS[:2]]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert len(maintain(layout)) == 1
    for writer in writers:
        writer.join()
    assert not failures
    last = rounds - 1
    expected = [(day, last) for day in DAYS[:2] for _ in range(2)]
    expected += [(day, number) for day in DAYS[2:] for number in range(6)]
    assert rows(table) == expected


def test_a_damaged_table_is_skipped_with_its_reason_and_the_others_go_on(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    table_with_small_files(layout)
    log = Path(layout.table_uri("cleaned", "broken")) / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("no log")
    done = {upkeep.name: upkeep for upkeep in maintain(layout)}
    assert done["broken"].skipped
    assert "cleaned.broken" in caplog.text
    assert done["small"].skipped is None
    assert done["small"].merged == 24


def test_upkeep_of_a_tenant_touches_no_other(layout: Layout) -> None:
    own = table_with_small_files(layout)
    tenants = Layout(layout.root, tenant="acme")
    table_with_small_files(tenants)
    version = delta(own).version()
    assert [upkeep.merged for upkeep in maintain(tenants)] == [24]
    assert delta(own).version() == version


def test_only_partitions_with_too_many_files_are_touched(layout: Layout) -> None:
    table = Table(layout, CONTRACT)
    for number in range(4):
        table.append(pl.concat([numbers(day, number) for day in DAYS]), COMMIT)
    table.append(numbers(DAYS[0], 4), COMMIT)
    few = files(table, *DAYS[1:])
    (done,) = maintain(layout)
    assert (done.before, done.after, done.merged) == (17, 13, 5)
    assert files(table, *DAYS[1:]) == few
    assert len(files(table, DAYS[0])) == 1


def test_what_grows_by_small_files_has_few_and_is_not_written_anew_each_time(
    layout: Layout,
) -> None:
    table = Table(layout, CONTRACT)
    written = 0
    seen: set[str] = set()
    for batch in range(12):
        for number in range(6):
            many = [batch * 10_000 + number * 1_000 + value * 7 % 1_000 for value in range(1_000)]
            table.append(numbers(DAYS[0], *many), COMMIT)
        seen |= files(table, DAYS[0])
        maintain(layout)
        stand = files(table, DAYS[0])
        assert len(stand) <= 4
        folder = Path(layout.table_uri("raw", "small"))
        written += sum((folder / file).stat().st_size for file in stand - seen)
        seen |= stand
    total = sum((folder / file).stat().st_size for file in stand)
    assert written < 4 * total  # anew each time: 6.5 times
    assert table.read().height == 12 * 6_000


def test_a_table_that_cannot_be_written_is_skipped_and_its_old_files_go_all_the_same(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_with_small_files(layout)
    replace_day(table, DAYS[0], 7)
    make_older(Path(layout.table_uri("raw", "small")), 31)

    def full(*_: object, **__: object) -> int:
        raise DiskFull("No space is left.", "Free some.")

    monkeypatch.setattr("intel_assets.lakehouse.maintenance.compact", full)
    (done,) = maintain(layout)
    assert done.skipped == "No space is left. Free some."
    assert (done.merged, done.removed) == (0, 6)
    assert done.freed > 0


def files(table: Table, *days: date) -> set[str]:
    """Return the names of the files that days of a table consist of."""
    uris = (uri for uri in delta(table).file_uris() if any(f"day={day}/" in uri for day in days))
    return {uri.removeprefix(f"{table.uri}/") for uri in uris}
