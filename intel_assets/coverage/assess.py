"""An assessment: the states of all expected days at one moment, and their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any

import polars as pl
from cronsim import CronSim

from intel_assets.coverage import findings
from intel_assets.coverage.evidence import Evidence, Records, first_days, gather, together
from intel_assets.coverage.expected import expected
from intel_assets.coverage.plan import Ask, requests
from intel_assets.coverage.states import RUNNING, states
from intel_assets.coverage.tables import ATTEMPTS, COVERAGE
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Table
from intel_assets.sources.spec import SourceSpec
from intel_assets.sources.switches import Off

_AT_ONCE = 6
NOTHING_RUNS = pl.DataFrame(schema=RUNNING)


@dataclass(frozen=True)
class Assessment:
    """How everything stands at a moment.

    Attributes:
        states: A row for each expected day (`states.STATES`), and `since` when it has stood so.
        health: How each source answers (`findings.health`).
        evidence: What it was read from, but for the partitions: they are many.
    """

    now: datetime
    states: pl.DataFrame
    health: pl.DataFrame
    evidence: Evidence

    @property
    def probe_at(self) -> Mapping[str, datetime]:
        """For sources that are down, when one may be asked again."""
        down = self.health.filter(pl.col("probe_at").is_not_null())
        return dict(down.select("source", "probe_at").iter_rows())


def assess(
    layout: Layout,
    specs: Sequence[SourceSpec],
    now: datetime,
    *,
    off: Mapping[str, Off],
    running: pl.DataFrame = NOTHING_RUNS,
    since: date | None = None,
) -> Assessment:
    """Say how every expected day of some sources stands.

    Args:
        layout: The lake.
        specs: The sources.
        now: The present moment.
        off: The sources that are not to be asked, and why.
        running: The ranges that runs are at (`states.RUNNING`).
        since: No day before this is expected; None for no such bound.

    Raises:
        StorageError: If the lake cannot be read.
    """
    records = Records(layout)

    def judge(some: Sequence[SourceSpec]) -> Assessment:
        evidence = gather(records, some)
        days = expected(some, now, first_days(evidence), since)
        found = states(days, findings.all_of(evidence, some), off, running, now)
        before = evidence.history.select("source", "day", was="state", was_since="since")
        same = pl.col("state") == pl.col("was")
        with_since = found.join(before, on=["source", "day"], how="left").select(
            *found.columns, since=pl.when(same).then("was_since").otherwise(pl.lit(now))
        )
        health = findings.health(evidence.fetches, some)
        kept = replace(evidence, partitions=evidence.partitions.clear())
        return Assessment(now, with_since, health, kept)

    # A few sources at a time: what is put aside on the way is small then.
    named = sorted(specs, key=lambda spec: spec.name)
    parts = [named[n : n + _AT_ONCE] for n in range(0, len(named), _AT_ONCE)] or [named]
    with ThreadPoolExecutor(2) as pool:
        judged = list(pool.map(judge, parts))
    return Assessment(
        now,
        pl.concat([part.states for part in judged]),
        pl.concat([part.health for part in judged]),
        together([part.evidence for part in judged]),
    )


def record(layout: Layout, assessment: Assessment) -> int:
    """Write into `ops.coverage` the days that stand another way than it says; return how many."""
    compared = ["state", "reason", "deadline", "remedy", "attempts", "rows"]
    keys = ["source", "day"]
    now = assessment.states.select(*keys, *compared, "since")
    known = assessment.evidence.history.select(*keys, *compared)
    changed = now.join(known, on=[*keys, *compared], how="anti", nulls_equal=True).with_columns(
        recorded_at=pl.lit(assessment.now)
    )
    Table(layout, COVERAGE).append(COVERAGE.conform(changed), {"source": "coverage"})
    return changed.height


def record_attempts(layout: Layout, asks: Mapping[str, Ask], now: datetime) -> None:
    """Write planned runs into `ops.attempts`, by their run keys, before they are launched."""
    rows: list[dict[str, Any]] = [
        {
            "source": ask.source,
            "first": ask.first,
            "last": ask.last,
            "attempt": ask.attempt,
            "kind": ask.kind,
            "run_key": key,
            "requests": ask.requests,
            "why": ask.why,
            "planned_at": now,
        }
        for key, ask in asks.items()
    ]
    Table(layout, ATTEMPTS).append(pl.DataFrame(rows, schema=ATTEMPTS.schema), {"source": "plan"})


def quota_used(fetches: pl.DataFrame, specs: Sequence[SourceSpec], now: datetime) -> pl.DataFrame:
    """Return what is used of each quota: `source, period` (its first day), `used, allowed`."""
    rows = []
    for spec in specs:
        if spec.quota is not None:
            since = spec.quota.since(now)
            ours = (pl.col("source") == spec.name) & (pl.col("received_at") >= since)
            used = int(fetches.filter(ours)["attempts"].sum())
            rows.append((spec.name, since.date(), used, spec.quota.requests))
    schema = {"source": pl.String, "period": pl.Date, "used": pl.Int64, "allowed": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def quota_left(fetches: pl.DataFrame, specs: Sequence[SourceSpec], now: datetime) -> dict[str, int]:
    """Return, for sources with a quota, the requests that are left for gaps.

    What the source's own cadence needs until the quota is renewed is kept for it, up to half.

    Args:
        fetches: The requests that were made.
        specs: The sources.
        now: The present moment.
    """
    used = dict(quota_used(fetches, specs, now).select("source", "used").iter_rows())
    return {
        spec.name: max(
            0,
            spec.quota.requests
            - used[spec.name]
            - min(_ticks_left(spec, now) * of_a_tick(spec), spec.quota.requests // 2),
        )
        for spec in specs
        if spec.quota is not None
    }


def of_a_tick(spec: SourceSpec) -> int:
    """Return how many requests one tick of a source's own cadence makes."""
    today = date.min + timedelta(days=spec.late_days)
    return requests(spec, date.min, today) if spec.kind == "event" else 1


def _ticks_left(spec: SourceSpec, now: datetime) -> int:
    ends = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    if spec.quota is not None and spec.quota.per == "month":
        ends = (now.replace(day=1) + timedelta(days=32)).replace(
            day=1, hour=0, minute=0, second=0, microsecond=0
        )
    most = spec.quota.requests if spec.quota else 0
    return sum(tick < ends for tick in islice(CronSim(spec.cadence, now), most))
