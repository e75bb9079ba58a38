"""Checks: what is looked at in every partition. Dagster concept: asset checks.

They belong to the source's asset and are yielded by it with their partition: Dagster skips a
separate check step on materializations that are yielded one by one.
https://docs.dagster.io/guides/test/asset-checks
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from intel_assets.sources.results import CheckResult, DayResult
from intel_assets.sources.spec import SourceSpec

_SEVERITIES = {"error": dg.AssetCheckSeverity.ERROR, "warn": dg.AssetCheckSeverity.WARN}


def check_specs(spec: SourceSpec) -> list[dg.AssetCheckSpec]:
    """Return the checks of a source's assets."""
    found = [
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
        dg.AssetCheckSpec(
            "unique",
            asset=["cleaned", spec.name],
            description="Of every record, one version holds.",
        ),
        dg.AssetCheckSpec(
            "volume",
            asset=["raw", spec.name],
            description="The day has about as many rows as is usual.",
        ),
    ]
    if spec.kind == "state" and spec.stale_after is not None:
        found.append(
            dg.AssetCheckSpec(
                "staleness",
                asset=["raw", spec.name],
                description="The body changes as often as it should.",
            )
        )
    return found


def evaluations(spec: SourceSpec, day: DayResult) -> Iterator[dg.AssetCheckEvaluation]:
    """Say how the checks of a day came out."""
    for check in day.checks:
        yield dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey([check.layer, spec.name]),
            check_name=check.name,
            passed=check.passed,
            partition=day.day.isoformat(),
            severity=_SEVERITIES[check.severity],
            description=check.description,
            metadata={**check.numbers, **_measured(check)},
            blocking=check.blocking,
        )


def _measured(check: CheckResult) -> dict[str, float]:
    """Return what was measured and what is usual: Dagster plots them over the partitions."""
    found = {"value": check.value, "usual": check.usual}
    return {name: number for name, number in found.items() if number is not None}
