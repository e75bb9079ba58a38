"""What the landing promises."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import random
import signal
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
import zstandard
from obstore.exceptions import GenericError, PermissionDeniedError

from intel_assets.errors import DiskFull, LakeReadOnly, StorageError, UsageError
from intel_assets.lakehouse.landing import CHUNK, Body, Landing
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.storage import storage_errors

spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    """An empty landing."""
    with Landing(Layout(str(tmp_path / "lake")), spool=tmp_path / "spool") as opened:
        yield opened


def put(landing: Landing, data: bytes) -> Body:
    """Store bytes, in chunks."""
    with landing.writer() as writer:
        for at in range(0, len(data), CHUNK):
            writer.write(data[at : at + CHUNK])
        return writer.commit()


def objects(landing: Landing) -> list[Path]:
    """Return everything that stands below the landing."""
    return sorted(path for path in Path(landing.uri).rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, CHUNK, 3 * CHUNK + 7, 40 * CHUNK])
def test_a_body_comes_out_as_it_went_in(landing: Landing, size: int) -> None:
    data = random.Random(size).randbytes(size)
    body = put(landing, data)
    assert body.sha256 == hashlib.sha256(data).hexdigest()
    assert (body.size, body.known) == (size, False)
    assert body.path.read_bytes() == data
    assert landing.exists(body.sha256)
    with landing.open(body.sha256) as path:
        assert path.read_bytes() == data
    assert not path.exists()


def test_a_body_stands_compressed_under_its_digest(landing: Landing) -> None:
    body = put(landing, b"a line\n" * 100_000)
    (path,) = objects(landing)
    assert path.relative_to(landing.uri) == Path(body.sha256[:2]) / f"{body.sha256}.zst"
    assert path.stat().st_size < 2_000
    plain = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    assert plain == b"a line\n" * 100_000


def test_a_known_body_is_not_written_again(landing: Landing) -> None:
    first = put(landing, b"body")
    (path,) = objects(landing)
    before = path.stat()
    second = put(landing, b"body")
    assert (first.known, second.known) == (False, True)
    after = path.stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    assert first.path != second.path


def test_an_object_that_a_power_cut_emptied_is_written_again(landing: Landing) -> None:
    put(landing, b"body")
    (path,) = objects(landing)
    path.write_bytes(b"")
    body = put(landing, b"body")
    assert not body.known
    with landing.open(body.sha256) as plain:
        assert plain.read_bytes() == b"body"


def test_a_file_is_stored(landing: Landing, tmp_path: Path) -> None:
    (tmp_path / "dump.csv").write_bytes(b"x" * (2 * CHUNK + 1))
    body = landing.put_file(tmp_path / "dump.csv")
    assert body.size == 2 * CHUNK + 1
    assert body.path != tmp_path / "dump.csv"


def test_what_is_not_committed_leaves_nothing(landing: Landing) -> None:
    with landing.writer() as writer:
        writer.write(b"half")
    other = landing.writer()
    other.write(b"half")
    other.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert list(landing.spool.iterdir()) == []
    assert objects(landing) == []


def test_a_discarded_body_frees_its_file_and_stays_stored(landing: Landing) -> None:
    body = put(landing, b"body")
    landing.discard(body)
    landing.discard(body)
    assert list(landing.spool.iterdir()) == []
    assert landing.exists(body.sha256)


def test_a_landing_removes_the_spool_it_made(tmp_path: Path) -> None:
    with Landing(Layout(str(tmp_path))) as landing:
        body = put(landing, b"body")
        assert body.path.exists()
    assert not landing.spool.exists()


def test_a_body_that_is_not_there_is_named(landing: Landing) -> None:
    digest = "ab" * 32
    assert not landing.exists(digest)
    with pytest.raises(StorageError, match=f"does not hold the body {digest}"):
        landing.open(digest).__enter__()
    assert list(landing.spool.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "swapped", "garbage", "empty", "longer"])
def test_a_damaged_body_is_never_handed_out(landing: Landing, damage: str) -> None:
    body = put(landing, random.Random(1).randbytes(3 * CHUNK))
    (path,) = objects(landing)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "cut": whole[:-10],
            "swapped": zstandard.compress(b"another body"),
            "garbage": b"garbage",
            "empty": b"",
            "longer": whole + b"and more",
        }[damage]
    )
    if damage == "longer":
        # The frame is whole: what follows it is no part of the body.
        with landing.open(body.sha256) as plain:
            assert plain.stat().st_size == body.size
        return
    landing.discard(body)
    with pytest.raises(StorageError, match=f"{body.sha256} .* is damaged"):
        landing.open(body.sha256).__enter__()
    assert list(landing.spool.iterdir()) == []


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "AB" * 32, "a" * 63])
def test_only_digests_are_keys(landing: Landing, digest: str) -> None:
    with pytest.raises(StorageError, match="no SHA-256"):
        landing.exists(digest)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_body(landing: Landing) -> None:
    chunk = random.Random(2).randbytes(CHUNK)
    tracemalloc.start()
    with landing.writer() as writer:
        for _ in range(100):
            writer.write(chunk)
        body = writer.commit()
    with landing.open(body.sha256):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * CHUNK


def _write_until_killed(root: str, seed: int) -> None:
    with Landing(Layout(root), spool=Path(root) / "spool") as landing:
        numbers = random.Random(seed)
        while True:
            put(landing, numbers.randbytes(numbers.choice([10, 10_000, 20 * CHUNK])))


def test_a_killed_writer_leaves_no_half_body(tmp_path: Path) -> None:
    for seed in range(4):
        process = spawn.Process(target=_write_until_killed, args=(str(tmp_path), seed))
        process.start()
        began = time.monotonic()
        while not (tmp_path / "landing").exists() and time.monotonic() - began < 20:
            time.sleep(0.01)
        time.sleep(0.05 + seed * 0.03)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    with Landing(Layout(str(tmp_path))) as landing:
        digests = [path.stem for path in objects(landing) if path.suffix == ".zst"]
        assert digests
        for digest in digests:
            with landing.open(digest):
                pass


def _write_same(root: str, moment: float) -> None:
    with Landing(Layout(root)) as landing:
        time.sleep(max(0.0, moment - time.time()))
        for number in range(20):
            put(landing, b"%d" % number * 1000)


def test_writers_of_the_same_body_agree(tmp_path: Path) -> None:
    moment = time.time() + 1.5
    writers = [spawn.Process(target=_write_same, args=(str(tmp_path), moment)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    with Landing(Layout(str(tmp_path))) as landing:
        assert len(objects(landing)) == 20


def test_a_tenants_bodies_stand_below_its_root(tmp_path: Path) -> None:
    with Landing(Layout(str(tmp_path), tenant="acme")) as landing:
        put(landing, b"body")
    assert list((tmp_path / "tenants" / "acme" / "landing").rglob("*.zst"))
    with Landing(Layout(str(tmp_path))) as own:
        assert not own.exists(hashlib.sha256(b"body").hexdigest())


@pytest.mark.parametrize("size", [10, 20 * CHUNK])
def test_a_full_disk_is_told_and_leaves_nothing(
    landing: Landing, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise GenericError("LocalFileSystem error: ... No space left on device (os error 28)")

    monkeypatch.setattr(obstore, "put", full)
    with pytest.raises(DiskFull, match="lake/landing"):
        put(landing, os.urandom(size))
    assert list(landing.spool.iterdir()) == []


def test_a_full_spool_is_told(landing: Landing) -> None:
    writer = landing.writer()
    writer._plain.close()
    writer._plain = Path("/dev/full").open("wb")  # noqa: SIM115
    with pytest.raises(DiskFull, match="spool"):
        writer.write(bytes(CHUNK))
    writer.discard()
    assert list(landing.spool.iterdir()) == []


def test_a_lake_that_cannot_be_written_is_told() -> None:
    with Landing(Layout("/proc/lake")) as landing, pytest.raises(StorageError, match="/proc/lake"):
        put(landing, b"body")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "x"), DiskFull),
        (OSError(errno.EDQUOT, "x"), DiskFull),
        (OSError(errno.EROFS, "x"), LakeReadOnly),
        (PermissionError(errno.EACCES, "x"), LakeReadOnly),
        (GenericError("IO error: No space left on device (os error 28)"), DiskFull),
        (PermissionDeniedError("x: Permission denied (os error 13)"), LakeReadOnly),
        (RuntimeError("Read-only file system (os error 30)"), LakeReadOnly),
        (RuntimeError("<Code>AccessDenied</Code>"), LakeReadOnly),
        (RuntimeError("attempt to write a readonly database"), LakeReadOnly),
        (RuntimeError("database or disk is full"), DiskFull),
    ],
)
def test_storage_errors_name_the_place(error: Exception, kind: type[StorageError]) -> None:
    with (
        pytest.raises(kind, match="s3://bucket/lake") as caught,
        storage_errors("s3://bucket/lake"),
    ):
        raise error
    assert caught.value.do


@pytest.mark.parametrize("error", [ValueError("x"), FileNotFoundError(2, "x"), UsageError("full")])
def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, storage_errors("place"):
        raise error
    assert caught.value is error
