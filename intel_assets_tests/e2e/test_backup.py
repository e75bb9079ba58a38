"""Backup and restore, rehearsed: made while runs write, brought back, and gone on from there."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import polars as pl
import pytest
import typer
from typer.testing import CliRunner

from intel_assets.cli import keep
from intel_assets.errors import (
    ConfigurationError,
    DiskFull,
    LakeTooNew,
    StorageError,
    UsageError,
)
from intel_assets.ingest.documents import Window
from intel_assets.lakehouse import copies
from intel_assets.lakehouse.backup import back_up
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.lock import alone
from intel_assets.lakehouse.maintenance import maintain
from intel_assets.lakehouse.manifest import MANIFEST, Manifest, read_manifest
from intel_assets.lakehouse.restore import Restored, restore
from intel_assets.simulator.server import Simulator
from intel_assets.simulator.urlhaus import csv_lines
from intel_assets.simulator.urlhaus_world import UrlRecord
from intel_assets.simulator.world import stamp
from intel_assets.sources.retention import purge
from intel_assets_tests.conftest import NOON, MakeLake, TestLake, assert_same, unhurried

URLHAUS = unhurried("urlhaus")
FIRST = NOON.date() - timedelta(days=2)
DAYS = Window(FIRST, NOON.date()).days


@dataclass
class Feed:
    """Dumps that change a little each time, and the lakes that take them."""

    folder: Path
    dumps: list[tuple[Path, datetime]] = field(default_factory=list)

    def dump(self, *, changed: bool = True) -> tuple[Path, datetime]:
        """Write the next dump, an hour after the last."""
        count = len(self.dumps) if changed else max(0, len(self.dumps) - 1)
        now = NOON + timedelta(hours=len(self.dumps))
        records = [record(n) for n in range(1, 10 + count) if (n + count) % 7]
        path = self.folder / f"dump-{len(self.dumps)}.csv"
        path.write_bytes(b"".join(csv_lines(reversed(records), now)))
        self.dumps.append((path, now))
        return path, now

    def take(self, lake: TestLake, *, changed: bool = True) -> None:
        path, now = self.dump(changed=changed)
        lake.land(URLHAUS, {path: None}, now)


def record(number: int) -> UrlRecord:
    at = datetime.combine(DAYS[number % 3], NOON.time()) + timedelta(minutes=number)
    url = f"http://amber-{number}.example/x"
    return UrlRecord(number, stamp(int(at.timestamp())), url, True, None, "malware", ("elf",), "me")


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    folder = tmp_path / "dumps"
    folder.mkdir()
    return Feed(folder)


def later() -> datetime:
    return NOON + timedelta(days=30)


def saved(lake: TestLake, folder: Path, *, verify: bool = False) -> Manifest:
    return back_up(lake.engine.settings.layout, folder, {}, later, verify=verify)


def brought_back(lake: TestLake, folder: Path, *, force: bool = False) -> Restored:
    return restore(folder, lake.engine.settings.layout, {}, later(), force=force)


def known(lake: TestLake, *moments: datetime) -> dict[str, dict[str, pl.DataFrame]]:
    found = {str(moment): lake.tables("urlhaus", as_of=moment) for moment in moments}
    return found | {"history": lake.tables("urlhaus", history=True)}


def as_of(lake: TestLake, moment: datetime) -> dict[str, pl.DataFrame]:
    """Return what was known at a moment, without what was known later: when it ended."""
    tables = lake.tables("urlhaus", as_of=moment)
    return {name: frame.drop("known_to", strict=False) for name, frame in tables.items()}


def assert_known(lake: TestLake, expected: dict[str, dict[str, pl.DataFrame]]) -> None:
    moments = [datetime.fromisoformat(name) for name in expected if name != "history"]
    found = known(lake, *moments)
    for name, tables in expected.items():
        assert_same(found[name], tables)


def destroy(lake: TestLake) -> None:
    shutil.rmtree(lake.engine.settings.layout.base)


def bodies(folder: Path) -> set[str]:
    return {file.stem for file in folder.rglob("*.zst")}


@pytest.mark.slow
def test_a_backup_made_while_runs_write_brings_back_what_was_known_and_runs_go_on(
    make_lake: MakeLake, feed: Feed, tmp_path: Path
) -> None:
    lake = make_lake(clock=lambda: feed.dumps[-1][1])
    for _ in range(3):
        feed.take(lake)
    stop = threading.Event()
    finished: list[datetime] = []
    failures: list[BaseException] = []

    def write() -> None:
        try:
            while not stop.is_set():
                feed.take(lake)
                finished.append(feed.dumps[-1][1])
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    backup = tmp_path / "backup"
    before: list[datetime] = []
    copied = []
    for _ in range(4):
        time.sleep(0.5)
        before = list(finished)
        copied.append(saved(lake, backup).copied)
    stop.set()
    writer.join()
    assert not failures
    assert len(finished) > len(before) > 2
    assert copied[-1] < copied[0] + copied[1]
    moments = [NOON, *before]
    original = {moment: as_of(lake, moment) for moment in moments}
    everything = known(lake, *(now for _, now in feed.dumps))
    destroy(lake)
    brought_back(lake, backup)
    journal = lake.sql("FROM ops.fetches")
    assert set(journal["body_sha256"]) <= bodies(Path(lake.engine.lake.landing.uri))
    for moment in moments:
        assert_same(as_of(lake, moment), original[moment])
    # What came after the backup comes again; a body that waited in it is folded by that.
    for path, now in feed.dumps:
        lake.land(URLHAUS, {path: None}, now)
    assert_known(lake, everything)


@pytest.mark.slow
def test_a_backup_brings_back_every_table_the_journal_and_past_versions(
    make_lake: MakeLake, feed: Feed, tmp_path: Path
) -> None:
    lake = make_lake(clock=lambda: feed.dumps[-1][1])
    feed.take(lake)
    shown_at = datetime.now(UTC)
    then = lake.table("raw.urlhaus", shown_at=shown_at)
    feed.take(lake)
    expected = known(lake, *(now for _, now in feed.dumps))
    journal = lake.table("ops.fetches", history=True)
    manifest = saved(lake, tmp_path / "backup")
    assert manifest.moment == later()
    assert (manifest.bodies, manifest.left, manifest.lake_format) == (2, {}, 1)
    assert manifest == read_manifest(tmp_path / "backup")
    destroy(lake)
    assert brought_back(lake, tmp_path / "backup").aside == []
    assert_known(lake, expected)
    assert lake.table("ops.fetches", history=True).equals(journal)
    assert lake.table("raw.urlhaus", shown_at=shown_at).equals(then)
    assert not list(Path(lake.engine.settings.layout.base).glob(".*"))
    lake.replay(URLHAUS, DAYS)
    assert_known(lake, expected)


@pytest.mark.slow
def test_a_second_backup_copies_only_what_is_new_also_after_upkeep(
    make_lake: MakeLake, feed: Feed, tmp_path: Path
) -> None:
    lake = make_lake(clock=lambda: feed.dumps[-1][1])
    for _ in range(3):
        feed.take(lake)
    first = saved(lake, tmp_path / "backup")
    assert saved(lake, tmp_path / "backup", verify=True).copied == 0
    feed.take(lake)
    maintain(lake.engine.settings.layout, retention=timedelta(0), shorter=True, most=1)
    second = saved(lake, tmp_path / "backup")
    assert 0 < second.copied < first.copied
    expected = known(lake, NOON)
    # What upkeep removed from the lake is not in the backup either.
    for name, table in second.tables.items():
        held = copies.present(tmp_path / "backup" / "tables" / name.replace(".", "/"))
        assert len(held) == table.files
    destroy(lake)
    brought_back(lake, tmp_path / "backup")
    assert_known(lake, expected)


@pytest.mark.slow
def test_an_unfinished_backup_is_still_the_one_before(
    make_lake: MakeLake, feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, backup = make_lake(clock=lambda: feed.dumps[-1][1]), tmp_path / "backup"
    feed.take(lake)
    saved(lake, backup)
    expected = known(lake, NOON)
    feed.take(lake)
    real, count = copies.bring, 0

    def dying(store: obstore.store.ObjectStore, path: str, target: Path) -> None:
        nonlocal count
        count += 1
        if count > 9:
            raise DiskFull("No space is left.", "Free some.")
        real(store, path, target)

    with monkeypatch.context() as patch:
        patch.setattr(copies, "bring", dying)
        with pytest.raises(DiskFull):
            saved(lake, backup)
    now = known(lake, NOON)
    other = make_lake(name="other", clock=lambda: feed.dumps[-1][1])
    brought_back(other, backup, force=True)
    assert_known(other, expected)
    saved(lake, backup)
    brought_back(other, backup, force=True)
    assert_known(other, now)


@pytest.mark.slow
def test_a_first_backup_that_died_is_taken_up_again(
    make_lake: MakeLake, feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, backup = make_lake(clock=lambda: feed.dumps[-1][1]), tmp_path / "backup"
    feed.take(lake)
    with monkeypatch.context() as patch:
        patch.setattr("intel_assets.lakehouse.backup.write_manifest", _die)
        with pytest.raises(DiskFull):
            saved(lake, backup)
    with pytest.raises(UsageError, match="no complete backup"):
        brought_back(lake, backup)
    saved(lake, backup)
    expected = known(lake, NOON)
    destroy(lake)
    brought_back(lake, backup)
    assert_known(lake, expected)


def _die(*_: object) -> None:
    raise DiskFull("No space is left.", "Free some.")


def test_what_is_there_is_moved_aside_by_force_alone_and_tenants_stay(
    make_lake: MakeLake, feed: Feed, tmp_path: Path
) -> None:
    lake = make_lake(clock=lambda: feed.dumps[-1][1])
    feed.take(lake)
    tenant = make_lake(clock=lambda: feed.dumps[-1][1], tenant="acme")
    feed.take(tenant)
    saved(lake, tmp_path / "backup")
    base = Path(lake.engine.settings.layout.base)
    (base / "raw" / "mine.txt").write_text("left here")
    with pytest.raises(UsageError, match="--force"):
        brought_back(lake, tmp_path / "backup")
    assert (base / "raw" / "mine.txt").exists()
    (aside,) = brought_back(lake, tmp_path / "backup", force=True).aside
    assert (aside / "raw" / "mine.txt").read_text() == "left here"
    assert (aside / "lake.json").exists()
    assert not (base / "raw" / "mine.txt").exists()
    assert tenant.table("raw.urlhaus").height > 0
    with pytest.raises(UsageError, match="no tenant"):
        brought_back(tenant, tmp_path / "backup", force=True)


@pytest.mark.slow
def test_a_table_made_anew_and_a_lake_set_back_get_their_own_folder(
    make_lake: MakeLake, feed: Feed, tmp_path: Path
) -> None:
    lake, backup = make_lake(clock=lambda: feed.dumps[-1][1]), tmp_path / "backup"
    feed.take(lake)
    first = saved(lake, backup)
    shutil.copytree(backup, tmp_path / "old")
    base = Path(lake.engine.settings.layout.base)
    for gone in ("raw", "cleaned", "aggregated"):
        shutil.rmtree(base / gone)
    lake.replay(URLHAUS, DAYS)
    feed.take(lake)
    second = saved(lake, backup)
    assert {name for name, table in second.tables.items() if table.folder != "1"} == {
        name for name in second.tables if name.startswith(("raw", "cleaned", "aggregated"))
    }
    assert all(table.folder == "1" for table in first.tables.values())
    brought_back(lake, tmp_path / "old", force=True)
    feed.take(lake)
    third = saved(lake, backup)
    assert third.tables["ops.fetches"].folder == "2"
    expected = known(lake, NOON)
    brought_back(lake, backup, force=True)
    assert_known(lake, expected)


def test_a_damaged_table_and_a_damaged_body_are_told_and_the_rest_is_saved(
    make_lake: MakeLake, feed: Feed, tmp_path: Path
) -> None:
    lake, backup = make_lake(clock=lambda: feed.dumps[-1][1]), tmp_path / "backup"
    for _ in range(2):
        feed.take(lake)
    base = Path(lake.engine.settings.layout.base)
    log = base / "cleaned" / "broken" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("no log")
    body, other = sorted((base / "landing").glob("??/*.zst"))
    good = body.read_bytes()
    body.write_bytes(good[:-5])
    manifest = saved(lake, backup)
    assert set(manifest.left) == {"cleaned.broken", f"landing/{body.parent.name}/{body.name}"}
    assert bodies(backup) == {other.stem}
    body.write_bytes(good)
    assert set(saved(lake, backup).left) == {"cleaned.broken"}
    assert bodies(backup) == {body.stem, other.stem}
    (backup / "landing" / other.parent.name / other.name).write_bytes(b"")
    assert set(saved(lake, backup, verify=True).left) == {"cleaned.broken"}


@pytest.mark.slow
def test_a_damaged_backup_is_refused_before_anything_is_touched(
    make_lake: MakeLake, feed: Feed, tmp_path: Path
) -> None:
    lake, backup = make_lake(clock=lambda: feed.dumps[-1][1]), tmp_path / "backup"
    feed.take(lake)
    saved(lake, backup)
    expected = known(lake, NOON)

    def refused(damage: Callable[[Path], object]) -> None:
        shutil.rmtree(tmp_path / "damaged", ignore_errors=True)
        shutil.copytree(backup, tmp_path / "damaged")
        damage(tmp_path / "damaged")
        with pytest.raises(StorageError):
            brought_back(lake, tmp_path / "damaged", force=True)
        assert_known(lake, expected)

    refused(lambda folder: next(folder.rglob("day=*/*.parquet")).write_bytes(b""))
    refused(lambda folder: next(folder.rglob("*.zst")).unlink())
    refused(lambda folder: next(folder.rglob("_delta_log/*.json")).unlink())
    refused(lambda folder: (folder / MANIFEST).write_text("{"))


@pytest.mark.slow
def test_a_file_that_the_lake_lost_is_in_the_backup_before_or_its_table_is_left_out(
    make_lake: MakeLake, feed: Feed, tmp_path: Path
) -> None:
    lake, backup = make_lake(clock=lambda: feed.dumps[-1][1]), tmp_path / "backup"
    feed.take(lake)
    expected = known(lake, NOON)
    saved(lake, backup)
    base = Path(lake.engine.settings.layout.base)
    next((base / "raw" / "urlhaus").glob("day=*/*.parquet")).unlink()
    other = make_lake(name="other", clock=lambda: feed.dumps[-1][1])
    for _ in range(2):  # the backup before still has the file
        assert saved(lake, backup).left == {}
        brought_back(other, backup, force=True)
        assert_known(other, expected)
    assert set(saved(lake, tmp_path / "fresh").left) == {"raw.urlhaus"}
    brought_back(other, tmp_path / "fresh", force=True)
    other.replay(URLHAUS, DAYS)
    assert_known(other, expected)
    manifest = saved(lake, backup)
    assert read_manifest(backup) == manifest
    next((base / "ops" / "fetches").rglob("source=*/*.parquet")).unlink()
    with pytest.raises(StorageError, match="cannot be made again"):
        saved(lake, tmp_path / "third")


@pytest.mark.parametrize("what", ["backup_format", "lake_format"])
def test_a_backup_of_a_newer_version_is_refused(
    make_lake: MakeLake, feed: Feed, tmp_path: Path, what: str
) -> None:
    lake, backup = make_lake(clock=lambda: feed.dumps[-1][1]), tmp_path / "backup"
    feed.take(lake)
    saved(lake, backup)
    told = json.loads((backup / MANIFEST).read_text())
    (backup / MANIFEST).write_text(json.dumps(told | {what: 99}))
    with pytest.raises(LakeTooNew):
        brought_back(lake, backup, force=True)
    with pytest.raises(LakeTooNew):
        saved(lake, backup)


def test_places_that_are_none_are_refused(make_lake: MakeLake, feed: Feed, tmp_path: Path) -> None:
    lake = make_lake(clock=lambda: feed.dumps[-1][1])
    feed.take(lake)
    base = Path(lake.engine.settings.layout.base)
    with pytest.raises(UsageError, match="lies in the lake"):
        saved(lake, base / "backup")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").touch()
    with pytest.raises(UsageError, match="holds something else"):
        saved(lake, tmp_path / "photos")
    with pytest.raises(UsageError, match="is no folder"):
        saved(lake, tmp_path / "photos" / "one.jpg")
    with pytest.raises(UsageError, match="no lake"):
        back_up(Layout(str(tmp_path / "none")), tmp_path / "backup", {}, later)
    assert not (tmp_path / "backup").exists()


@pytest.mark.slow
def test_a_body_that_left_landing_leaves_the_backup(
    make_lake: MakeLake, feed: Feed, tmp_path: Path
) -> None:
    now = NOON
    lake, backup = make_lake(clock=lambda: now), tmp_path / "backup"
    spec = replace(URLHAUS, landing_days=1)
    feed.take(lake)
    feed.take(lake, changed=False)
    saved(lake, backup)
    held = bodies(backup)
    for _ in range(4):
        now += timedelta(days=2)
        purge(lake.engine.lake, spec)
        saved(lake, backup)
    assert len(held) == 2
    assert len(bodies(backup)) == 1
    expected = known(lake, NOON)
    destroy(lake)
    brought_back(lake, backup)
    lake.replay(URLHAUS, DAYS)
    assert_known(lake, expected)


def test_a_database_is_copied_as_of_one_moment_while_it_is_written(tmp_path: Path) -> None:
    source = tmp_path / "runs.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE pairs (one INTEGER, other INTEGER)")
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(source)) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                connection.execute("INSERT INTO pairs VALUES (?, ?)", (number, -number))
                connection.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            time.sleep(0.05)
            copy = tmp_path / f"copy-{number}.db"
            copies.copy_database(source, copy)
            with closing(sqlite3.connect(copy)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                total, rows = connection.execute(
                    "SELECT sum(one + other), count(*) FROM pairs"
                ).fetchone()
                assert (total, rows > 0) == (0, True)
                assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    finally:
        stop.set()
        writer.join()
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.slow
def test_a_lake_at_a_uri_goes_into_a_backup_and_comes_back_elsewhere(
    make_lake: MakeLake, feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    try:
        port = server.get_host_and_port()[1]
        options = {
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "conditional_put": "etag",
        }
        import httpx

        assert httpx.put(f"http://127.0.0.1:{port}/bucket").status_code == 200
        given = {"storage_options": options, "clock": lambda: feed.dumps[-1][1]}
        lake = make_lake(lake="s3://bucket/one", **given)
        for _ in range(2):
            feed.take(lake)
        expected = known(lake, NOON)
        saved(lake, tmp_path / "backup")
        assert saved(lake, tmp_path / "backup").copied == 0
        with pytest.raises(ConfigurationError, match="nothing is moved aside"):
            brought_back(lake, tmp_path / "backup", force=True)
        other = Layout("s3://bucket/other", None, options)
        restore(tmp_path / "backup", other, {}, later())
        back = make_lake(lake="s3://bucket/other", **given)
        assert_known(back, expected)
        feed.take(back)
    finally:
        server.stop()


# -- the commands ---------------------------------------------------------------------------------


@pytest.fixture
def command(
    tmp_path: Path, played: Simulator, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Run a command on a lake in a folder of its own; the exit code is part of what it says."""
    app = typer.Typer()
    for name, function in keep.COMMANDS.items():
        app.command(name)(function)
    root = Path(__file__).resolve().parents[2]
    for name, value in {
        "INTEL_LAKE": str(tmp_path / "lake"),
        "INTEL_STATE": str(tmp_path / "state"),
        "INTEL_SIMULATOR": played.url,
        "DAGSTER_HOME": str(root),
        "INTEL_DAGSTER_STORAGE": str(tmp_path / "dagster"),
    }.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str | Path) -> str:
        done = CliRunner().invoke(app, [str(one) for one in arguments])
        return f"{done.exit_code}: {done.output}{done.exception or ''}"

    return run


