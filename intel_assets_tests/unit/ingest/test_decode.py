"""What unpacking promises."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intel_assets.errors import BodyTooLarge, ParseError
from intel_assets.ingest.decode import unpack

PLAIN = b"id,url\n" + b"".join(b"%d,http://host/%d\n" % (n, n * 7919) for n in range(20_000))


def zipped(*names: str, data: bytes = PLAIN, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip with the data under each name."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name in names:
            archive.writestr(name, b"" if name.endswith("/") else data)
    return target.getvalue()


def frame(data: bytes) -> bytes:
    """Return a zstandard frame."""
    return zstandard.ZstdCompressor().compress(data)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zip": lambda data: zipped("x.csv", data=data),
    "zip stored": lambda data: zipped("x.csv", data=data, method=zipfile.ZIP_STORED),
    "zstandard": frame,
}


@pytest.fixture
def body(tmp_path: Path) -> Callable[[bytes], Path]:
    """Write a body."""

    def write(data: bytes) -> Path:
        path = tmp_path / "body"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("packer", PACKERS)
def test_wrappers_are_known_by_their_bytes(
    body: Callable[[bytes], Path], tmp_path: Path, packer: str
) -> None:
    path = unpack(body(PACKERS[packer](PLAIN)), tmp_path / "out", max_bytes=len(PLAIN))
    assert path.parent == tmp_path / "out"
    assert path.read_bytes() == PLAIN


@pytest.mark.parametrize("data", [b"", b"P", b"id,url\n", b"PK is no zip", b"\x1f"])
def test_anything_else_is_returned_as_it_is(
    body: Callable[[bytes], Path], tmp_path: Path, data: bytes
) -> None:
    path = body(data)
    assert unpack(path, tmp_path / "out", max_bytes=1) == path


def test_several_members_and_frames_are_one_file(
    body: Callable[[bytes], Path], tmp_path: Path
) -> None:
    for packer in (gzip.compress, frame):
        packed = packer(PLAIN[:100]) + packer(PLAIN[100:])
        assert unpack(body(packed), tmp_path, max_bytes=1 << 20).read_bytes() == PLAIN


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_a_truncated_wrapper_is_told(
    body: Callable[[bytes], Path], tmp_path: Path, packer: str, kept: float
) -> None:
    packed = PACKERS[packer](PLAIN)
    with pytest.raises(ParseError, match="no sound"):
        unpack(body(packed[: int(len(packed) * kept)]), tmp_path / "out", max_bytes=1 << 30)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_ends_at_the_limit(
    body: Callable[[bytes], Path], tmp_path: Path, packer: str
) -> None:
    path = body(PACKERS[packer](bytes(300 << 20)))
    tracemalloc.start()
    with pytest.raises(BodyTooLarge, match="more than 1000000 bytes"):
        unpack(path, tmp_path / "out", max_bytes=1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80 << 20
    assert list((tmp_path / "out").iterdir()) == []


def test_a_zip_must_hold_one_file(body: Callable[[bytes], Path], tmp_path: Path) -> None:
    with pytest.raises(ParseError, match=r"2 files .*'a.csv', 'b.csv'"):
        unpack(body(zipped("a.csv", "b.csv")), tmp_path, max_bytes=1 << 30)
    with pytest.raises(ParseError, match="0 files .*none"):
        unpack(body(zipped()), tmp_path, max_bytes=1 << 30)
    with pytest.raises(ParseError, match="and 4 more"):
        unpack(body(zipped(*"abcdefghi")), tmp_path, max_bytes=1 << 30)
    path = unpack(body(zipped("folder/", "folder/a.csv")), tmp_path, max_bytes=1 << 30)
    assert path.read_bytes() == PLAIN


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "..\\evil", "C:\\evil", "x\0y"])
def test_a_name_in_a_zip_decides_nothing(
    body: Callable[[bytes], Path], tmp_path: Path, name: str
) -> None:
    path = unpack(body(zipped(name)), tmp_path / "deep" / "out", max_bytes=1 << 30)
    assert path.parent == tmp_path / "deep" / "out"
    written = {found for found in tmp_path.rglob("*") if found.is_file()}
    assert written == {path, tmp_path / "body"}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_could_not_be_bounded_is_told(
    body: Callable[[bytes], Path], tmp_path: Path, method: int
) -> None:
    with pytest.raises(ParseError, match="neither deflate nor none"):
        unpack(body(zipped("a.csv", method=method)), tmp_path, max_bytes=1 << 30)


def test_an_encrypted_zip_is_told(body: Callable[[bytes], Path], tmp_path: Path) -> None:
    packed = bytearray(zipped("a.csv"))
    packed[6] |= 1
    packed[packed.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ParseError, match="encrypted"):
        unpack(body(bytes(packed)), tmp_path, max_bytes=1 << 30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(sorted(PACKERS)), st.data())
def test_a_damaged_wrapper_gives_a_file_or_a_parse_error(
    body: Callable[[bytes], Path], tmp_path: Path, packer: str, data: st.DataObject
) -> None:
    packed = bytearray(PACKERS[packer](PLAIN[:2000]))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ParseError, BodyTooLarge):
        assert unpack(body(bytes(packed)), tmp_path / "out", max_bytes=1 << 20).exists()
