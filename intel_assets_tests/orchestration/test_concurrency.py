"""Concurrency: several processes on one lake. No update is lost, none is doubled."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.lakehouse.catalog import Catalog
from intel_assets.settings import Settings
from intel_assets.simulator.server import Simulator
from intel_assets_tests.orchestration.conftest import published_days

ROOT = Path(__file__).resolve().parents[2]
Job = tuple[str, date, date]
TABLES = {
    "raw.tweetfeed": ["day", "record_id", "record_digest", "body_sha256"],
    "cleaned.tweetfeed": ["day", "record_id", "indicator", "indicator_type", "first_seen"],
    "aggregated.tweetfeed_daily": ["*"],
    "raw.urlhaus": ["day", "record_id", "record_digest", "body_sha256"],
    "cleaned.urlhaus": ["day", "record_id", "indicator", "url_status", "first_seen"],
    "aggregated.urlhaus_daily": ["*"],
    "quarantine.urlhaus": ["day", "record_id", "record_digest", "rule", '"column"', "value"],
}

WORKER = """
import json, sys
from datetime import date
from uuid import uuid4
from intel_assets.engine import open_engine
from intel_assets.ingest.documents import Window
from intel_assets.settings import Settings
from intel_assets_tests.orchestration.conftest import source

given = json.loads(sys.argv[1])
settings = Settings(**given["settings"])
print("ready", flush=True)
sys.stdin.readline()
with open_engine(settings) as engine:
    for name, first, last in given["jobs"]:
        spec = source(name)
        days = Window(date.fromisoformat(first), date.fromisoformat(last)).days
        with engine.upstream(spec) as upstream:
            for result in engine.pipeline(spec, str(uuid4())).materialize(days, upstream):
                if result.requested:
                    print(name, result.day, result.state, result.message or "", flush=True)
