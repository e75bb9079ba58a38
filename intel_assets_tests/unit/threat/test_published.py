"""What is published: files at stable paths, each replaced whole, and only by one to be believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from intel_assets.threat.export import published
from intel_assets.threat.export.published import PUBLICATIONS, Published, manifest, publish
from intel_assets.threat.export.selection import Selection, Wanted

MOMENT = datetime(2026, 6, 10, 12, tzinfo=UTC)
EVERY = [one.name for one in PUBLICATIONS]


def selection(count: int, kind: str = "ipv4", moment: datetime = MOMENT) -> Selection:
    """Return a selection of so many addresses, with the columns that the forms ask for."""
    row: dict[str, Any] = {
        "indicator": "198.18.0.1",
        "indicator_type": kind,
        "first_seen": moment,
        "last_seen": moment,
        "confidence": 80.0,
        "evidence": 80.0,
        "decay": 1.0,
        "sources": ["urlhaus"],
        "source_confidences": [80.0],
        "threats": ["malware"],
        "malware": ["agent"],
        "tags": ["x"],
        "techniques": ["T1566"],
        "tlp": "clear",
        "tau_days": 30.0,
        "delta": 0.3,
        "threshold": 20.0,
    }
    rows = [row | {"indicator": f"198.18.{n // 250}.{n % 250}"} for n in range(count)]
    frame = pl.DataFrame(rows, schema=pl.DataFrame([row]).schema)
    return Selection(moment, Wanted(), frame, {}, {"urlhaus": "CC0"}, {})


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Selection]:
    """What is chosen, whatever is asked for; set `given["now"]`."""
    chosen: dict[str, Selection] = {}
    monkeypatch.setattr(published, "select", lambda connection, wanted: chosen["now"])
    return chosen


def done(folder: Path) -> dict[str, Published]:
    return {one.name: one for one in publish(None, folder, Wanted())}  # type: ignore[arg-type]


def text(folder: Path) -> str:
    return (folder / "block-addresses.txt").read_text()


def test_every_file_stands_at_its_path_and_the_manifest_names_it(
    given: dict[str, Selection], tmp_path: Path
) -> None:
    given["now"] = selection(30)
    assert list(done(tmp_path)) == EVERY
    told = manifest(tmp_path)
    assert list(told) == sorted(EVERY)
    for one in PUBLICATIONS:
        assert (tmp_path / one.file).exists()
        assert (told[one.name]["path"], told[one.name]["indicators"]) == (one.file, 30)
    assert json.loads((tmp_path / "indicators.stix.json").read_text())["type"] == "bundle"
    assert not list(tmp_path.rglob("*.new"))


def test_a_list_that_lost_half_stays_as_it_was_until_a_person_removes_it(
    given: dict[str, Selection], tmp_path: Path
) -> None:
    given["now"] = selection(100)
    done(tmp_path)
    before = text(tmp_path)
    given["now"] = selection(49)
    for _ in range(2):
        found = done(tmp_path)
        assert all("49 indicators where it held 100" in one.refused for one in found.values())
        assert text(tmp_path) == before
    assert manifest(tmp_path)["block_addresses"]["indicators"] == 100
    (tmp_path / "block-addresses.txt").unlink()
    assert not done(tmp_path)["block_addresses"].refused
    assert "49 indicators" in text(tmp_path)


@pytest.mark.parametrize(("held", "holds"), [(100, 50), (100, 1000), (19, 0), (0, 5)])
def test_a_list_that_lost_less_or_never_held_much_is_replaced(
    held: int, holds: int, given: dict[str, Selection], tmp_path: Path
) -> None:
    for count in (held, holds):
        given["now"] = selection(count)
        assert not any(one.refused for one in done(tmp_path).values())
    assert f"of {holds} indicators" in text(tmp_path)


def test_the_version_follows_what_leaves_and_not_when(
    given: dict[str, Selection], tmp_path: Path
) -> None:
    versions = []
    later = datetime(2026, 6, 11, tzinfo=UTC)
    for count, moment in ((30, MOMENT), (30, later), (31, later)):
        given["now"] = selection(count, moment=moment)
        versions.append(done(tmp_path)["block_addresses"].version)
    assert versions[0] == versions[1] != versions[2]


def test_a_file_that_cannot_be_written_is_the_old_one_and_whole(
    given: dict[str, Selection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given["now"] = selection(30)
    done(tmp_path)
    before = text(tmp_path)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    given["now"] = selection(40)
    with pytest.raises(OSError, match="full"):
        done(tmp_path)
    assert text(tmp_path) == before
    assert not list(tmp_path.rglob("*.new"))


@pytest.mark.parametrize("garbled", ["", "{", "[]", "null"])
def test_a_garbled_manifest_is_written_anew(
    garbled: str, given: dict[str, Selection], tmp_path: Path
) -> None:
    given["now"] = selection(30)
    done(tmp_path)
    (tmp_path / "manifest.json").write_text(garbled)
    given["now"] = selection(10)
    assert not any(one.refused for one in done(tmp_path).values())
    assert manifest(tmp_path)["block_addresses"]["indicators"] == 10
