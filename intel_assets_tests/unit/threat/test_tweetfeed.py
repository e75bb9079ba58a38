"""TweetFeed's files, read as they are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from intel_assets.errors import ParseError
from intel_assets.sources.cleaning import clean
from intel_assets.threat import tweetfeed
from intel_assets.threat.tweetfeed import SPEC
from intel_assets_tests.unit.sources.fetches import DAY, NOON, document

POST = "https://twitter.com/somebody/status/1"
LINE = f"2026-06-10 10:00:00,somebody,url,http://evil.com/a,#elf #mirai,{POST}\n"
ROW = ("2026-06-10 10:00:00", "somebody", "url", "http://evil.com/a", "#elf #mirai", POST, DAY)


def parse(folder: Path, data: bytes) -> list[tuple[object, ...]]:
    return tweetfeed.parse(document(folder / "body", data)).collect().rows()


def test_a_line_is_read_and_its_day_is_that_of_the_file(tmp_path: Path) -> None:
    late = LINE.replace("2026-06-10", "2026-06-09")
    assert parse(tmp_path, (LINE + late).encode()) == [ROW, ("2026-06-09 10:00:00", *ROW[1:])]


@pytest.mark.parametrize("end", ["\n", "\r\n", ""], ids=["LF", "CRLF", "none"])
def test_line_ends_do_not_matter(end: str, tmp_path: Path) -> None:
    body = LINE.strip() + (end or "\n") + LINE.strip() + end
    assert parse(tmp_path, body.encode()) == [ROW, ROW]


def test_a_byte_order_mark_is_no_part_of_a_value(tmp_path: Path) -> None:
    assert parse(tmp_path, b"\xef\xbb\xbf" + LINE.encode()) == [ROW]


def test_a_file_without_bytes_is_an_empty_day(tmp_path: Path) -> None:
    found = tweetfeed.parse(document(tmp_path / "body", b"")).collect()
    assert found.is_empty()
    assert found.columns == ["time_utc", "user", "type", "value", "tags", "tweet", "day"]
    assert found.schema["day"] == pl.Date


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"http://e.com/a,b"', "http://e.com/a,b"),
        ('"http://e.com/a""b"', 'http://e.com/a"b'),
        ('"a\nb"', "a\nb"),
        ("http://e.com/#x", "http://e.com/#x"),
        ("'a'", "'a'"),
        ("hxxp://e[.]com", "hxxp://e[.]com"),
    ],
)
def test_values_stay_as_delivered(written: str, value: str, tmp_path: Path) -> None:
    body = LINE.replace("http://evil.com/a", written)
    assert [row[3] for row in parse(tmp_path, body.encode())] == [value]


def test_a_post_without_tags_has_none(tmp_path: Path) -> None:
    assert parse(tmp_path, LINE.replace("#elf #mirai", "").encode())[0][4] is None


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>\n<p>", b"\n  <html>", b"<?xml?>"])
def test_a_page_is_no_list(page: bytes, tmp_path: Path) -> None:
    with pytest.raises(ParseError, match="line 1: this is a page and no list"):
        parse(tmp_path, page)


def test_a_document_without_a_body_is_no_list(tmp_path: Path) -> None:
    without = document(tmp_path / "b", b"")
    with pytest.raises(ValueError, match="without a body"):
        tweetfeed.parse(type(without)(without.fetch))


def raw(**given: str | None) -> pl.DataFrame:
    names = ["time_utc", "user", "type", "value", "tags", "tweet"]
    values = dict(zip(names, ROW, strict=False)) | {"day": DAY, "known_from": NOON} | given
    frame = pl.DataFrame([values], schema_overrides=dict(SPEC.raw.schema))
    return SPEC.raw.conform(
        frame.with_columns(
            record_id=pl.lit("1"), record_digest=pl.lit("2"), body_sha256=pl.lit("3")
        )
    )


@pytest.mark.parametrize(
    ("kind", "value", "indicator", "is_a"),
    [
        ("url", "hxxp://Evil[.]com/A[.]b", "http://evil.com/A[.]b", "url"),
        ("domain", "Evil[.]COM", "evil.com", "domain"),
        ("ip", "1[.]2[.]3[.]4", "1.2.3.4", "ipv4"),
        ("ip", "2001:DB8:0::1", "2001:db8::1", "ipv6"),
        ("md5", "D" * 32, "d" * 32, "md5"),
        ("sha256", "e" * 64, "e" * 64, "sha256"),
        ("md5", "e" * 64, None, "md5"),
        ("sha256", "g" * 64, None, "sha256"),
        ("ip", "1.2.3.4:80", None, "ipv6"),
        ("sha1", "e" * 40, None, None),
    ],
)
def test_an_indicator_is_canonical_by_its_type(
    kind: str, value: str, indicator: str | None, is_a: str | None
) -> None:
    found = SPEC.clean(raw(type=kind, value=value).lazy()).collect().row(0, named=True)
    assert (found["indicator"], found["indicator_type"]) == (indicator, is_a)
    assert found["raw_value"] == value


def test_a_record_is_typed() -> None:
    found = SPEC.clean(raw().lazy()).collect().row(0, named=True)
    assert found["first_seen"] == datetime(2026, 6, 10, 10, tzinfo=UTC)
    assert found["tags"] == ["elf", "mirai"]
    assert found["reference"] == POST
    assert SPEC.clean(raw(tags=" ").lazy()).collect()["tags"].to_list() == [None]
    assert SPEC.clean(raw(time_utc="10.6.2026").lazy()).collect()["first_seen"].to_list() == [None]


def test_quarantine_does_not_say_who_posted() -> None:
    found = clean(SPEC, raw(user=None, tweet="http://cut", value="no url"), "run").quarantine
    shown = dict(found.select("column", "value").iter_rows())
    assert shown == {"user": "(personal)", "reference": "(personal)", "indicator": "no url"}
