"""Findings: what the evidence says of each day and of each source. Pure functions over frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import polars as pl

from intel_assets.coverage.evidence import Evidence
from intel_assets.lakehouse.contracts import INSTANT
from intel_assets.sources.journal import ANSWERS_FROM, ANSWERS_TO
from intel_assets.sources.spec import SourceSpec

GOOD = ("complete", "empty")
PAUSES = tuple(timedelta(minutes=15) * 4**n for n in range(5))
"""How long to wait after the first attempt, after the second and so on: the last is 64 hours."""

_ANSWERED = ("fetched", "not_modified", "not_published")
_DAY = ["source", "day"]


def stretches(fetches: pl.DataFrame) -> pl.DataFrame:
    """Return the stretches of event time that folded bodies answer for: `source, since, until`.

    A body answers for nothing after the moment it was received. Stretches that touch are one.
    """
    ours = pl.col("since"), pl.col("until").cum_max().over("source").alias("reach")
    return (
        fetches.filter(pl.col("folded_at").is_not_null(), pl.col("covers_from").is_not_null())
        .select(
            "source",
            since=ANSWERS_FROM,
            until=pl.min_horizontal(ANSWERS_TO, "received_at"),
        )
        .filter(pl.col("until") > pl.col("since"))
        .sort("source", "since", "until")
        .with_columns(*ours)
        .with_columns(
            fresh=(pl.col("since") > pl.col("reach").shift(1).over("source")).fill_null(True)
        )
        .with_columns(stretch=pl.col("fresh").cum_sum().over("source"))
        .group_by("source", "stretch")
        .agg(pl.col("since").min(), pl.col("until").max())
        .drop("stretch")
        .sort("source", "since")
    )


def snapshots(fetches: pl.DataFrame) -> pl.DataFrame:
    """Return in how many hours of each day a body was received that speaks of it.

    The day is the one that the body is the snapshot of: a request that was made before midnight
    and answered after it brings the next day's.
    """
    return (
        fetches.filter(pl.col("folded_at").is_not_null(), pl.col("covers_from").is_not_null())
        .filter(ANSWERS_FROM < ANSWERS_TO)
        .group_by("source", day=ANSWERS_FROM.dt.date())
        .agg(taken=pl.col("received_at").dt.hour().n_unique().cast(pl.Int64))
    )


def standing(partitions: pl.DataFrame, present: pl.DataFrame) -> pl.DataFrame:
    """Return what stands of each day.

    Returns:
        `source, day, layers` (tables that were last said to be good), `gone` (those of them whose
        files are not there), `rows` (of raw), `good_at` (when it was last accepted), `rejected`
        (why the day is refused; null if it is not), `rejected_by` (the code that refused it),
        `outcome`, `message` and `told_at` (of the last attempt at raw).
    """
    keys = ["source", "layer", "name", "day"]
    is_good, raw = pl.col("state").is_in(GOOD), pl.col("layer") == "raw"
    rows = partitions.sort("recorded_at")
    newest = rows.unique(keys, keep="last")
    before = rows.filter(is_good).join(newest.filter(~is_good), on=keys, how="semi")
    good = pl.concat([newest.filter(is_good), before.unique(keys, keep="last")])
    files = present.with_columns(there=pl.lit(True))
    held = good.join(files, on=keys, how="left").with_columns(
        gone=pl.col("there").is_null() & (pl.col("rows") > 0)
    )
    stands = held.group_by(_DAY).agg(
        layers=pl.len().cast(pl.Int64),
        gone=pl.col("gone").sum().cast(pl.Int64),
        rows=pl.col("rows").filter(raw).last(),
        # Raw of a day that is refused changes with every body, and is never good.
        good_at=pl.col("recorded_at").filter(pl.col("layer") == "cleaned").max(),
    )
    refused = newest.filter(pl.col("layer") == "cleaned", pl.col("state") == "rejected").select(
        *_DAY, rejected="message", rejected_by="code_version"
    )
    last = newest.filter(raw).select(
        *_DAY, outcome="state", message="message", told_at="recorded_at"
    )
    return stands.join(refused, on=_DAY, how="full", coalesce=True).join(
        last, on=_DAY, how="full", coalesce=True
    )


def tries(
    attempts: pl.DataFrame,
    fetches: pl.DataFrame,
    marks: pl.DataFrame,
    specs: Sequence[SourceSpec],
) -> pl.DataFrame:
    """Return how often each day was tried since it was last good, and from when it may be again.

    An attempt during which the source failed everybody, and answered nobody, is the source's
    failure and no attempt of the day; a probe of a source that is down is none either.

    Args:
        attempts: What was planned.
        fetches: What was asked.
        marks: When each day was last good, and last heard of (`marks`).
        specs: The sources.

    Returns:
        `source, day, fetches, fetch_at` (from when it may be asked for again), `replays`,
        `replay_at` (from when it may be built from landing again) and `silent` (attempts since
        anything was last heard of the day: its runs broke).
    """
    judged = _judged(attempts, fetches, specs)
    days = (
        judged.with_columns(day=pl.date_ranges("first", "last"))
        .explode("day")
        .join(marks, on=_DAY, how="left")
    )

    def since(mark: str) -> pl.Expr:
        return pl.col("counted") & (pl.col(mark).is_null() | (pl.col("planned_at") > pl.col(mark)))

    counted, replay = since("good_at"), pl.col("kind") == "replay"
    waits = pl.lit(pl.Series(PAUSES, dtype=pl.Duration("us")))

    def next_at(count: str, last: str) -> pl.Expr:
        pause = waits.gather(pl.col(count).clip(1, len(PAUSES)) - 1)
        return (pl.col(last) + pause).cast(INSTANT)

    return (
        days.group_by(_DAY)
        .agg(
            fetches=(counted & ~replay).sum().cast(pl.Int64),
            replays=(counted & replay).sum().cast(pl.Int64),
            silent=since("told_at").sum().cast(pl.Int64),
            fetched=pl.col("planned_at").filter(~replay).max(),
            replayed=pl.col("planned_at").filter(replay).max(),
        )
        .select(
            *_DAY,
            "fetches",
            "replays",
            "silent",
            # Also a day that changes with every request is not asked for without a pause.
            fetch_at=next_at("fetches", "fetched"),
            replay_at=next_at("replays", "replayed"),
        )
    )


def _judged(
    attempts: pl.DataFrame, fetches: pl.DataFrame, specs: Sequence[SourceSpec]
) -> pl.DataFrame:
    """Say of each attempt whether it is `counted`."""
    limits = pl.DataFrame(
        [(spec.name, spec.time_limit) for spec in specs],
        schema={"source": pl.String, "time_limit": pl.Duration("us")},
        orient="row",
    )
    answered = fetches.filter(pl.col("outcome").is_in(_ANSWERED)).select(
        "source", answered_at="received_at"
    )
    failed = fetches.filter(pl.col("outcome") == "failed").select("source", failed_at="received_at")
    judged = attempts.join(limits, on="source").sort("planned_at")
    for moments, name in ((answered, "answered_at"), (failed, "failed_at")):
        judged = judged.join_asof(
            moments.sort(name),
            left_on="planned_at",
            right_on=name,
            by="source",
            strategy="forward",
            check_sortedness=False,
        )
    soon = pl.col("planned_at") + pl.col("time_limit")
    excused = (pl.col("failed_at") <= soon) & ~(pl.col("answered_at") <= soon).fill_null(False)
    # Building again from landing asks nobody, so nobody's failure excuses it.
    asked = (pl.col("kind") == "fetch") & ~excused.fill_null(False)
    return judged.with_columns(counted=asked | (pl.col("kind") == "replay"))


def marks(stands: pl.DataFrame, history: pl.DataFrame) -> pl.DataFrame:
    """Return when each day was last good, and last heard of: `source, day, good_at, told_at`.

    Good by what was written into its tables, and by how it was seen to stand: what is built again
    as it was is not written anew.
    """
    written = stands.select(*_DAY, "good_at", "told_at")
    seen = history.select(*_DAY, good_at="good_at", told_at="good_at")
    times = [pl.col(name).max().cast(INSTANT) for name in ("good_at", "told_at")]
    return pl.concat([written, seen]).group_by(_DAY).agg(times)


def health(fetches: pl.DataFrame, specs: Sequence[SourceSpec]) -> pl.DataFrame:
    """Return how each source answers.

    Returns:
        `source, last_success, failures` (runs in a row that got nothing), `failed_at, error`,
        `probe_at` (when one that is down may be asked again; null for one that is not).
    """
    ours = fetches.filter(pl.col("outcome") != "landed").sort("received_at")
    success = (
        ours.filter(pl.col("outcome").is_in(_ANSWERED))
        .group_by("source")
        .agg(last_success=pl.col("received_at").max())
    )
    since = ours.filter(pl.col("outcome") == "failed").join(success, on="source", how="left")
    down = (
        since.filter(
            pl.col("last_success").is_null() | (pl.col("received_at") > pl.col("last_success"))
        )
        .group_by("source")
        .agg(
            failures=pl.col("run_id").n_unique().cast(pl.Int64),
            failed_at=pl.col("received_at").max(),
            error=pl.col("error").sort_by("received_at").last(),
            error_class=pl.col("error_class").sort_by("received_at").last(),
        )
    )
    pause = pl.duration(minutes=5 * 2 ** (pl.col("failures").clip(1, 5) - 1)).clip(
        upper_bound=timedelta(hours=1)
    )
    names = pl.DataFrame({"source": [spec.name for spec in specs]}, schema={"source": pl.String})
    return (
        names.join(success, on="source", how="left")
        .join(down, on="source", how="left")
        .with_columns(
            failures=pl.col("failures").fill_null(0), probe_at=pl.col("failed_at") + pause
        )
    )


def flags(checks: pl.DataFrame) -> pl.DataFrame:
    """Return the days that a check calls collapsed or stale, with what it found."""
    failed = checks.filter(~pl.col("passed"))
    short = (pl.col("name") == "volume") & (pl.col("value") < pl.col("usual"))
    collapsed = failed.filter(short).select(*_DAY, collapsed="description")
    stale = failed.filter(pl.col("name") == "staleness").select(*_DAY, stale="description")
    return collapsed.join(stale, on=_DAY, how="full", coalesce=True)


def all_of(evidence: Evidence, specs: Sequence[SourceSpec]) -> Mapping[str, pl.DataFrame]:
    """Return every finding by its name."""
    stands = standing(evidence.partitions, evidence.present)
    return {
        "stretches": stretches(evidence.fetches),
        "snapshots": snapshots(evidence.fetches),
        "standing": stands,
        "tries": tries(evidence.attempts, evidence.fetches, marks(stands, evidence.history), specs),
        "flags": flags(evidence.checks),
    }
