"""The gold tables of threat intelligence: what the feeds say together.

A module for each family of tables: their columns, and how they are made. Their SQL is in ../sql.
"""

from __future__ import annotations

from intel_assets.sources.gold import GoldSpec
from intel_assets.threat.gold import feeds_daily, indicators, sightings
from intel_assets.threat.gold.feeds import feeds

FAMILIES = (feeds_daily, sightings, indicators)
"""The modules; each makes its tables of the feeds that there are."""


def gold() -> list[GoldSpec]:
    """Return the gold tables that are stored."""
    every = feeds()
    return [spec for family in FAMILIES for spec in family.tables(every)]


__all__ = ["FAMILIES", "feeds", "gold"]
