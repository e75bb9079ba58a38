"""The tables of coverage: how every day stood since when, and what was tried for it."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl

from intel_assets.lakehouse.contracts import Contract, Instant, field

STATES = (
    "complete",
    "empty",
    "missing",
    "lost",
    "collapsed",
    "stale",
    "rejected",
    "filling",
    "failed",
    "not_due",
    "disabled",
    "not_configured",
)
"""complete; empty: fetched, no records; missing: can still be had; lost: cannot any more;
collapsed: far fewer rows than usual; stale: a state feed's body that stays the same for too long;
rejected: a blocking check failed; filling: a run is at it; failed: attempts used up; not_due: its
time has not come; disabled and not_configured: the source is off."""

STANDING = ("complete", "empty", "collapsed", "stale")
"""The states in which all tables of a day stand."""

REMEDIES = ("none", "fetch", "replay", "person")
"""What makes the day good: nothing, asking the source, building it again from landing, or somebody
who looks."""


class CoverageRow(pa.DataFrameModel):
    """How an expected day of a source stands; a row each time that changes."""

    source: pl.String = field("The source, the partition of this table.")
    day: pl.Date = field("The expected day.")
    state: pl.String = field("How it stands.", isin=STATES)
    reason: pl.String = field("Why.", nullable=True)
    deadline: Instant = field("Until when it can be had; null is for ever.", nullable=True)
    remedy: pl.String = field("What makes it good.", isin=REMEDIES)
    attempts: pl.Int64 = field("How often it was tried, without success, to fill it.", ge=0)
    rows: pl.Int64 = field("Raw records that hold.", nullable=True)
    since: Instant = field("Since when it has stood in this state.")
    recorded_at: Instant = field("When this row was written.")


class AttemptRow(pa.DataFrameModel):
    """A run that was planned to fill a gap, written before it is launched."""

    source: pl.String = field("The source, the partition of this table.")
    first: pl.Date = field("First day of the range.")
    last: pl.Date = field("Last day of the range.")
    attempt: pl.Int64 = field("The how-manieth attempt it is.", ge=1)
    kind: pl.String = field("What is done.", isin=("fetch", "replay", "probe"))
    run_key: pl.String = field("Names the run: two runs never have the same.")
    requests: pl.Int64 = field("Requests that it needs if none has to be repeated.")
    why: pl.String = field("Why now.")
    planned_at: Instant = field("When it was planned.")


COVERAGE = Contract(
    "ops", "coverage", CoverageRow, "How every expected day stands.", partition_by=("source",)
)
ATTEMPTS = Contract(
    "ops", "attempts", AttemptRow, "What was tried to fill gaps.", partition_by=("source",)
)
