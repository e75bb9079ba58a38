"""Freshness: how old a table's newest partition may be. Dagster concept: freshness policies.

It says whether anything came lately; that there are no holes further back is what coverage says.
https://docs.dagster.io/guides/observe/asset-freshness-policies
"""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from intel_assets.sources.spec import SourceSpec

_RUN = timedelta(minutes=15)
"""What a run may take, waiting included."""


def of_source(spec: SourceSpec) -> dg.FreshnessPolicy | None:
    """Return the policy of a source's tables: a tick may be missed, two may not.

    What is asked on demand has none.
    """
    if spec.kind == "lookup":
        return None
    every = max(spec.longest_wait, spec.calendar.longest_pause)
    return dg.FreshnessPolicy.time_window(fail_window=3 * every + _RUN, warn_window=every + _RUN)


def of_gold() -> dg.FreshnessPolicy:
    """Return the policy of tables that follow others, some of which come once a day."""
    day = timedelta(days=1)
    return dg.FreshnessPolicy.time_window(fail_window=2 * day, warn_window=day + _RUN)
