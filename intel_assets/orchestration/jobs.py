"""Jobs: a source as something to launch. Dagster concept: asset jobs.

https://docs.dagster.io/guides/build/jobs/asset-jobs
"""

from __future__ import annotations

import dagster as dg

from intel_assets.orchestration.partitions import daily
from intel_assets.sources.spec import SourceSpec


def source_job(spec: SourceSpec) -> dg.UnresolvedAssetJobDefinition:
    """Return the job that takes days of a source through all its layers."""
    keys = [spec.raw, spec.cleaned, *(aggregate.contract for aggregate in spec.aggregates)]
    return dg.define_asset_job(
        spec.name,
        selection=[dg.AssetKey([contract.layer, contract.name]) for contract in keys],
        partitions_def=daily(spec),
        description=f"Takes days of {spec.title} from the source through raw, cleaned, aggregated.",
        tags={"source": spec.name, "domain": spec.domain},
    )
