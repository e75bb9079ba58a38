"""Partitions: how sources are sliced in time. Dagster concept: partitions definitions.

https://docs.dagster.io/guides/build/partitions-and-backfills
"""

from __future__ import annotations

import dagster as dg

from intel_assets.sources.spec import SourceSpec


def daily(spec: SourceSpec) -> dg.DailyPartitionsDefinition:
    """Return a source's days: from its first to today, which is already partly there."""
    return dg.DailyPartitionsDefinition(
        start_date=spec.start.isoformat(), timezone="UTC", end_offset=1
    )
