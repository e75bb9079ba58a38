"""Jobs: a source as something to launch. Dagster concept: asset jobs.

https://docs.dagster.io/guides/build/jobs/asset-jobs
"""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from intel_assets.orchestration.checks import check_specs
from intel_assets.orchestration.partitions import daily
from intel_assets.sources.gold import GoldSpec
from intel_assets.sources.spec import SourceSpec

GOLD = "gold"
GOLD_WHOLE = "gold_whole"


def source_job(spec: SourceSpec) -> dg.UnresolvedAssetJobDefinition:
    """Return the job that takes days of a source through all its layers."""
    contracts = [spec.raw, spec.cleaned, *(aggregate.contract for aggregate in spec.aggregates)]
    keys = [dg.AssetKey([contract.layer, contract.name]) for contract in contracts]
    checks = [check.key for check in check_specs(spec)]
    return dg.define_asset_job(
        spec.name,
        # The standing checks judge the whole source: they do not come along with every day.
        selection=dg.AssetSelection.assets(*keys).without_checks()
        | dg.AssetSelection.checks(*checks),
        partitions_def=daily(spec),
        description=f"Takes days of {spec.title} from the source through raw, cleaned, aggregated.",
        tags={"source": spec.name, "domain": spec.domain},
    )


def gold_jobs(specs: Sequence[GoldSpec]) -> list[dg.UnresolvedAssetJobDefinition]:
    """Return the jobs that build days of gold tables, and those that are made as a whole.

    They are two: a day is told without a step's output, and what hangs on one would be left out.
    """
    days = "Builds days of the tables that are made of several sources."
    wholes = "Builds the tables over all days, each after those that it is made of."
    return [
        dg.define_asset_job(
            name,
            selection=dg.AssetSelection.assets(*keys).without_checks(),
            description=description,
        )
        for name, grain, description in ((GOLD, "day", days), (GOLD_WHOLE, "whole", wholes))
        if (keys := [dg.AssetKey(["aggregated", one.name]) for one in specs if one.grain == grain])
    ]
