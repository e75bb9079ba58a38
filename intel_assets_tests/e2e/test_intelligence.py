"""An analyst's afternoon: look up, ask further, allow, watch, publish, on a lake of one feed."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from intel_assets.alerts.rules import judge
from intel_assets.lakehouse import extensions
from intel_assets.lakehouse.catalog import SHIPPED_NAME
from intel_assets.orchestration.alerting import gather
from intel_assets.orchestration.instance import open_instance
from intel_assets.settings import load_settings
from intel_assets.sources import registry
from intel_assets.world import world_clock
from intel_assets_tests.e2e.commands import Answer, Intel, assert_short

pytestmark = pytest.mark.slow


@pytest.fixture
def listed(intel: Intel) -> str:
    """An address that the feed lists, in a lake whose gold tables are made."""
    assert intel("run", "ipsum").code == 0
    told = intel(
        "sql",
        "SELECT indicator FROM aggregated.indicators WHERE status = 'active' AND "
        "indicator_type = 'ipv4' AND NOT suppressed ORDER BY confidence DESC, 1 LIMIT 1",
        "--format",
        "csv",
    )
    return told.out.splitlines()[1]


def blocked(intel: Intel) -> list[str]:
    answer = intel("export", "blocklist", "--min-confidence", "0")
    assert answer.code == 0
    return [line for line in answer.out.splitlines() if not line.startswith("#")]


def watched(intel: Intel) -> list[str]:
    """Return what the alert rules say of the watch-list."""
    settings = load_settings()
    with open_instance(settings) as instance:
        facts = gather(instance, registry.load(["ipsum"]), settings, world_clock(settings)())
    return [one.message for one in judge(facts).findings if one.rule == "watched_indicator"]


def test_what_is_allowed_is_suppressed_with_its_reason_and_leaves_no_more(
    intel: Intel, listed: str
):
    assert listed in blocked(intel)
    defanged = listed.replace(".", "[.]")
    assert intel("allow", defanged, "--reason", "our own", "--owner", "ann").code == 0
    assert "suppressed by allowlist:ann: our own: " in intel("lookup", listed).out
    assert listed not in blocked(intel)
    (entry,) = json.loads(intel("allow", "--json").out)
    assert (entry["value"], entry["indicators"], entry["owner"]) == (listed, 1, "ann")
    assert intel("allow", listed, "--remove").code == 0
    assert listed in blocked(intel)


def test_what_is_watched_for_raises_an_alert_until_it_is_struck(intel: Intel, listed: str):
    assert watched(intel) == []
    assert intel("watch", listed, "--reason", "our office", "--owner", "ann").code == 0
    assert watched(intel) == [f"ipsum tells of {listed}, which ann watches for: our office."]
    assert intel("watch", listed, "--remove").code == 0
    assert watched(intel) == []


def test_an_indicator_is_asked_about_once_and_then_known(intel: Intel, listed: str):
    first = intel("enrich", listed, "--with", "abuseipdb_check")
    assert first.code == 0
    assert "abuseipdb_check: 1 asked." in first.err
    assert "confidence" in first.out
    assert "1 answered before" in intel("enrich", listed, "--with", "abuseipdb_check").err
    assert "  abuseipdb_check, asked on " in intel("lookup", listed).out
    told = json.loads(intel("enrich", listed, "--with", "abuseipdb_check", "--json").out)
    assert told["outcomes"] == {"abuseipdb_check": {listed: "fresh"}}
    assert told["answers"][0]["indicator"] == listed


def test_what_is_published_is_replaced_only_by_what_can_be_believed(
    intel: Intel, listed: str, tmp_path: Path
):
    folder = tmp_path / "out"
    assert intel("export", "publish", "--out", str(folder)).code == 0
    before = (folder / "block-addresses.txt").read_text()
    assert len(before.splitlines()) > 20
    assert intel("allow", "0.0.0.0/0", "--reason", "a slip").code == 0
    refused = intel("export", "publish", "--out", str(folder))
    assert_short(refused, 5)
    assert "stays as it was" in refused.err
    assert (folder / "block-addresses.txt").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["allow", "198.18.0.1"], "needs a reason"),
        (["allow", "nonsense", "--reason", "x"], "'nonsense' is no indicator"),
        (["allow", "198.18.0.1", "--reason", "x", "--until", "2020-01-01"], "has passed"),
        (["decay", "--tau", "3"], "No type is given"),
        (["decay", "ipv4", "--reason", "x"], "Nothing is said of it"),
        (["decay", "ipv4", "--tau", "3"], "needs a reason"),
        (["decay", "ipv5", "--tau", "3", "--reason", "x"], "no type 'ipv5'"),
        (["watch", "--remove"], "No value is given"),
        (["watch", "-f", "nowhere.txt", "--reason", "x"], "There is no file"),
        (["enrich", "nonsense"], "no indicator"),
        (["enrich", "198.18.0.1", "--with", "ipsum"], "not asked of indicators"),
        (["enrich", "198.18.0.1", "--with", "nobody"], "There is no source"),
    ],
)
def test_what_makes_no_sense_is_explained(intel: Intel, arguments: list[str], said: str):
    answer: Answer = intel(*arguments)
    assert_short(answer, 2)
    assert said in answer.err


def test_how_indicators_grow_old_is_shown_said_and_taken_back(intel: Intel):
    said = intel("decay", "ipv4", "--tau", "30", "--reason", "they move on")
    assert said.out == "ipv4: tau 30 days, delta 2, expired below 30.\n"
    (row,) = [row for row in json.loads(intel("decay", "--json").out) if row["is_own"]]
    assert (row["indicator_type"], row["tau_days"]) == ("ipv4", 30.0)
    back = intel("decay", "ipv4", "--reset", "--reason", "as it was")
    assert back.out == "ipv4: tau 60 days, delta 2, expired below 30.\n"
    assert "yes" not in intel("decay").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["allow", "198.18.0.1", "--reason", "x"],
        ["decay", "ipv4", "--tau", "9", "--reason", "x"],
        ["enrich", "198.18.0.1", "--with", "abuseipdb_check"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_file_of_views_still_answers_when_a_table_comes_to_be(
    intel: Intel, listed: str, arguments: list[str]
):
    assert intel(*arguments).code == 0
    with duckdb.connect(str(Path(load_settings().lake) / SHIPPED_NAME), read_only=True) as con:
        extensions.load(con, "delta")
        query = "SELECT count(*) FROM aggregated.indicators WHERE indicator = ?"
        assert con.execute(query, [listed]).fetchone() == (1,)


def test_a_list_without_an_entry_says_so(intel: Intel):
    assert intel("source", "list").code == 0
    answer = intel("allow")
    assert (answer.code, answer.err.strip()) == (0, "The allow-list is empty.")