"""


def _fill(folder: Path, simulator: Simulator, workers: Sequence[Sequence[Job]]) -> list[str]:
    """Let each worker do its jobs in a process of its own, all at once; return what they said."""
    settings = {
        "lake": str(folder / "lake"),
        "state": str(folder / "state"),
        "simulator": simulator.url,
    }
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                WORKER,
                json.dumps({"settings": settings, "jobs": jobs}, default=str),
            ],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for jobs in workers
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = []
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        said += out.splitlines()
    return said


def _tables(folder: Path) -> dict[str, pl.DataFrame]:
    layout = Settings(lake=str(folder / "lake")).layout
    with Catalog(layout).connect() as connection:
        return {
            name: connection.sql(f"SELECT {', '.join(columns)} FROM {name} ORDER BY ALL").pl()
            for name, columns in TABLES.items()
        }


def _assert_sound(folder: Path) -> None:
    """Every body is accounted for, and every record stands exactly where it should."""
    layout = Settings(lake=str(folder / "lake")).layout
    with Catalog(layout).connect(history=True) as connection:

        def rows(query: str) -> list[tuple[object, ...]]:
            return connection.execute(query).fetchall()

        for name in ("tweetfeed", "urlhaus"):
            doubled = f"""SELECT day, record_id, record_digest FROM raw.{name}
                          WHERE known_to IS NULL GROUP BY ALL HAVING count(*) > 1"""
            assert rows(doubled) == []
    with Catalog(layout).connect() as connection:
        wrong = connection.execute("""
            SELECT fetch_id, folded_at, parsed, added, changed, unchanged, duplicates
            FROM ops.fetches
            WHERE outcome = 'fetched' AND (folded_at IS NULL
                OR parsed IS DISTINCT FROM added + changed + unchanged + duplicates)
            """).fetchall()
        assert wrong == []
        there = {str(table) for table in Catalog(layout).tables()}
        for name in ("tweetfeed", "urlhaus"):
            told = f"SELECT sum(added) FROM ops.fetches WHERE source = '{name}'"
            held = f"SELECT count(*) FROM raw.{name}"
            assert connection.execute(told).fetchone() == connection.execute(held).fetchone()
            rejected = f"SELECT record_digest FROM quarantine.{name}"
            if f"quarantine.{name}" not in there:
                rejected = "SELECT NULL WHERE false"
            found = connection.execute(f"""
                SELECT
                    (SELECT count(*) FROM (
                        SELECT record_digest FROM raw.{name} EXCEPT
                        (SELECT record_digest FROM cleaned.{name} UNION ({rejected})))),
                    (SELECT count(*) FROM (
                        (SELECT record_digest FROM cleaned.{name} UNION ({rejected})) EXCEPT
                        SELECT record_digest FROM raw.{name})),
                    (SELECT count(*) FROM (
                        SELECT record_digest FROM cleaned.{name} INTERSECT ({rejected})))
                """).fetchone()
            assert found == (0, 0, 0), name


def _assert_same(left: Path, right: Path) -> None:
    one, other = _tables(left), _tables(right)
    for name, frame in one.items():
        assert frame.height > 0, name
        assert frame.equals(other[name]), name


@pytest.fixture(scope="module")
def month() -> list[date]:
    return published_days(27)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, running: Simulator, month: list[date]) -> Path:
    """A lake that one process filled."""
    from intel_assets_tests.orchestration.conftest import TODAY

    running.faults.clear()
    running.clock.set(TODAY)
    folder = tmp_path_factory.mktemp("alone")
    dump = ("urlhaus", date(2025, 5, 12), date(2025, 6, 10))
    _fill(folder, running, [[("tweetfeed", month[0], month[-1]), dump]])
    _assert_sound(folder)
    return folder


@pytest.mark.slow
def test_processes_on_disjoint_days_lose_and_double_nothing(
    tmp_path: Path, simulator: Simulator, alone: Path, month: list[date]
):
    dump = [date(2025, 5, 12) + timedelta(days=i) for i in range(30)]
    said = _fill(
        tmp_path,
        simulator,
        [
            [("tweetfeed", month[0], month[22])],  # More than 20 days in one commit.
            [("tweetfeed", month[23], month[24]), ("urlhaus", dump[0], dump[21])],
            [("urlhaus", dump[22], dump[29]), ("tweetfeed", month[25], month[26])],
        ],
    )
    assert len(said) == 27 + 30
    assert {line.split()[2] for line in said} <= {"complete", "empty"}
    _assert_sound(tmp_path)
    _assert_same(tmp_path, alone)


@pytest.mark.slow
def test_processes_on_the_same_days_lose_and_double_nothing(
    tmp_path: Path, simulator: Simulator, alone: Path, month: list[date]
):
    dump = ("urlhaus", date(2025, 5, 12), date(2025, 6, 10))
    all_days = ("tweetfeed", month[0], month[-1])
    said = _fill(
        tmp_path,
        simulator,
        [[all_days, dump], [dump, all_days], [("tweetfeed", month[3], month[25]), dump]],
    )
    assert {line.split()[2] for line in said} <= {"complete", "empty"}
    _assert_sound(tmp_path)
    _assert_same(tmp_path, alone)


@pytest.mark.slow
def test_a_process_that_sees_an_older_world_cannot_undo_what_a_newer_one_wrote(
    tmp_path: Path, simulator: Simulator, month: list[date]
):
    """Two runs of the same day, again and again at once, while the file grows between them."""
    from intel_assets_tests.orchestration.conftest import TODAY

    day = TODAY.date() - timedelta(days=1)
    for hours in (1, 4, 9):
        simulator.clock.set(TODAY + timedelta(hours=hours))
        jobs: list[Job] = [("tweetfeed", day, day)]
        said = _fill(tmp_path, simulator, [jobs, jobs])
        assert len(said) == 2
    layout = Settings(lake=str(tmp_path / "lake")).layout
    with Catalog(layout).connect() as connection:
        held = connection.execute("SELECT count(*) FROM raw.tweetfeed").fetchone()
        last = connection.execute(
            "SELECT parsed - duplicates FROM ops.fetches WHERE parsed IS NOT NULL "
            "ORDER BY received_at DESC LIMIT 1"
        ).fetchone()
        cleaned = connection.execute("SELECT count(*) FROM cleaned.tweetfeed").fetchone()
    assert held == last == cleaned
