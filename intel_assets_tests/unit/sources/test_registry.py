"""Which sources there are."""

from __future__ import annotations

import subprocess
import sys

import pytest

from intel_assets.errors import UsageError
from intel_assets.sources import registry
from intel_assets.sources.registry import MODULES, known, load, names


def test_every_source_has_the_name_that_the_registry_reads_without_loading_it() -> None:
    assert [spec.name for spec in load()] == names()
    assert names() == sorted(set(names()))
    assert len(names()) == len(MODULES)


def test_sources_are_loaded_by_name_in_the_order_asked_for_and_once() -> None:
    assert [spec.name for spec in load(["urlhaus", "tweetfeed", "urlhaus"])] == [
        "urlhaus",
        "tweetfeed",
    ]


def test_a_source_that_is_nearly_named_is_suggested() -> None:
    with pytest.raises(UsageError, match="no source 'urlhause'. Did you mean 'urlhaus'?"):
        known("urlhause")
    with pytest.raises(
        UsageError,
        match="There are abuseipdb, .*, urlhaus, urlhaus_payloads, virustotal, warninglists",
    ):
        load(["urlhaus", "zzz"])
    assert known("urlhaus") == "urlhaus"


def test_a_source_that_does_not_load_fails_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MODULES", (*MODULES, "intel_assets.threat.gone"))
    with pytest.raises(ModuleNotFoundError):
        load()


def test_names_are_known_without_loading_a_source() -> None:
    program = (
        "import sys; from intel_assets.sources import registry; registry.names();"
        "print('polars' in sys.modules, 'intel_assets.threat.plain_lists' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", names())
def test_a_source_keeps_the_rules_of_names(name: str) -> None:
    (spec,) = load([name])
    assert (spec.raw.layer, spec.raw.name) == ("raw", spec.name)
    assert (spec.cleaned.layer, spec.cleaned.name) == ("cleaned", spec.name)
    daily = f"{spec.name}_daily" in [a.contract.name for a in spec.aggregates]
    # Of what is asked one by one, there is nothing to sum up.
    assert daily == (spec.kind != "lookup")
    assert all(a.contract.layer == "aggregated" for a in spec.aggregates)
    assert set(spec.cleaned.sources.values()) <= set(spec.raw.schema)