@pytest.mark.slow
def test_the_commands_save_and_bring_back_the_lake_dagster_and_the_limits_of_hosts(
    command: Callable[..., str], make_lake: MakeLake, feed: Feed, tmp_path: Path
) -> None:
    from intel_assets.orchestration.instance import open_instance
    from intel_assets.settings import load_settings

    lake = make_lake(clock=lambda: feed.dumps[-1][1])
    feed.take(lake)
    with closing(sqlite3.connect(tmp_path / "state" / "hosts.sqlite")) as hosts:
        hosts.execute("CREATE TABLE limits (host TEXT)")
    with open_instance(load_settings()) as instance:
        instance.run_storage.set_cursor_values({"mark": "here"})
    assert "1 bodies" in (said := command("backup", tmp_path / "backup"))
    assert said.startswith("0: ")
    assert "0 files were new" in command("backup", tmp_path / "backup")
    assert "is there already" in command("restore", tmp_path / "backup")
    for gone in ("lake", "dagster"):
        shutil.rmtree(tmp_path / gone)
    (tmp_path / "state" / "hosts.sqlite").unlink()
    said = command("restore", tmp_path / "backup")
    assert said.startswith("0: ")
    assert "is restored as of" in said
    assert lake.table("raw.urlhaus").height > 0
    assert (tmp_path / "lake" / "intel.duckdb").exists()
    with closing(sqlite3.connect(tmp_path / "state" / "hosts.sqlite")) as hosts:
        assert hosts.execute("SELECT count(*) FROM limits").fetchone() == (0,)
    with open_instance(load_settings()) as instance:
        assert instance.run_storage.get_cursor_values({"mark"}) == {"mark": "here"}
    told = json.loads(command("backup", tmp_path / "backup", "--json").partition(": ")[2])
    assert (told["bodies"], told["beside"]["state"]) == (1, 1)
    said = command("restore", tmp_path / "backup", "--force")
    assert said.count("What was there before is in") == 3


