"""The feeds, and what the gold tables of threat intelligence have in common."""

from __future__ import annotations

from importlib.resources import files

from intel_assets.sources import registry
from intel_assets.sources.spec import SourceSpec
from intel_assets.threat.model import IndicatorRecord

OWNER = "team:threat-intelligence"


def feeds() -> list[SourceSpec]:
    """Return the feeds whose cleaned records are indicators."""
    return [
        spec
        for spec in registry.load()
        if spec.domain == "threat" and issubclass(spec.cleaned.model, IndicatorRecord)
    ]


def telling(every: list[SourceSpec]) -> list[SourceSpec]:
    """Return the feeds that tell by themselves; a lookup tells only what it is asked of."""
    return [spec for spec in every if spec.kind != "lookup"]


def sql(name: str) -> str:
    """Return the SQL of a table."""
    return files("intel_assets.threat").joinpath(f"sql/{name}.sql").read_text("utf-8")
