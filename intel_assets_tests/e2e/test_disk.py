"""Lakes that cannot be written: exit code 6, at most three lines, nothing lost, healed later."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from intel_assets.errors import DiskFull, LakeReadOnly, StorageError
from intel_assets.simulator.server import Simulator
from intel_assets.sources.spec import SourceSpec
from intel_assets_tests.e2e.chaos_child import ROOT, intel_command, intel_environment
from intel_assets_tests.e2e.chaos_world import (
    NOW,
    Place,
    assert_sound,
    assert_untouched,
    last_days,
    quick,
    standing,
)

DAYS = last_days(3)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Give a disk of its own below a folder; skip where this user may not mount one."""
    folder.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(volume=0.1, seed=3) as simulator:
        simulator.clock.set(NOW)
        yield simulator


@pytest.fixture
def place(tmp_path: Path, simulator: Simulator) -> Iterator[Place]:
    """A place whose lake is a disk of its own."""
    with _small_disk(tmp_path / "lake", "64m"):
        yield Place(tmp_path, simulator.url)


@pytest.mark.parametrize("name", ["tweetfeed", "urlhaus"])
def test_a_read_only_lake_is_refused_by_name_and_left_as_it_is(
    name: str, place: Place, simulator: Simulator
) -> None:
    spec, lake = quick(name), place.layout.root
    place.run(spec, DAYS)
    before = standing(place, spec)
    simulator.clock.set(NOW + timedelta(hours=3))
    _mount("-o", "remount,ro", lake)
    with pytest.raises(LakeReadOnly, match="is read-only") as caught:
        place.run(spec, DAYS)
    assert lake in str(caught.value)
    assert caught.value.exit_code == 6
    assert_untouched(before, standing(place, spec))
    _mount("-o", "remount,rw", lake)
    assert {result.state for result in place.run(spec, DAYS)} == {"complete"}
    assert_sound(place, spec)


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 16, 32, 64, 96])
def test_a_disk_that_fills_up_loses_nothing_at_whatever_write_it_happens(
    left: int, place: Place, simulator: Simulator
) -> None:
    spec, lake = quick("urlhaus"), Path(place.layout.root)
    place.run(spec, DAYS)
    simulator.clock.set(NOW + timedelta(hours=3))
    _fill(lake, left)
    full = _found_full(place, spec)
    assert full or left > 48, "there was no room for what this run writes"
    if full:
        assert str(lake) in str(full)
    (lake / "ballast").unlink()
    assert {result.state for result in place.run(spec, DAYS)} == {"complete"}
    assert_sound(place, spec)


def test_a_new_lake_on_a_full_disk_is_refused_by_name(place: Place) -> None:
    _fill(Path(place.layout.root), 0)
    with pytest.raises(DiskFull, match="No space is left for") as caught:
        place.run(quick("tweetfeed"), DAYS)
    assert caught.value.exit_code == 6


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 16, 64, 160])
def test_a_full_spool_is_no_fault_of_the_source(
    left: int, tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, spec = Place(tmp_path, simulator.url), quick("urlhaus")
    place.run(spec, DAYS)
    before = standing(place, spec)
    simulator.clock.set(NOW + timedelta(hours=3))
    with _small_disk(tmp_path / "spool", "1m") as spool:
        monkeypatch.setattr(tempfile, "tempdir", str(spool))
        _fill(spool, left)
        assert str(spool) in str(_found_full(place, spec))
        assert_untouched(before, standing(place, spec))
        monkeypatch.undo()
    assert {result.state for result in place.run(spec, DAYS)} == {"complete"}
    assert_sound(place, spec)


def test_a_ledger_of_hosts_that_cannot_be_written_says_so(
    tmp_path: Path, simulator: Simulator
) -> None:
    place = Place(tmp_path, simulator.url)
    with _small_disk(tmp_path / "state", "1m") as state:
        _mount("-o", "remount,ro", str(state))
        with pytest.raises(StorageError) as caught:
            place.run(quick("tweetfeed"), DAYS)
        assert str(state) in str(caught.value)


# -- through the command ---------------------------------------------------------------------------


def _intel(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        intel_command(*words),
        env=intel_environment(place),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_the_command_says_in_three_lines_that_a_lake_is_read_only(place: Place) -> None:
    lake = place.layout.root
    days = ("--from", f"{DAYS[0]}", "--to", f"{DAYS[-1]}")
    body = place.folder / "body.csv"
    body.write_bytes(b"")
    land = ("land", "tweetfeed", str(body), "--day", f"{DAYS[0]}")
    assert _intel(place, "run", "tweetfeed", *days).returncode == 0
    _mount("-o", "remount,ro", lake)
    for words in (("run", "tweetfeed", *days), land):
        _assert_refused(_intel(place, *words), lake)
    answer = _intel(place, "sql", "SELECT count(*) FROM raw.tweetfeed", "--format", "csv")
    assert answer.returncode == 0, "it can still be asked"
    _mount("-o", "remount,rw", lake)
    assert _intel(place, "run", "tweetfeed", *days).returncode == 0
    assert_sound(place, quick("tweetfeed"))


@pytest.mark.slow
def test_the_command_says_in_three_lines_that_a_disk_is_full(place: Place) -> None:
    lake = Path(place.layout.root)
    days = ("--from", f"{DAYS[0]}", "--to", f"{DAYS[-1]}")
    _fill(lake, 0)
    _assert_refused(_intel(place, "run", "urlhaus", *days), str(lake))
    (lake / "ballast").unlink()
    _fill(lake, 8)
    _assert_refused(_intel(place, "run", "urlhaus", *days), str(lake))
    (lake / "ballast").unlink()
    healed = _intel(place, "run", "urlhaus", *days)
    assert healed.returncode == 0, healed.stderr
    assert_sound(place, quick("urlhaus"))


def _assert_refused(done: subprocess.CompletedProcess[str], lake: str) -> None:
    assert done.returncode == 6, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("urlhaus ", "tweetfeed "))]
    assert len(told) <= 3, done.stderr
    assert "Traceback" not in done.stderr
    assert lake in done.stderr


def _found_full(place: Place, spec: SourceSpec) -> DiskFull | None:
    """Run, and return what was said of a full disk: by the run, or of the days that it failed."""
    try:
        results = place.run(spec, DAYS)
    except DiskFull as error:
        return error
    errors = [result.error for result in results if result.error is not None]
    assert all(isinstance(error, DiskFull) for error in errors)
    assert all(result.exit_code == 6 for result in results if result.error is not None)
    return next((error for error in errors if isinstance(error, DiskFull)), None)


def _fill(disk: Path, left: int) -> None:
    """Fill a disk but for so many KiB."""
    room = os.statvfs(disk)
    size = room.f_bavail * room.f_frsize - left * 1024
    with (disk / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, max(1, size))
