"""Definitions: what Dagster loads, and that every asset tells what a person wants to know of it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from intel_assets.definitions import build_definitions
from intel_assets.orchestration.runs import chunks
from intel_assets.settings import Settings
from intel_assets.sources import registry
from intel_assets.threat.export.published import PUBLICATIONS

ROOT = Path(__file__).resolve().parents[2]

STARTS = {
    "abuseipdb": "2018-01-01",
    "abuseipdb_check": "2018-01-01",
    "attack": "2018-01-01",
    "blocklist_de": "2018-01-01",
    "botvrij": "2014-10-01",
    "circl_osint": "2014-10-01",
    "emergingthreats": "2018-01-01",
    "feodo": "2019-01-01",
    "greynoise": "2018-01-01",
    "ipsum": "2018-01-01",
    "kev": "2021-11-03",
    "malicious_ip": "2023-09-26",
    "malwarebazaar": "2020-02-01",
    "otx": "2015-01-01",
    "spamhaus_drop": "2018-01-01",
    "sslbl": "2014-05-05",
    "threatfox": "2021-03-08",
    "threatfox_ips": "2022-10-29",
    "tweetfeed": "2021-08-08",
    "urlhaus": "2018-03-01",
    "urlhaus_payloads": "2018-03-01",
    "virustotal": "2018-01-01",
    "warninglists": "2016-03-01",
}
# Snapshots that should change, so that one which does not is stale.
STATE_FEEDS = {
    "abuseipdb",
    "blocklist_de",
    "emergingthreats",
    "feodo",
    "ipsum",
    "kev",
    "malicious_ip",
    "spamhaus_drop",
    "sslbl",
    "threatfox_ips",
}
REFERENCES = {"attack", "warninglists"}
# Asked of given indicators: no day is expected of them, and they tell nothing by themselves.
LOOKUPS = {"abuseipdb_check", "greynoise", "virustotal"}
BY_DAY = ("feeds_daily", "sightings")
WHOLE = {"indicator_parts": ["aggregated/sightings", "cleaned/warninglists"]}
GOLD = {f"aggregated/{name}" for name in (*BY_DAY, *WHOLE)}


def _graph(name: str) -> dict[str, dict[str, object]]:
    whole = _whole_graph(name)
    return {key: whole[key] for key in whole if name not in LOOKUPS or "aggregated" not in key}


def _whole_graph(name: str) -> dict[str, dict[str, object]]:
    same = {"group": "threat", "partitions": STARTS[name]}
    stale = ["staleness"] if name in STATE_FEEDS else []
    return {
        f"raw/{name}": {
            "deps": [],
            "kinds": ["deltalake", "polars"],
            "checks": ["no_gaps", "no_partitions_left_failed", "schema_drift", *stale, "volume"],
            **same,
        },
        f"cleaned/{name}": {
            "deps": [f"raw/{name}"],
            "kinds": ["deltalake", "polars"],
            "checks": ["contract", "unique"],
            **same,
        },
        f"aggregated/{name}_daily": {
            "deps": [f"cleaned/{name}"],
            "kinds": ["deltalake", "duckdb"],
            "checks": [],
            **same,
        },
    }


def _gold(deps: list[str], starts: str | None) -> dict[str, object]:
    return {
        "deps": deps,
        "kinds": ["deltalake", "duckdb"],
        "checks": [],
        "group": "threat",
        "partitions": starts,
    }


TELLING = [f"cleaned/{name}" for name in sorted(set(STARTS) - REFERENCES - LOOKUPS)]
GRAPH = (
    {key: facts for name in STARTS for key, facts in _graph(name).items()}
    | {f"aggregated/{table}": _gold(TELLING, min(STARTS.values())) for table in BY_DAY}
    | {f"aggregated/{table}": _gold(deps, None) for table, deps in WHOLE.items()}
)
EXPORTS = {
    f"export/{one.name}": {
        "deps": ["aggregated/indicator_parts"],
        "kinds": ["file"],
        "checks": ["believable"],
        "group": "threat",
        "partitions": None,
    }
    for one in PUBLICATIONS
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(lake=str(tmp_path_factory.mktemp("lake")))


@pytest.fixture(scope="module")
def definitions(settings: Settings) -> dg.Definitions:
    return build_definitions(settings=settings)


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_the_asset_graph_is_this_one(definitions: dg.Definitions):
    graph = definitions.resolve_asset_graph()
    found = {
        node.key.to_user_string(): {
            "deps": sorted(key.to_user_string() for key in node.parent_keys),
            "group": node.group_name,
            "kinds": sorted(tag.removeprefix("dagster/kind/") for tag in node.kinds),
            "checks": sorted(key.name for key in node.check_keys),
            "partitions": node.partitions_def and str(node.partitions_def.start.date()),
        }
        for node in (graph.get(key) for key in graph.get_all_asset_keys())
    }
    assert found == GRAPH | EXPORTS


def test_the_definitions_load_and_every_job_resolves(definitions: dg.Definitions):
    dg.Definitions.validate_loadable(definitions)
    jobs = {job.name for job in definitions.resolve_all_job_defs()}
    assert jobs >= set(registry.names())


@pytest.mark.slow
def test_importing_the_definitions_is_all_that_a_code_location_needs():
    code = "from intel_assets.definitions import defs; print(len(defs().resolve_all_asset_specs()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, str(len(GRAPH | EXPORTS)))


@pytest.mark.parametrize("key", sorted(set(GRAPH) - GOLD))
def test_an_asset_tells_what_it_is_whose_it_is_and_under_which_licence(
    specs: dict[str, dg.AssetSpec], key: str
):
    spec = specs[key]
    assert spec.owners == ["team:threat-intelligence"]
    assert spec.code_version
    assert spec.tags["layer"] == key.split("/")[0]
    assert spec.tags["source"] in registry.names()
    (source,) = registry.load([spec.tags["source"]])
    assert f"licence: {source.licence} ·" in (spec.description or "")
    assert f"SQL name: `{key.replace('/', '.')}`" in (spec.description or "")


@pytest.mark.parametrize("key", sorted(GRAPH))
def test_an_asset_has_one_name_in_dagster_in_sql_and_on_disk(
    specs: dict[str, dg.AssetSpec], settings: Settings, key: str
):
    facts = specs[key].metadata
    layer, name = key.split("/")
    assert facts["dagster/table_name"] == f"{layer}.{name}"
    assert facts["dagster/uri"] == settings.layout.table_uri(layer, name)


@pytest.mark.parametrize("key", sorted(GRAPH))
def test_every_column_has_a_type_and_a_description(specs: dict[str, dg.AssetSpec], key: str):
    schema = specs[key].metadata["dagster/column_schema"]
    assert len({column.name for column in schema.columns}) == len(schema.columns) > 3
    for column in schema.columns:
        assert column.description, column.name
        assert column.type.isupper() or column.type.endswith("[]"), column


def test_personal_columns_are_marked_as_such(specs: dict[str, dg.AssetSpec]):
    schema = specs["cleaned/urlhaus"].metadata["dagster/column_schema"]
    assert [c.name for c in schema.columns if "personal" in c.tags] == ["reporter"]


@pytest.mark.parametrize("key", sorted(key for key in GRAPH if GRAPH[key]["deps"]))
def test_lineage_leads_to_columns_that_are_there(specs: dict[str, dg.AssetSpec], key: str):
    lineage = specs[key].metadata.get("dagster/column_lineage")
    assert lineage is not None
    own = {column.name for column in specs[key].metadata["dagster/column_schema"].columns}
    for column, deps in lineage.deps_by_column.items():
        assert column in own
        for dep in deps:
            upstream = specs[dep.asset_key.to_user_string()].metadata["dagster/column_schema"]
            assert dep.column_name in {c.name for c in upstream.columns}, (column, dep)


def test_cleaned_columns_have_a_lineage(specs: dict[str, dg.AssetSpec]):
    lineage = specs["cleaned/urlhaus"].metadata["dagster/column_lineage"].deps_by_column
    assert lineage["reporter"][0].column_name == "reporter"
    assert lineage["host"][0].column_name == "url"


def test_partitions_reach_from_the_first_day_to_today(definitions: dg.Definitions):
    node = definitions.resolve_asset_graph().get(dg.AssetKey(["raw", "tweetfeed"]))
    assert node.partitions_def is not None
    now = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
    keys = node.partitions_def.get_partition_keys(current_time=now)
    assert (keys[0], keys[-1]) == ("2021-08-08", "2026-03-01")


def test_a_range_runs_thirty_days_at_a_time():
    days = [date(2025, 1, 1) + timedelta(days=i) for i in range(70)]
    del days[35]
    found = chunks(days)
    assert found == [
        (date(2025, 1, 1), date(2025, 1, 30)),
        (date(2025, 1, 31), date(2025, 2, 4)),
        (date(2025, 2, 6), date(2025, 3, 7)),
        (date(2025, 3, 8), date(2025, 3, 11)),
    ]


def test_a_source_is_asked_by_one_run_at_a_time(definitions: dg.Definitions):
    for name in registry.names():
        job = definitions.resolve_job_def(name)
        assert {node.definition.pool for node in job.nodes} == {name}


def test_tests_can_hand_in_their_own_sources_and_resources(settings: Settings):
    (spec,) = registry.load(["tweetfeed"])
    made = build_definitions(sources=[spec], settings=settings, resources={"duckdb": "mine"})
    assert len(made.resolve_all_asset_specs()) == 3
    assert made.resources is not None
    assert made.resources["duckdb"] == "mine"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["dg", "check", "defs"], ["dagster", "definitions", "validate", "-w", "workspace.yaml"]],
)
def test_dagsters_own_tools_accept_the_definitions(tmp_path: Path, command: list[str]):
    environment = os.environ | {
        "DAGSTER_HOME": str(ROOT),
        "INTEL_DAGSTER_STORAGE": str(tmp_path / "dagster"),
        "INTEL_LAKE": str(tmp_path / "lake"),
        "INTEL_STATE": str(tmp_path / "state"),
    }
    (tmp_path / "dagster").mkdir()
    tool = str(Path(sys.executable).parent / command[0])
    done = subprocess.run(
        [tool, *command[1:]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