def test_nothing_is_restored_under_a_run_or_an_upkeep(
    command: Callable[..., str], make_lake: MakeLake, feed: Feed, tmp_path: Path
) -> None:
    from intel_assets.orchestration.liveness import alive
    from intel_assets.settings import load_settings

    feed.take(make_lake(clock=lambda: feed.dumps[-1][1]))
    command("backup", tmp_path / "backup")
    with alive(load_settings(), "abcdefgh-1"):
        assert "The run abcdefgh is under way" in command("restore", tmp_path / "backup", "--force")
    with alone(tmp_path / "state"):
        assert "is under way" in command("restore", tmp_path / "backup", "--force")
        assert "is under way" in command("upkeep")


def test_upkeep_says_what_it_did(
    command: Callable[..., str], make_lake: MakeLake, feed: Feed
) -> None:
    lake = make_lake(clock=lambda: feed.dumps[-1][1])
    for _ in range(3):
        feed.take(lake)
    told = json.loads(command("upkeep", "--json").partition(": ")[2])
    counts = {(row["part"], row["what"]): row["count"] for row in told}
    assert counts["tables", "merged"] > 4
    assert counts["tables", "before"] > counts["tables", "after"]
    assert counts["landing", "gone"] == 0
    assert counts["history", "runs"] == 0
