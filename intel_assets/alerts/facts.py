"""Facts: all that the rules look at, gathered by whoever knows it.

A fact that could not be gathered is None, which is not the same as an empty frame: rules that need
it are not judged, and their alerts neither open nor end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from intel_assets.lakehouse.contracts import INSTANT

_PAUSE = pl.Duration("us")

FRAMES: Mapping[str, pl.Schema] = {
    "states": pl.Schema(
        {
            "source": pl.String(),
            "day": pl.Date(),
            "state": pl.String(),
            "reason": pl.String(),
            "deadline": INSTANT,
            "remedy": pl.String(),
            "attempts": pl.Int64(),
            "rows": pl.Int64(),
            "since": INSTANT,
        }
    ),
    "fetches": pl.Schema(
        {
            "source": pl.String(),
            "outcome": pl.String(),
            "status": pl.Int64(),
            "error_class": pl.String(),
            "error": pl.String(),
            "attempts": pl.Int64(),
            "started_at": INSTANT,
            "received_at": INSTANT,
        }
    ),
    "sources": pl.Schema(
        {
            "source": pl.String(),
            "kind": pl.String(),
            "every": _PAUSE,
            "longest_pause": _PAUSE,
            "enabled": pl.Boolean(),
            "since": INSTANT,
            "last_success": INSTANT,
            "last_good_run": INSTANT,
        }
    ),
    "checks": pl.Schema(
        {
            "source": pl.String(),
            "day": pl.Date(),
            "name": pl.String(),
            "passed": pl.Boolean(),
            "description": pl.String(),
            "value": pl.Float64(),
            "usual": pl.Float64(),
            "recorded_at": INSTANT,
        }
    ),
    "quota": pl.Schema(
        {"source": pl.String(), "period": pl.Date(), "used": pl.Int64(), "allowed": pl.Int64()}
    ),
    "failed_runs": pl.Schema(
        {"run_id": pl.String(), "source": pl.String(), "message": pl.String(), "at": INSTANT}
    ),
    "disk": pl.Schema({"place": pl.String(), "free_bytes": pl.Int64(), "total_bytes": pl.Int64()}),
    "watched": pl.Schema(
        {
            "watched": pl.String(),
            "owner": pl.String(),
            "reason": pl.String(),
            "indicator": pl.String(),
            "sources": pl.List(pl.String()),
            "last_day": pl.Date(),
        }
    ),
    "deliveries": pl.Schema(
        {
            "channel": pl.String(),
            "target": pl.String(),
            "outcome": pl.String(),
            "attempts": pl.Int64(),
            "error": pl.String(),
            "recorded_at": INSTANT,
        }
    ),
}
"""The columns of each frame; what a frame has besides is left out."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known at a moment. Columns and types are those of `FRAMES`.

    Attributes:
        now: The moment, aware, UTC.
        states: How the expected days stand: the newest row of each in `ops.coverage`. Days that
            are complete may be left out. `since` is since when it has been in that state.
        fetches: The requests of the last 24 hours or more, from `ops.fetches`. A row that stands
            there twice, because its body was folded, may stand here twice.
        sources: Every source. `every`: the time between two of its schedule's ticks.
            `longest_pause`: how long it may bring nothing without anything being wrong.
            `enabled`: neither disabled nor without its key. `since`: when it was switched on or
            first asked; null if unknown. `last_success`: the newest answer that was no failure,
            304 included; null if there is none. `last_good_run`: the end of the newest run of it
            that succeeded; null if there is none.
        checks: The newest outcome of each check of a day, from `ops.checks`. Those recorded in the
            last 24 hours are enough.
        quota: What was used of each quota in the period that is running now, no earlier ones;
            the newest row of each source in `ops.quota`.
        failed_runs: The runs that failed in the last 24 hours or more. `source` is empty for a run
            of the aggregated tables. `at` is when the run ended, in the time that `now` is in.
        disk: The file systems that are written to: a row for each place (the lake if it is a
            folder, the state folder); places on one file system should be one row.
        watched: What feeds told of yesterday or today that stands on the watch-list, from
            `aggregated.watchlist_hits`.
        deliveries: What became of messages; `alerts.engine.run` fills it in.
    """

    now: datetime
    states: pl.DataFrame | None = None
    fetches: pl.DataFrame | None = None
    sources: pl.DataFrame | None = None
    checks: pl.DataFrame | None = None
    quota: pl.DataFrame | None = None
    failed_runs: pl.DataFrame | None = None
    disk: pl.DataFrame | None = None
    watched: pl.DataFrame | None = None
    deliveries: pl.DataFrame | None = None

    def __post_init__(self) -> None:
        """Bring every frame to its columns and types.

        Raises:
            ValueError: If a frame lacks a column, or the moment has no zone.
        """
        if self.now.tzinfo is None:
            raise ValueError("the moment of the facts has no zone")
        object.__setattr__(self, "now", self.now.astimezone(UTC))
        for name, schema in FRAMES.items():
            frame: pl.DataFrame | None = getattr(self, name)
            if frame is None:
                continue
            absent = sorted(set(schema) - set(frame.columns))
            if absent:
                raise ValueError(f"the facts of {name} lack {', '.join(absent)}")
            object.__setattr__(self, name, frame.select(schema.names()).cast(schema))

    def of(self, name: str) -> pl.DataFrame:
        """Return a frame that a rule needs.

        Raises:
            LookupError: If it could not be gathered.
        """
        frame: pl.DataFrame | None = getattr(self, name)
        if frame is None:
            raise LookupError(name)
        return frame
