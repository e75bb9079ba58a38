"""URLhaus's formats, read as they are."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.errors import ParseError
from intel_assets.sources.cleaning import clean
from intel_assets.sources.spec import Span
from intel_assets.threat import urlhaus
from intel_assets.threat.abusech import moment
from intel_assets.threat.urlhaus import SPEC
from intel_assets_tests.unit.sources.fetches import NOON, document

EIGHT = "id,dateadded,url,url_status,threat,tags,urlhaus_link,reporter"
NINE = "id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter"
HEAD = "################\r\n# Last updated: 2026-06-10 12:00:00 (UTC)   #\r\n#\r\n# {}\r\n"
LINE = ["1", "2026-06-10 10:00:00", "http://evil.com/a", "online", "malware_download", "elf", "l"]
NEW = {
    "id": "1",
    "dateadded": "2026-06-10 10:00:00",
    "url": "http://evil.com/a",
    "url_status": "online",
    "last_online": "2026-06-10 11:00:00",
    "threat": "malware_download",
    "tags": "elf,mirai",
    "urlhaus_link": "https://urlhaus.abuse.ch/url/1/",
    "reporter": "somebody",
}


def csv(*records: dict[str, str], columns: str = NINE) -> bytes:
    lines = [",".join(f'"{record[name]}"' for name in columns.split(",")) for record in records]
    return (HEAD.format(columns) + "".join(f"{line}\r\n" for line in lines)).encode()


def parse(folder: Path, data: bytes) -> list[dict[str, str | None]]:
    return urlhaus.parse(document(folder / "body", data)).collect().to_dicts()


def test_the_dump_of_today_is_read(tmp_path: Path) -> None:
    assert parse(tmp_path, csv(NEW, NEW | {"id": "2"})) == [NEW, NEW | {"id": "2"}]


def test_the_dump_of_2020_is_read(tmp_path: Path) -> None:
    old = {name: NEW[name] for name in EIGHT.split(",")}
    assert parse(tmp_path, csv(NEW, columns=EIGHT)) == [old]


def test_the_feed_of_a_country_is_read(tmp_path: Path) -> None:
    columns = "Dateadded (UTC),URL,URL_status,Threat,Host,IPaddress,ASnumber,Country"
    record = dict(zip(columns.split(","), [*LINE[1:5], "h", "1.2.3.4", "1", "CH"], strict=True))
    assert parse(tmp_path, csv(record, columns=columns)) == [
        dict(
            zip(
                [
                    "dateadded",
                    "url",
                    "url_status",
                    "threat",
                    "host",
                    "ipaddress",
                    "asnumber",
                    "country",
                ],
                record.values(),
                strict=True,
            )
        )
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.rstrip(),
        lambda data: data + b"# the end\r\n",
        lambda data: data.replace(b"# id", b"#id"),
    ],
    ids=["LF", "BOM", "no last line break", "comment at the end", "no blank"],
)
def test_what_does_not_matter_is_not_seen(change: object, tmp_path: Path) -> None:
    assert parse(tmp_path, change(csv(NEW))) == [NEW]  # type: ignore[operator]


def test_values_stay_as_delivered(tmp_path: Path) -> None:
    odd = NEW | {"url": 'http://e.com/a,b""c\x00ä#', "tags": "None", "reporter": ""}
    found = parse(tmp_path, csv(odd))
    assert found == [odd | {"url": 'http://e.com/a,b"c\x00ä#'}]


def test_a_dump_without_records_is_empty_and_not_wrong(tmp_path: Path) -> None:
    found = urlhaus.parse(document(tmp_path / "body", csv())).collect()
    assert found.columns == NINE.split(",")
    assert found.is_empty()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", r"an empty body"),
        (b"\r\n\r\n", r"an empty body"),
        (b"<!DOCTYPE html><html>", r"<!DOCTYPE html>"),
        (b'"1","2026-06-10 10:00:00"\r\n', r'"1","2026-06-10'),
        (b"# nothing\r\n# here\r\n", r"# nothing"),
        (b"\x00\xff\xfe\x00", r"header is missing"),
    ],
)
def test_what_is_no_dump_is_refused_with_what_it_begins_with(
    data: bytes, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ParseError, match=r"line 1: this is no URLhaus dump") as error:
        parse(tmp_path, data)
    assert told in error.value.what


def test_a_document_without_a_body_is_no_dump(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without a body"):
        urlhaus.parse(type(document(tmp_path / "b", b""))(document(tmp_path / "b", b"").fetch))


# -- JSON ----------------------------------------------------------------------------------------

RECORD = {
    "dateadded": "2026-06-10 10:00:00 UTC",
    "url": "http://evil.com/ä",
    "url_status": "online",
    "last_online": None,
    "threat": "malware_download",
    "tags": ["elf", "mirai"],
    "urlhaus_link": "https://urlhaus.abuse.ch/url/7/",
    "reporter": "somebody",
}
READ = {"id": "7"} | RECORD | {"tags": '["elf","mirai"]'}


def api(record: dict[str, object]) -> dict[str, object]:
    names = {"dateadded": "date_added", "urlhaus_link": "urlhaus_reference"}
    return {"id": 7} | {names.get(name, name): value for name, value in record.items()}


@pytest.mark.parametrize(
    "data",
    [
        json.dumps({"7": [RECORD]}),
        json.dumps({"7": RECORD}),
        json.dumps({"query_status": "ok", "urls": [api(RECORD)]}),
        json.dumps([api(RECORD)]),
        json.dumps(api(RECORD)),
        json.dumps({"7": [RECORD]}, ensure_ascii=False, indent=2),
        "\ufeff" + json.dumps({"7": [RECORD]}),
        "\n  " + json.dumps({"7": [RECORD]}),
    ],
    ids=["dump", "dump, one each", "API", "list", "record", "indented", "BOM", "white space"],
)
def test_json_says_the_same_in_every_form(data: str, tmp_path: Path) -> None:
    assert parse(tmp_path, data.encode()) == [READ]


def test_records_a_line_are_read(tmp_path: Path) -> None:
    lines = [json.dumps(api(RECORD)), "", json.dumps(api(RECORD) | {"id": 8, "more": True})]
    found = parse(tmp_path, "\n".join(lines).encode())
    assert found == [READ | {"more": None}, READ | {"id": "8", "more": "true"}]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"7": [{"url": "http://a', "line 1: Unterminated string"),
        (b'{"7": [{"url": "a"}', "line 1: "),
        (b'{"url": "a"}\n{"url": }\n{"url": "b"}', "line 2: "),
        (b'{"query_status": "no_results"}', "no list of URLs"),
        (b"[1, 2]", "no list of URLs"),
        (b'{"urls": null}', "no list of URLs"),
        (b'{"7": ["a"]}', "no list of URLs"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_is_no_list_of_urls_is_refused(data: bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(ParseError) as error:
        parse(tmp_path, data)
    assert told in error.value.what


# -- what it means -------------------------------------------------------------------------------


def cleaned(**given: str | None) -> dict[str, object]:
    values = NEW | {"day": date(2026, 6, 10), "known_from": NOON} | given
    raw = SPEC.raw.conform(
        pl.DataFrame([values], schema_overrides=dict(SPEC.raw.schema)).with_columns(
            record_id=pl.lit("1"), record_digest=pl.lit("2")
        )
    )
    return SPEC.clean(raw.lazy()).collect().row(0, named=True)


def test_a_record_is_typed_and_canonical() -> None:
    found = cleaned(url="HXXP://Evil[.]com:80/A", url_status="Online")
    assert found["indicator"] == "http://evil.com/A"
    assert found["host"] == "evil.com"
    assert found["raw_value"] == "HXXP://Evil[.]com:80/A"
    assert found["first_seen"] == datetime(2026, 6, 10, 10, tzinfo=UTC)
    assert found["last_seen"] == datetime(2026, 6, 10, 11, tzinfo=UTC)
    assert found["tags"] == ["elf", "mirai"]
    assert (found["url_id"], found["url_status"], found["tlp"]) == (1, "online", "clear")


@pytest.mark.parametrize("nothing", ["None", "", None])
def test_what_says_none_is_null(nothing: str | None) -> None:
    found = cleaned(last_online=nothing, tags=nothing, reporter=nothing, urlhaus_link=nothing)
    assert [found[n] for n in ("last_seen", "tags", "reporter", "reference")] == [None] * 4


@pytest.mark.parametrize(
    ("delivered", "tags"),
    [("elf", ["elf"]), ("elf,mirai", ["elf", "mirai"]), ('["elf", "mirai"]', ["elf", "mirai"])],
)
def test_tags_are_a_list_however_they_are_written(delivered: str, tags: list[str]) -> None:
    assert cleaned(tags=delivered)["tags"] == tags


def test_a_bad_url_goes_to_quarantine_as_delivered() -> None:
    raw = SPEC.raw.conform(
        pl.DataFrame(
            [NEW | {"day": NOON.date(), "known_from": NOON, "url": "http://999.1.1.1/"}],
            schema_overrides=dict(SPEC.raw.schema),
        ).with_columns(record_id=pl.lit("1"), record_digest=pl.lit("2"), body_sha256=pl.lit("3"))
    )
    found = clean(SPEC, raw, "run")
    assert found.accepted.is_empty()
    assert found.quarantine.select("rule", "column", "value").rows() == [
        ("not_nullable", "host", "http://999.1.1.1/"),
        ("not_nullable", "indicator", "http://999.1.1.1/"),
    ]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2026-06-10 10:00:00", datetime(2026, 6, 10, 10, tzinfo=UTC)),
        ("2026-06-10 10:00:00 UTC", datetime(2026, 6, 10, 10, tzinfo=UTC)),
        ("2026-06-10 10:00:00 CET", None),
        ("2026-06-10 10:00:00+02:00", None),
        ("2026-06-10", None),
        ("2026-02-30 10:00:00", None),
        ("-0001-06-10 10:00:00", None),
        ("0000-06-10 10:00:00", None),
        ("2010-12-31 23:59:59", None),
        ("2100-01-01 00:00:00", None),
        ("9999-12-31 23:59:59", None),
        ("12026-06-10 10:00:00", None),
        ("None", None),
        ("", None),
        (None, None),
    ],
)
def test_moments(text: str | None, read: datetime | None) -> None:
    frame = pl.DataFrame({"at": pl.Series([text], dtype=pl.String)})
    assert frame.select(moment("at")).item() == read


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=25) | st.from_regex(r"[-+]?[0-9]{3,5}-[0-9-]{5} [0-9:]{8}.{0,4}")))
def test_any_text_is_a_moment_or_null(texts: list[str]) -> None:
    frame = pl.DataFrame({"at": pl.Series(texts, dtype=pl.String)})
    for found in frame.select(moment("at")).to_series().to_list():
        assert found is None or 2018 <= found.year < 2100


# -- what it covers ------------------------------------------------------------------------------


def test_a_dump_speaks_from_its_oldest_record_to_the_moment_it_was_made(tmp_path: Path) -> None:
    first, last = NOON - timedelta(days=30), NOON - timedelta(hours=2)
    tick = timedelta(microseconds=1)
    made = document(tmp_path / "a", csv(NEW))
    assert urlhaus.covers(made, Span(9, first, last)) == (first + tick, NOON + tick)
    silent = document(tmp_path / "b", b"# id,dateadded\r\n")
    assert urlhaus.covers(silent, Span(9, first, last)) == (first + tick, last + tick)
    late = NOON + timedelta(hours=1)
    assert urlhaus.covers(made, Span(9, first, late)) == (first + tick, late + tick)
    assert urlhaus.covers(made, Span(0, None, None)) is None
