"""Standing checks: whether a source has gaps, and days that nobody tries any more.

They judge the whole source and not one partition, so that a failure that was retried for the last
time does not fall silent. The gap sensor reports them when they change; they can also be run.
Dagster concept: asset checks. https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import dagster as dg
import polars as pl

from intel_assets.coverage.assess import Assessment, assess
from intel_assets.engine import sources_off
from intel_assets.lakehouse.tables import day_ranges
from intel_assets.orchestration.inflight import in_flight, ranges
from intel_assets.settings import load_settings
from intel_assets.sources.spec import SourceSpec
from intel_assets.world import world_clock

NO_GAPS = "no_gaps"
NONE_FAILED = "no_partitions_left_failed"
LOST_IS_NEWS = timedelta(days=30)
"""How long a day that was lost counts as a gap; later nothing can be done about it."""

_SHOWN = 20


def standing_checks(specs: Sequence[SourceSpec]) -> dg.AssetChecksDefinition:
    """Return the standing checks of all sources."""

    @dg.multi_asset_check(name="standing_checks", specs=list(_specs(specs)), can_subset=True)
    def judge(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        settings = load_settings()
        found = assess(
            settings.layout,
            specs,
            world_clock(settings)(),
            off=sources_off(settings, specs),
            running=ranges(in_flight(context.instance)),
            since=settings.history_from,
        )
        wanted = context.selected_asset_check_keys
        for one in evaluations(found, specs):
            if dg.AssetCheckKey(one.asset_key, one.check_name) in wanted:
                yield dg.AssetCheckResult(
                    asset_key=one.asset_key,
                    check_name=one.check_name,
                    passed=one.passed,
                    severity=one.severity,
                    description=one.description,
                    metadata=dict(one.metadata),
                )

    return judge


def evaluations(
    assessment: Assessment, specs: Iterable[SourceSpec]
) -> Iterator[dg.AssetCheckEvaluation]:
    """Say how the standing checks of each source come out."""
    recent = pl.col("day") >= (assessment.now - LOST_IS_NEWS).date()
    left = pl.col("remedy") == "person"
    open_gap = (pl.col("state") == "missing") & ~left
    lost = (pl.col("state") == "lost") & recent
    for spec in specs:
        ours = assessment.states.filter(pl.col("source") == spec.name)
        counts = dict(ours.group_by("state").len().iter_rows())
        yield _evaluation(spec, NO_GAPS, ours.filter(open_gap | lost), counts)
        yield _evaluation(spec, NONE_FAILED, ours.filter(left), counts)


def _specs(specs: Iterable[SourceSpec]) -> Iterator[dg.AssetCheckSpec]:
    for spec in specs:
        asset = ["raw", spec.name]
        yield dg.AssetCheckSpec(
            NO_GAPS,
            asset=asset,
            description="Every expected day is there, or was lost more than 30 days ago, or the "
            "source itself says that it does not have it.",
        )
        yield dg.AssetCheckSpec(
            NONE_FAILED, asset=asset, description="No day waits for a person to look at it."
        )


def _evaluation(
    spec: SourceSpec, name: str, bad: pl.DataFrame, counts: dict[str, int]
) -> dg.AssetCheckEvaluation:
    found = day_ranges(bad["day"])
    named = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more ranges" if len(found) > _SHOWN else ""
    first = bad.row(0, named=True) if bad.height else None
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(["raw", spec.name]),
        check_name=name,
        passed=bad.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{bad.height} days: {named}{more}. The first: {first['reason']}."
        if first
        else "No day.",
        metadata={"days": bad.height, **{state: int(n) for state, n in sorted(counts.items())}},
    )
