"""How long bodies are kept: those that said nothing new leave landing when their time is up.

Raw can be built again from landing at any time. So a body may only go if no day of raw would come
out otherwise without it: it opened no version and closed none. One that waits, that no parser has
understood yet, that another source received too, or that a later "not modified" may mean, stays
whatever its age.

What is gone is missed in two cases. A body that is landed by hand and is older than what has gone
is folded into what is left of its time. And a mended parser finds in a body that is gone nothing
that the old one did not see. Where that matters, `landing_days` is None.

A body goes in steps, a night apart: it is marked, and from then on no day is folded from it; it is
set aside; it is removed. Each step looks again whether it may go, and if not brings it back. So
no run that began before a step is still at work at the next, and a run that receives the body
again meanwhile has it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from intel_assets.lakehouse.contracts import INSTANT
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.ops import FETCHES, PARTITIONS, Journal
from intel_assets.lakehouse.purges import PURGES, Purges, without
from intel_assets.lakehouse.tables import Table
from intel_assets.sources import journal as journals
from intel_assets.sources.spec import SourceSpec

logger = logging.getLogger(__name__)

STEP = timedelta(hours=20)
"""The least time between two steps: longer than any run, and less than a day."""

MOST = 5_000
"""How many bodies of a source are marked at once."""

_UNDER_WAY = pl.col("stage").is_in(["marked", "aside"])
_HELD = pl.col("outcome").is_in(["fetched", "landed", "not_modified"])
_BODY = pl.col("body_sha256")


@dataclass(frozen=True)
class Purged:
    """What happened to the bodies of a source.

    Attributes:
        marked: Bodies that no day is folded from any more.
        aside: Bodies that were set aside.
        gone: Bodies that were removed.
        kept: Bodies that stay after all.
        freed: Bytes that became free.
        skipped: Why nothing new was marked; None if nothing stood in the way.
    """

    source: str
    marked: int = 0
    aside: int = 0
    gone: int = 0
    kept: int = 0
    freed: int = 0
    skipped: str | None = None


def purge(lake: Lake, spec: SourceSpec, run_id: str = "", *, most: int = MOST) -> Purged:
    """Take the bodies of a source that may go one step further out of landing.

    It can be interrupted anywhere and done again, and runs of the source may be under way.

    Args:
        lake: The lake.
        spec: The source; it says how long its bodies are kept.
        run_id: The run that the rows of `ops.purges` name.
        most: How many bodies are marked at once.

    Raises:
        StorageError: If the lake cannot be written.
    """
    return _Purge(lake, spec, run_id).run(most)


class _Purge:
    """One source, one call."""

    def __init__(self, lake: Lake, spec: SourceSpec, run_id: str) -> None:
        self._lake = lake
        self._spec = spec
        self._run_id = run_id
        self._now = lake.clock()
        self._purges = Purges(lake.layout, spec.name)

    def run(self, most: int) -> Purged:
        standing = self._purges.standing()
        under_way = standing.filter(_UNDER_WAY)
        fetches = Journal(self._lake.layout, self._spec.name).fetches()
        fetches = without(fetches, standing.filter(pl.col("stage") == "gone"))
        bodies = (
            fetches.filter(_BODY.is_not_null())
            .group_by("body_sha256")
            .agg(
                fetches=pl.len().cast(pl.Int64),
                last_received=pl.col("received_at").max(),
            )
        )
        free = pl.Series("body_sha256", [], pl.String)
        skipped = None
        if self._spec.landing_days is not None:
            old = self._now - timedelta(days=self._spec.landing_days)
            free = said_nothing(fetches, old, self._now)
            skipped = self._hole() if free.len() else None
            free = free.clear() if skipped else self._unneeded(fetches, free)
        may_go = under_way.filter(_BODY.is_in(free.implode()))
        may_go = may_go.filter(pl.col("recorded_at") <= self._now - STEP)
        # A hole in raw is no reason to bring bodies back: nothing moves until it is mended.
        stay = under_way.filter(~_BODY.is_in(free.implode())) if skipped is None else may_go.clear()
        gone = self._remove(may_go.filter(pl.col("stage") == "aside"))
        aside = self._set_aside(may_go.filter(pl.col("stage") == "marked"))
        kept = self._keep(stay)
        new = free.filter(~free.is_in(under_way["body_sha256"].implode())).sort().head(most)
        marked = bodies.filter(_BODY.is_in(new.implode())).with_columns(
            source=pl.lit(self._spec.name), marked_at=pl.lit(self._now, INSTANT)
        )
        self._record(marked, "marked")
        done = Purged(
            self._spec.name,
            marked=marked.height,
            aside=aside,
            gone=gone.height,
            kept=kept,
            freed=int(gone["freed"].sum()),
            skipped=skipped,
        )
        logger.info(
            "%s: bodies marked %d, set aside %d, removed %d (%d bytes), kept %d%s",
            done.source,
            done.marked,
            done.aside,
            done.gone,
            done.freed,
            done.kept,
            f"; skipped: {skipped}" if skipped else "",
        )
        return done

    # -- steps -----------------------------------------------------------------------------------

    def _remove(self, steps: pl.DataFrame) -> pl.DataFrame:
        freed = [self._lake.landing.drop(sha256) for sha256 in steps["body_sha256"]]
        gone = steps.with_columns(freed=pl.Series(freed, dtype=pl.Int64))
        self._record(gone, "gone")
        return gone

    def _set_aside(self, steps: pl.DataFrame) -> int:
        for sha256 in steps["body_sha256"]:
            self._lake.landing.set_aside(sha256)
        self._record(steps, "aside")
        return steps.height

    def _keep(self, steps: pl.DataFrame) -> int:
        for sha256 in steps["body_sha256"]:
            self._lake.landing.put_back(sha256)
        self._record(steps, "kept")
        return steps.height

    def _record(self, steps: pl.DataFrame, stage: str) -> None:
        rows = steps.with_columns(
            stage=pl.lit(stage),
            freed=pl.col("freed") if "freed" in steps.columns else pl.lit(0, pl.Int64),
            run_id=pl.lit(self._run_id),
            recorded_at=pl.lit(self._now, INSTANT),
        )
        self._purges.record(PURGES.conform(rows), self._run_id)

    # -- what is needed --------------------------------------------------------------------------

    def _hole(self) -> str | None:
        """Say whether raw lacks days that it had: what is needed cannot be told from it then."""
        layout, spec = self._lake.layout, self._spec
        rows = Table(layout, PARTITIONS).read_columns(
            ["day", "rows", "recorded_at"],
            (pl.col("source") == spec.name) & (pl.col("layer") == "raw"),
        )
        newest = rows.sort("recorded_at").unique("day", keep="last")
        lost = (
            set(newest.filter(pl.col("rows") > 0)["day"]) - Table(layout, spec.raw).days_present()
        )
        if not lost:
            return None
        return f"raw.{spec.name} lacks {len(lost)} days that it had, the first is {min(lost)}"

    def _unneeded(self, fetches: pl.DataFrame, bodies: pl.Series) -> pl.Series:
        """Return the bodies that no version in raw and no other source depends on."""
        layout, spec = self._lake.layout, self._spec
        if bodies.is_empty():
            return bodies
        raw = Table(layout, spec.raw)
        opened = raw.read_columns(["body_sha256"], _BODY.is_in(bodies.implode()))
        moments = fetches.filter(_BODY.is_in(bodies.implode())).select("body_sha256", "received_at")
        times = moments["received_at"].unique()
        closed = raw.read_columns(["known_to"], pl.col("known_to").is_in(times.implode())).unique()
        closing = moments.join(closed, left_on="received_at", right_on="known_to", how="semi")
        others = Table(layout, FETCHES).read_columns(
            ["body_sha256"],
            (pl.col("source") != spec.name) & _BODY.is_in(bodies.implode()),
        )
        needed = pl.concat(
            [opened["body_sha256"], closing["body_sha256"], others["body_sha256"]]
        ).unique()
        return bodies.filter(~bodies.is_in(needed.implode()))


def said_nothing(fetches: pl.DataFrame, old: datetime, now: datetime) -> pl.Series:
    """Return the bodies that, by the journal, are old, said nothing new and are not wanted again.

    Args:
        fetches: All fetches of the source, in the order received.
        old: Bodies that came, or were folded, after that stay.
        now: The moment.
    """
    unread = pl.col("outcome").is_in(["fetched", "landed"]) & pl.col("parsed").is_null()
    said = pl.sum_horizontal("added", "changed", "withdrawn") > 0
    by_body = (
        fetches.filter(_BODY.is_not_null())
        .group_by("body_sha256")
        .agg(
            last=pl.max_horizontal(pl.col("received_at").max(), pl.col("recorded_at").max()),
            busy=(unread | said).any(),
        )
    )
    free = by_body.filter(pl.col("last") < old, ~pl.col("busy"))["body_sha256"]
    stay = [
        journals.waiting(fetches)["body_sha256"],
        _newest(fetches),
        # A run that began before the last body came may have asked whether the one before holds.
        _newest(fetches.filter(pl.col("received_at") < now - STEP)),
        _same_moment(fetches),
    ]
    return free.filter(~free.is_in(pl.concat(stay).unique().implode()))


def _newest(fetches: pl.DataFrame) -> pl.Series:
    """Return the last body of each address, and the last that was understood."""
    asked = pl.col("outcome").is_in(["fetched", "not_modified"])
    held = fetches.filter(asked, _BODY.is_not_null())
    understood = held.filter(pl.col("parsed").is_not_null() | (pl.col("status") == 304))
    return pl.concat(
        [
            rows.unique("url", keep="last", maintain_order=True)["body_sha256"]
            for rows in (held, understood)
        ]
    )


def _same_moment(fetches: pl.DataFrame) -> pl.Series:
    """Return bodies that came at one moment: what one said, the other may have unsaid at once."""
    held = fetches.filter(_HELD, pl.col("covers_from").is_not_null())
    return held.filter(_BODY.n_unique().over("received_at") > 1)["body_sha256"]
