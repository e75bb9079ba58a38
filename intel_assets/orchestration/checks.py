"""Checks: what is looked at in every partition. Dagster concept: asset checks.

They belong to the source's asset and are yielded by it with their partition: Dagster skips a
separate check step on materializations that are yielded one by one.
https://docs.dagster.io/guides/test/asset-checks
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from intel_assets.sources.results import DayResult
from intel_assets.sources.spec import SourceSpec


def check_specs(spec: SourceSpec) -> list[dg.AssetCheckSpec]:
    """Return the checks of a source's assets."""
    return [
        dg.AssetCheckSpec(
            "schema_drift",
            asset=["raw", spec.name],
            description="The source brings no column that its contract does not know.",
        ),
        dg.AssetCheckSpec(
            "contract",
            asset=["cleaned", spec.name],
            blocking=True,
            description="What is stored keeps the contract, and not too many rows were rejected.",
        ),
    ]


def evaluations(spec: SourceSpec, day: DayResult) -> Iterator[dg.AssetCheckEvaluation]:
    """Say how the checks of a day came out."""
    for check in day.checks:
        yield dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey([check.layer, spec.name]),
            check_name=check.name,
            passed=check.passed,
            partition=day.day.isoformat(),
            severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
            description=check.description,
            metadata=dict(check.numbers),
            blocking=check.blocking,
        )
