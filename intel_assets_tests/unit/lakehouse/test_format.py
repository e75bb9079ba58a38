"""What the lake's format version promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from intel_assets.errors import LakeTooNew, LakeTooOld, StorageError
from intel_assets.lakehouse.format import (
    FORMAT,
    STEPS,
    check_format,
    read_format,
    upgrade,
)
from intel_assets.lakehouse.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "lake"))


def mark(layout: Layout, text: str) -> None:
    Path(layout.base).mkdir(parents=True, exist_ok=True)
    (Path(layout.base) / "lake.json").write_text(text)


def make_old(layout: Layout) -> None:
    (Path(layout.base) / "raw" / "urlhaus").mkdir(parents=True)
    (Path(layout.base) / "raw" / "urlhaus" / "file").write_text("x")


def test_a_lake_that_is_not_there_has_no_format_and_needs_no_upgrade(layout: Layout) -> None:
    assert read_format(layout) is None
    check_format(layout)
    assert read_format(layout) is None


def test_a_new_lake_is_marked_with_this_version_s_format(layout: Layout) -> None:
    check_format(layout, create=True)
    assert read_format(layout) == FORMAT
    assert (Path(layout.base) / "lake.json").read_text() == f'{{"format": {FORMAT}}}\n'
    check_format(layout)
    check_format(layout, create=True)


def test_a_folder_with_other_things_is_no_old_lake(layout: Layout) -> None:
    (Path(layout.base) / "photos").mkdir(parents=True)
    (Path(layout.base) / "photos" / "a").write_text("x")
    assert read_format(layout) is None


def test_tables_without_a_marker_are_an_older_lake(layout: Layout) -> None:
    make_old(layout)
    assert read_format(layout) == 0
    for create in (False, True):
        with pytest.raises(LakeTooOld, match="Run `intel upgrade`"):
            check_format(layout, create=create)
    assert upgrade(layout) == [0, FORMAT]
    check_format(layout)
    assert (Path(layout.base) / "raw" / "urlhaus" / "file").read_text() == "x"


def test_a_newer_lake_is_refused_and_left_alone(layout: Layout) -> None:
    mark(layout, f'{{"format": {FORMAT + 1}}}')
    for refuse in (check_format, upgrade):
        with pytest.raises(LakeTooNew, match=f"is of format {FORMAT + 1}; this version reads"):
            refuse(layout)
    assert read_format(layout) == FORMAT + 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "new"}', '{"format": null}'])
def test_a_damaged_marker_is_told_with_what_it_should_read(layout: Layout, text: str) -> None:
    mark(layout, text)
    with pytest.raises(StorageError, match=r'damaged. It should read {"format": 1}'):
        read_format(layout)


def test_an_upgrade_of_nothing_makes_a_marked_lake(layout: Layout) -> None:
    assert upgrade(layout) == [FORMAT]
    assert read_format(layout) == FORMAT


def test_an_upgrade_of_a_lake_of_this_format_does_nothing(layout: Layout) -> None:
    check_format(layout, create=True)
    assert upgrade(layout, {}) == [FORMAT]


def test_an_upgrade_goes_step_by_step_and_can_be_repeated(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intel_assets.lakehouse.format.FORMAT", 3)
    mark(layout, '{"format": 0}')
    done: list[int] = []

    def fail(_: Layout) -> None:
        raise StorageError("no")

    steps = {n: lambda _, n=n: done.append(n) for n in range(3)}
    with pytest.raises(StorageError):
        upgrade(layout, steps | {1: fail})
    assert (done, read_format(layout)) == ([0], 1)
    assert upgrade(layout, steps) == [1, 2, 3]
    assert (done, read_format(layout)) == ([0, 1, 2], 3)


def test_there_is_a_step_from_every_older_format() -> None:
    assert sorted(STEPS) == list(range(FORMAT))


def test_a_tenant_has_a_format_of_its_own(layout: Layout) -> None:
    check_format(layout, create=True)
    assert read_format(Layout(layout.root, tenant="acme")) is None
