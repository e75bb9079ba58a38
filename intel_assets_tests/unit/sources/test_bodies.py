"""What bodies as records promise."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intel_assets.errors import ContractBroken, ParseError, StorageError
from intel_assets.ingest.documents import Window
from intel_assets.lakehouse.knowledge import digests
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.layout import Layout
from intel_assets.sources import bodies as module
from intel_assets.sources import registry
from intel_assets.sources.bodies import Bodies, ParsedBody
from intel_assets.sources.spec import UNDATED, SourceSpec
from intel_assets_tests.unit.sources.fetches import DAY, NOON, fetch

URLHAUS, TWEETFEED = registry.load(["urlhaus", "tweetfeed"])
HEAD = (
    "# Last updated: 2026-06-10 12:00:00 (UTC)\r\n"
    "# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter\r\n"
)
POST = "2026-06-10 10:00:00,somebody,url,http://evil.com/a,#elf,https://twitter.com/a/status/1\n"


def line(number: int, at: str = "2026-06-10 10:00:00") -> str:
    return (
        f'"{number}","{at}","http://evil.com/{number}","online","None","malware_download",'
        f'"elf,mirai","https://urlhaus.abuse.ch/url/{number}/","somebody"\r\n'
    )


@dataclass
class Reader:
    """Parses bodies of a source in a folder."""

    landing: Landing
    folder: Path
    count: int = 0

    def bodies(self, spec: SourceSpec) -> Bodies:
        return Bodies(spec, self.landing, self.folder / "spool", 2**30)

    def parse(self, spec: SourceSpec, data: str | bytes) -> tuple[Bodies, ParsedBody]:
        self.count += 1
        data = data.encode() if isinstance(data, str) else data
        path = self.folder / f"body{self.count}"
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        one = fetch(self.count, source=spec.name, body_sha256=digest)
        bodies = self.bodies(spec)
        return bodies, bodies.parse(one, path)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Landing(Layout(str(tmp_path / "lake"))) as landing:
        yield Reader(landing, tmp_path)


def test_a_body_is_divided_by_day(reader: Reader) -> None:
    moments = ["2026-06-10 00:00:00", "2026-06-09 23:59:59", "2026-06-01 12:00:00", "no date"]
    lines = [line(n, moments[n % 4]) for n in range(12)]
    bodies, body = reader.parse(URLHAUS, HEAD + "".join(lines))
    days = [date(2026, 6, 10), date(2026, 6, 9), date(2026, 6, 1), UNDATED]
    assert body.rows == dict.fromkeys(days, 3)
    assert body.parsed == 12
    for number, day in enumerate(days):
        frame = bodies.frame(body, day)
        assert frame["record_id"].to_list() == [str(number + 4 * n) for n in range(3)]
        assert frame["day"].unique().to_list() == [day]
        assert frame["body_sha256"].unique().to_list() == [body.fetch.body_sha256]
    assert bodies.frame(body, date(2026, 6, 2)).is_empty()


def test_records_carry_what_was_delivered_their_identifier_and_their_digest(
    reader: Reader,
) -> None:
    bodies, body = reader.parse(URLHAUS, HEAD + line(7))
    frame = bodies.frame(body, DAY)
    own = {
        "id": "7",
        "dateadded": "2026-06-10 10:00:00",
        "url": "http://evil.com/7",
        "url_status": "online",
        "last_online": "None",
        "threat": "malware_download",
        "tags": "elf,mirai",
        "urlhaus_link": "https://urlhaus.abuse.ch/url/7/",
        "reporter": "somebody",
    }
    assert frame.select(*own).row(0, named=True) == own
    assert set(frame.columns) == {*own, "day", "record_id", "record_digest", "body_sha256"}
    assert frame["record_digest"].equals(digests(pl.DataFrame([own])))


def test_a_record_without_an_identifier_goes_by_its_digest(reader: Reader) -> None:
    bodies, body = reader.parse(URLHAUS, HEAD + line(7).replace('"7","', '"","') + line(8))
    frame = bodies.frame(body, DAY)
    assert frame["record_id"].to_list() == [frame["record_digest"][0], "8"]
    bodies, body = reader.parse(TWEETFEED, POST)
    frame = bodies.frame(body, DAY)
    assert frame["record_id"].to_list() == frame["record_digest"].to_list()


def test_columns_that_older_bodies_lack_change_no_digest(reader: Reader) -> None:
    columns, values = HEAD.replace("last_online,", ""), line(7).replace('"None",', "")
    bodies, body = reader.parse(URLHAUS, columns + values)
    older = bodies.frame(body, DAY)
    assert older["last_online"].to_list() == [None]
    with_null = line(7).replace('"None"', "")
    bodies, body = reader.parse(URLHAUS, HEAD + with_null)
    assert bodies.frame(body, DAY)["record_digest"].equals(older["record_digest"])


def test_a_new_column_is_kept_and_named(reader: Reader) -> None:
    data = (HEAD + line(7)).replace("reporter\r\n", "reporter,more{}\r\n")
    bodies, body = reader.parse(URLHAUS, data.replace('"somebody"', '"somebody","x"'))
    assert body.new_columns == ("more{}",)
    assert bodies.frame(body, DAY)["more{}"].to_list() == ["x"]


def test_a_lost_column_is_told_with_expected_and_found(reader: Reader) -> None:
    data = (HEAD + line(7)).replace(",url,", ",link,")
    with pytest.raises(ContractBroken, match="lost its column url: expected id,.*; found id,"):
        reader.parse(URLHAUS, data)


def test_the_day_may_follow_from_the_request(reader: Reader) -> None:
    _, body = reader.parse(TWEETFEED, POST.replace("2026-06-10", "2026-06-11") + POST)
    assert body.rows == {DAY: 2}
    start = datetime(2026, 6, 10, tzinfo=UTC)
    assert body.covers == (start, start + timedelta(days=1))


def test_an_empty_body_speaks_of_its_day_and_holds_nothing(reader: Reader) -> None:
    bodies, body = reader.parse(TWEETFEED, "")
    assert (body.rows, body.parsed) == ({}, 0)
    assert body.covers is not None
    frame = bodies.frame(body, DAY)
    assert frame.is_empty()
    assert set(frame.columns) == {"day", "record_id", "record_digest", "body_sha256"}


def test_a_dump_speaks_of_its_own_span(reader: Reader) -> None:
    _, body = reader.parse(URLHAUS, HEAD + line(1, "2026-06-01 00:00:00") + line(2))
    tick = timedelta(microseconds=1)
    assert body.covers == (datetime(2026, 6, 1, tzinfo=UTC) + tick, NOON + tick)
    _, empty = reader.parse(URLHAUS, HEAD)
    assert (empty.covers, empty.rows) == (None, {})


def test_packed_bodies_are_unpacked(reader: Reader) -> None:
    bodies, body = reader.parse(URLHAUS, gzip.compress((HEAD + line(7)).encode()))
    assert bodies.frame(body, DAY)["record_id"].to_list() == ["7"]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=30))
def test_every_record_of_a_body_stands_in_one_day(
    reader: Reader, records: list[tuple[int, int]]
) -> None:
    lines = [line(n, f"2026-06-0{day + 1} 10:00:00" if day else "never") for n, day in records]
    bodies, body = reader.parse(URLHAUS, HEAD + "".join(lines))
    found = [
        (record, 0 if day == UNDATED else day.day - 1)
        for day in body.rows
        for record in bodies.frame(body, day)["record_id"]
    ]
    assert sorted(found) == sorted((str(n), day) for n, day in records)
    assert body.parsed == len(records)


# -- bad bodies ----------------------------------------------------------------------------------


def refused(reader: Reader, spec: SourceSpec, data: str | bytes) -> str:
    digest = hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
    with pytest.raises(ParseError) as told:
        reader.parse(spec, data)
    assert told.value.what.startswith(f"{spec.name} 2026-06-10, body {digest[:16]}…: ")
    assert "intel replay" in told.value.do
    assert not list(reader.folder.glob("spool/*")), "what was half parsed is gone"
    return told.value.what


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("garbage\r\n", "line 4 has 1 fields where 9 are expected: garbage"),
        ('"2","2026-06-10 10:00:00"\r\n', "line 4 has 2 fields where 9"),
        (line(2).replace("\r\n", ',"more"\r\n'), "line 4 has 10 fields where 9"),
        (line(2).replace('"online"', '"online'), "line 4"),
        (line(2).replace('"somebody"', '"somebody'), "line 4"),
    ],
    ids=["garbage", "too few", "too many", "unclosed", "unclosed last"],
)
def test_one_broken_line_refuses_a_body_and_is_named(reader: Reader, bad: str, told: str) -> None:
    assert told in refused(reader, URLHAUS, HEAD + line(1) + bad + line(3) + line(4))


def test_an_unclosed_quote_in_a_large_body_is_named(reader: Reader) -> None:
    rest = "".join(line(n) for n in range(3000))
    bad = line(2).replace('"somebody"', '"somebody')
    assert "line 4" in refused(reader, URLHAUS, HEAD + line(1) + bad + rest)
    assert "line 2" in refused(reader, TWEETFEED, POST + '"' + POST * 3000)


def test_a_body_cut_off_anywhere_in_a_line_is_refused(reader: Reader) -> None:
    whole = HEAD + line(1) + line(2)
    for cut in range(3, len(line(2)), 9):
        assert "line 4" in refused(reader, URLHAUS, whole[:-cut])


def test_bytes_that_are_no_text_are_refused(reader: Reader) -> None:
    data = (HEAD + line(1)).encode() + line(2).encode().replace(b"somebody", b"\xff\xfe")
    assert "utf-8" in refused(reader, URLHAUS, data).lower()


def test_an_error_quotes_nothing_that_steers_a_terminal(reader: Reader) -> None:
    told = refused(reader, URLHAUS, HEAD + "\x1b[31mred\x07\r\n")
    assert told.isprintable()


def test_a_null_byte_in_a_value_is_kept(reader: Reader) -> None:
    bodies, body = reader.parse(URLHAUS, HEAD + line(1).replace("evil.com/1", "evil.com/\x00"))
    assert bodies.frame(body, DAY)["url"].to_list() == ["http://evil.com/\x00"]


@pytest.mark.parametrize(
    "at",
    ["", "0000-00-00 00:00:00", "-0001-01-01 00:00:00", "9999-12-31 23:59:59", "12026-06-10 0:0:0"],
)
def test_a_wrong_date_is_one_record_s_matter(reader: Reader, at: str) -> None:
    _, body = reader.parse(URLHAUS, HEAD + line(1) + line(2, at))
    assert body.rows == {DAY: 1, UNDATED: 1}
    assert body.covers is not None
    assert body.covers[1] <= NOON + timedelta(seconds=1)


def test_line_ends_and_blank_ends_do_not_matter(reader: Reader) -> None:
    for data in (POST, POST.rstrip(), POST.replace("\n", "\r\n")):
        bodies, body = reader.parse(TWEETFEED, data)
        assert bodies.frame(body, DAY)["tweet"].to_list() == ["https://twitter.com/a/status/1"]


# -- the spool -----------------------------------------------------------------------------------


def landed(reader: Reader, number: int) -> tuple[str, str]:
    path = reader.folder / f"landed{number}"
    path.write_text(HEAD + line(number))
    return reader.landing.put_file(path).sha256, str(number)


def test_a_body_is_parsed_again_from_landing(reader: Reader) -> None:
    digest, number = landed(reader, 5)
    bodies = reader.bodies(URLHAUS)
    body = bodies.parse(fetch(1, body_sha256=digest))
    assert bodies.frame(body, DAY)["record_id"].to_list() == [number]


def test_a_body_is_parsed_once(reader: Reader) -> None:
    calls: list[object] = []

    def parse(document: object) -> pl.LazyFrame:
        calls.append(document)
        return URLHAUS.parse(document)  # type: ignore[arg-type]

    digest, _ = landed(reader, 5)
    bodies = reader.bodies(replace(URLHAUS, parse=parse))
    first = bodies.parse(fetch(1, body_sha256=digest))
    assert bodies.parse(fetch(1, body_sha256=digest)) is first
    assert len(calls) == 1


def test_a_full_spool_forgets_the_body_that_was_not_used_longest(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPOOL_BYTES", 1)
    bodies = reader.bodies(URLHAUS)
    parsed = [bodies.parse(fetch(n, body_sha256=landed(reader, n)[0])) for n in (1, 2, 3)]
    assert [body.folder.exists() for body in parsed] == [False, False, True]
    # What was forgotten is parsed anew when it is asked for.
    for number, body in enumerate(parsed, 1):
        assert bodies.frame(body, DAY)["record_id"].to_list() == [str(number)]


def test_a_spool_that_is_forgotten_is_gone(reader: Reader) -> None:
    bodies = reader.bodies(URLHAUS)
    body = bodies.parse(fetch(1, body_sha256=landed(reader, 1)[0]))
    bodies.forget()
    assert not (reader.folder / "spool").exists()
    assert bodies.frame(body, DAY)["record_id"].to_list() == ["1"]


def test_a_body_that_landing_does_not_hold_is_no_matter_of_parsing(reader: Reader) -> None:
    with pytest.raises(StorageError):
        reader.bodies(URLHAUS).parse(fetch(1))
    with pytest.raises(ValueError, match="has no body"):
        reader.bodies(URLHAUS).parse(fetch(1, body_sha256=None))


def test_an_error_names_the_whole_window(reader: Reader) -> None:
    window = Window(DAY, DAY + timedelta(days=1))
    path = reader.folder / "bad"
    path.write_text("x")
    with pytest.raises(ParseError, match=r"^urlhaus 2026-06-10\.\.2026-06-11, body "):
        reader.bodies(URLHAUS).parse(fetch(1, window=window), path)
