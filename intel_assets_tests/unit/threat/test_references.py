"""Warninglists and ATT&CK: what indicators are compared with."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from intel_assets.errors import ParseError
from intel_assets.ingest.documents import Document
from intel_assets.simulator.server import Simulator
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat import attack, warninglists
from intel_assets_tests.conftest import NOON, UNHURRIED, MakeLake
from intel_assets_tests.unit.threat.given import cleaned, landed
from intel_assets_tests.unit.threat.gold.given import sighting, tables

LISTS = replace(warninglists.SPEC, policy=UNHURRIED)
ATTACK = replace(attack.SPEC, policy=UNHURRIED)


def unpacked(file: Path, folder: Path) -> Path:
    """A recorded file, unpacked if it is packed."""
    path = folder / file.name.removesuffix(".gz")
    body = file.read_bytes()
    path.write_bytes(gzip.decompress(body) if file.suffix == ".gz" else body)
    return path


def recorded_list(file: Path, folder: Path) -> pl.DataFrame:
    path = unpacked(file, folder)
    document = landed(path)
    url = f"https://example.test/lists/{path.stem}/list.json"
    told = Document(replace(document.fetch, url=url), path)
    spec: SourceSpec = replace(LISTS, parse=lambda _: LISTS.parse(told))
    return cleaned(spec, path).accepted


@pytest.fixture(scope="module")
def recorded_lists(
    tmp_path_factory: pytest.TempPathFactory,
) -> pl.DataFrame:
    from intel_assets_tests.conftest import SAMPLES

    if not SAMPLES.is_dir():
        pytest.skip(f"the samples are not there: {SAMPLES}")
    folder = tmp_path_factory.mktemp("lists")
    files = sorted((SAMPLES / "threat/warninglists").glob("*.json*"))
    return pl.concat([recorded_list(file, folder) for file in files])


@pytest.mark.slow
def test_the_recorded_lists_are_read_whole(recorded_lists: pl.DataFrame, samples: Path):
    files = sorted((samples / "threat/warninglists").glob("*.json*"))
    assert recorded_lists["list"].n_unique() == len(files) == 24
    counts = dict(recorded_lists.group_by("list").len().iter_rows())
    assert (counts["akamai"], counts["cloudflare"], counts["tlds"]) == (268, 22, 1438)
    ranges = recorded_lists.filter(pl.col("match") == "cidr")
    assert ranges["first_address"].null_count() == 0
    assert (ranges["first_address"] <= ranges["last_address"]).all()


def hits(lists: pl.DataFrame, *indicators: tuple[str, str, str | None]) -> pl.DataFrame:
    """The entries that indicators meet, each with its type and host."""
    rows = [
        sighting(0, "urlhaus", indicator, indicator_type=kind, host=host)
        for indicator, kind, host in indicators
    ]
    with tables(rows, cleaned__warnings=lists) as connection:
        return connection.sql("FROM aggregated.warninglist_hits").pl()


@pytest.mark.slow
def test_the_recorded_addresses_of_threatfox_meet_the_lists_as_published(
    recorded_lists: pl.DataFrame, samples: Path
):
    file = samples / "threat/threatfox_ips_daily/2026-08-22.txt"
    addresses = file.read_text().split()
    found = hits(recorded_lists, *((one, "ipv4", one) for one in addresses))
    counts = dict(found.group_by("list").agg(pl.col("indicator").n_unique()).iter_rows())
    published = {
        "cloudflare": 71,
        "akamai": 255,
        "public-dns-v4": 3,
        "parking-domain": 5,
        "sinkholes": 1,
        "fastly": 1,
    }
    assert {name: counts.get(name) for name in published} == published


ENTRIES = pl.DataFrame(
    [
        ("net", "cidr", "198.18.4.0/24", ["ipv4", "ipv6", "cidr"]),
        ("six", "cidr", "2001:db8::/48", ["ipv4", "ipv6", "cidr"]),
        ("one", "cidr", "198.18.9.9", ["ipv4"]),
        ("below", "hostname", "drive.example.com", ["domain", "hostname", "url"]),
        ("same", "string", "office.example", ["domain", "hostname"]),
        ("part", "substring", "sandbox", ["url"]),
        ("rule", "regex", "/^cdn[0-9]+\\./i", ["hostname"]),
    ],
    schema={
        "list": pl.String,
        "match": pl.String,
        "value": pl.String,
        "matching_types": pl.List(pl.String),
    },
    orient="row",
).with_columns(day=pl.lit(NOON.date()), list_title=pl.col("list"))


@pytest.mark.parametrize(
    ("indicator", "kind", "host", "expected"),
    [
        ("198.18.4.255", "ipv4", None, ["net"]),
        ("198.18.5.0", "ipv4", None, []),
        ("198.18.4.0/25", "cidr", None, ["net"]),
        ("2001:db8::ffff", "ipv6", None, ["six"]),
        ("2001:db8:1::1", "ipv6", None, []),
        ("::1", "ipv6", None, []),
        ("198.18.9.9", "ipv4", None, ["one"]),
        ("drive.example.com", "hostname", "drive.example.com", ["below"]),
        ("a.drive.example.com", "hostname", "a.drive.example.com", ["below"]),
        ("overdrive.example.com", "hostname", "overdrive.example.com", []),
        ("http://drive.example.com/x", "url", "drive.example.com", ["below"]),
        ("office.example", "domain", "office.example", ["same"]),
        ("www.office.example", "hostname", "www.office.example", []),
        ("http://a.sandbox.example/", "url", "a.sandbox.example", ["part"]),
        ("a.sandbox.example", "hostname", "a.sandbox.example", []),
        ("CDN12.example.com", "hostname", "cdn12.example.com", ["rule"]),
    ],
)
def test_an_indicator_meets_an_entry_as_its_list_says(
    indicator: str, kind: str, host: str | None, expected: list[str]
):
    from intel_assets.threat import canonical

    bounds = canonical.bounds(pl.when(pl.col("match") == "cidr").then(pl.col("value")))
    lists = ENTRIES.with_columns(bounds.struct.unnest())
    assert hits(lists, (indicator, kind, host))["list"].to_list() == expected


@pytest.mark.slow
def test_lists_of_a_day_come_together_or_the_day_stays_open(make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    once = replace(LISTS, policy=replace(UNHURRIED, attempts=1))
    played.faults.add("503", path="/lists/rfc1918/", times=1)
    (result,) = [one for one in lake.fetch(once, [NOON.date()]) if one.error]
    assert result.state == "failed"
    assert lake.sql("SELECT count(*) FROM ops.fetches WHERE answers_from < answers_to").item() == 0
    played.clock.advance(60)
    (result,) = lake.fetch(once, [NOON.date()])
    assert result.state == "complete"
    assert lake.table("cleaned.warninglists")["list"].n_unique() == len(warninglists.LISTS)
    before = lake.commits("warninglists")
    played.clock.advance(3600)
    lake.fetch(once, [NOON.date()])
    assert lake.commits("warninglists") == before
    played.clock.advance(86_400)
    (result,) = lake.fetch(once, [NOON.date() + timedelta(days=1)])
    assert result.state == "complete"
    assert lake.sql("SELECT count(DISTINCT day) FROM cleaned.warninglists").item() == 2


@pytest.mark.parametrize("text", ['{"list": ["a"', "[]", '{"list": [], "type": "cidr"}', "<html>"])
def test_what_is_no_list_is_refused(text: str, tmp_path: Path):
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises(ParseError, match="line 1"):
        LISTS.parse(landed(path))


@pytest.mark.slow
def test_versions_of_attack_stand_side_by_side(samples: Path, tmp_path: Path, make_lake: MakeLake):
    lake = make_lake()
    moments = []
    for number, version in enumerate(("17.1", "18.1")):
        path = unpacked(samples / f"threat/attack/ics-attack-{version}.json.gz", tmp_path)
        at = datetime(2025, 11, 3, 9, tzinfo=UTC) + timedelta(weeks=number)
        lake.land(ATTACK, {path: None}, at)
        moments.append(at)
    numbers = lake.table("aggregated.attack_daily").sort("day")
    bundle = json.loads((tmp_path / "ics-attack-18.1.json").read_bytes())["objects"]
    standing = [
        one for one in bundle if not one.get("revoked") and not one.get("x_mitre_deprecated")
    ]
    now = numbers.row(1, named=True)
    assert now["techniques"] == sum(one["type"] == "attack-pattern" for one in standing)
    assert now["software"] == sum(one["type"] in ("malware", "tool") for one in standing)
    assert numbers["relationships"].to_list() == [1367, 1373]
    assert lake.sql("SELECT max(day) FROM cleaned.attack", as_of=moments[0]).item() == (
        moments[0].date()
    )
    block = lake.sql(
        "SELECT DISTINCT name, kind, tactics FROM cleaned.attack WHERE external_id = 'T0803'"
    )
    assert block.rows() == [("Block Command Message", "technique", ["inhibit-response-function"])]
    assert lake.table("quarantine.attack").is_empty()


def test_bundles_of_a_week_are_asked_for_and_changes_show(make_lake: MakeLake, played: Simulator):
    lake = make_lake(played)
    for month in (6, 7):
        played.clock.set(datetime(2026, month, 29, 9, tzinfo=UTC))
        (result,) = lake.fetch(ATTACK, [played.clock().date()])
        assert result.state == "complete"
    changed = lake.sql(
        "SELECT external_id, matrix FROM cleaned.attack "
        "GROUP BY ALL HAVING count(DISTINCT version) > 1 AND external_id IS NOT NULL"
    )
    assert set(changed["external_id"]) == {"T1059"}
    assert changed.height == 3


@pytest.mark.parametrize(
    "text", ['{"type": "bundle", "obj', "[]", '{"type": "bundle", "objects": []}']
)
def test_what_is_no_bundle_is_refused(text: str, tmp_path: Path):
    path = tmp_path / "bundle.json"
    path.write_text(text)
    with pytest.raises(ParseError, match="line 1"):
        ATTACK.parse(landed(path))
