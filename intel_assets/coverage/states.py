"""States: how every expected day stands, and why. A pure function of what is expected and found."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from intel_assets.lakehouse.contracts import INSTANT
from intel_assets.sources.switches import Off

STATES = pl.Schema(
    {
        "source": pl.String(),
        "day": pl.Date(),
        "state": pl.String(),
        "reason": pl.String(),
        "deadline": INSTANT,
        "remedy": pl.String(),
        "attempts": pl.Int64(),
        "silent": pl.Int64(),
        "rows": pl.Int64(),
        "next_at": INSTANT,
    }
)
RUNNING = pl.Schema({"source": pl.String(), "first": pl.Date(), "last": pl.Date()})

_DAY = ["source", "day"]
_UNTRIED = ("missing", "failed")


def states(
    expected: pl.DataFrame,
    found: Mapping[str, pl.DataFrame],
    off: Mapping[str, Off],
    running: pl.DataFrame,
    now: datetime,
) -> pl.DataFrame:
    """Say how every expected day stands.

    Args:
        expected: The days (`expected.EXPECTED`).
        found: The findings (`findings.all_of`).
        off: The sources that are not to be asked.
        running: The ranges that runs are at (`RUNNING`).
        now: The present moment.

    Returns:
        A row for each expected day, in the columns of `STATES`; sorted by source and day.
    """
    days = _joined(expected, found, off, running)
    moment = pl.lit(now, INSTANT)
    covered = pl.col("covered_until") >= pl.col("ends")
    taken = pl.col("taken").fill_null(0) >= pl.col("slots")
    whole = pl.when(pl.col("kind") == "state").then(taken).otherwise(covered.fill_null(False))
    derived = (pl.col("standing_layers").fill_null(0) >= pl.col("layers")) & (
        pl.col("gone").fill_null(0) == 0
    )
    days = days.with_columns(whole=whole, derived=derived)
    refused = pl.col("rejected").is_not_null()
    torn = (pl.col("gone").fill_null(0) > 0) | (pl.col("whole") & ~pl.col("derived") & ~refused)
    # Other code may accept it; what stands in landing is tried with that as often as any other.
    outdated = refused & (pl.col("rejected_by") != pl.col("code_version"))
    outdated &= pl.col("replays") < pl.col("limit")
    # A day that is there was not tried in vain, whatever was asked in passing.
    tried = (
        pl.when(torn | outdated)
        .then("replays")
        .when(~pl.col("whole") | refused)
        .then("fetches")
        .otherwise(pl.lit(0))
    )
    days = days.with_columns(attempts=tried)
    used_up = pl.col("attempts") >= pl.col("limit")
    late = (pl.col("deadline") <= moment).fill_null(False)

    # The first that holds decides: state, remedy, reason.
    rules: list[tuple[pl.Expr, str, str, pl.Expr]] = [
        (torn & pl.col("filling"), "filling", "none", pl.lit("a run is at it")),
        (torn & used_up, "failed", "person", _torn() + _tried()),
        (torn, "missing", "replay", _torn()),
        (refused & pl.col("filling"), "filling", "none", pl.lit("a run is at it")),
        (outdated, "rejected", "replay", _old()),
        (refused & (used_up | late), "rejected", "person", pl.col("rejected") + _tried()),
        (refused & pl.col("off_state").is_null(), "rejected", "fetch", pl.col("rejected")),
        (refused, "rejected", "person", pl.col("rejected")),
        (pl.col("whole") & (pl.col("rows") == 0), "empty", "none", pl.lit("fetched; no records")),
        (
            pl.col("whole") & pl.col("collapsed").is_not_null(),
            "collapsed",
            "none",
            pl.col("collapsed"),
        ),
        (pl.col("whole") & pl.col("stale").is_not_null(), "stale", "none", pl.col("stale")),
        (pl.col("whole"), "complete", "none", pl.lit(None, pl.String)),
        (pl.col("off_state") == "disabled", "disabled", "none", pl.col("off_reason")),
        (pl.col("off_state") == "not_configured", "not_configured", "none", pl.col("off_reason")),
        (pl.col("filling"), "filling", "none", pl.lit("a run is at it")),
        (late, "lost", "none", _lost()),
        (pl.col("due") > moment, "not_due", "none", _not_due()),
        (used_up & (pl.col("outcome") == "missing"), "missing", "person", _unpublished()),
        (used_up, "failed", "person", _missing()),
    ]
    return (
        days.with_columns(
            state=_first([(when, pl.lit(state)) for when, state, _, _ in rules], pl.lit("missing")),
            remedy=_first(
                [(when, pl.lit(remedy)) for when, _, remedy, _ in rules], pl.lit("fetch")
            ),
            reason=_first([(when, reason) for when, _, _, reason in rules], _missing()),
        )
        .with_columns(
            # What stands in landing can be had for ever; what is lost has no deadline any more. A
            # day that nobody tries any more has one: until then somebody can.
            deadline=pl.when(
                (pl.col("remedy") == "fetch")
                | ((pl.col("remedy") == "person") & pl.col("state").is_in(_UNTRIED) & ~torn)
            ).then("deadline"),
            next_at=pl.when(pl.col("remedy") == "replay").then("replay_at").otherwise("fetch_at"),
        )
        .select(STATES.names())
        .cast(STATES)
        .sort(_DAY)
    )


def _joined(
    expected: pl.DataFrame,
    found: Mapping[str, pl.DataFrame],
    off: Mapping[str, Off],
    running: pl.DataFrame,
) -> pl.DataFrame:
    offs = pl.DataFrame(
        [(name, why.state, why.reason) for name, why in off.items()],
        schema={"source": pl.String, "off_state": pl.String, "off_reason": pl.String},
        orient="row",
    )
    filling = (
        running.with_columns(day=pl.date_ranges("first", "last"))
        .explode("day")
        .select(*_DAY, filling=pl.lit(True))
        .unique()
    )
    stretches = found["stretches"].sort("since").rename({"until": "covered_until"})
    return (
        expected.sort("begins")
        .join_asof(
            stretches,
            left_on="begins",
            right_on="since",
            by="source",
            strategy="backward",
            check_sortedness=False,
        )
        .with_columns(
            covered_until=pl.when(pl.col("covered_until") > pl.col("begins")).then("covered_until")
        )
        .join(found["snapshots"], on=_DAY, how="left")
        .join(found["standing"].rename({"layers": "standing_layers"}), on=_DAY, how="left")
        .join(found["tries"], on=_DAY, how="left")
        .join(found["flags"], on=_DAY, how="left")
        .join(filling, on=_DAY, how="left")
        .join(offs, on="source", how="left")
        .with_columns(
            pl.col("fetches", "replays", "silent").fill_null(0),
            pl.col("filling").fill_null(False),
        )
    )


def _first(rules: list[tuple[pl.Expr, pl.Expr]], otherwise: pl.Expr) -> pl.Expr:
    result = otherwise
    for when, then in reversed(rules):
        result = pl.when(when.fill_null(False)).then(then).otherwise(result)
    return result


# -- what is said of it -------------------------------------------------------------------------


def _torn() -> pl.Expr:
    return (
        pl.when(pl.col("gone").fill_null(0) > 0)
        .then(pl.format("{} of its tables lost their files; ", "gone"))
        .otherwise(pl.lit("a run died before every table was written; "))
        + "it can be built again from landing"
    )


def _tried() -> pl.Expr:
    said = pl.format("; tried {}", _times())
    return pl.when(pl.col("attempts") > 0).then(said).otherwise(pl.lit(""))


def _times() -> pl.Expr:
    many = pl.format("{} times", "attempts")
    return pl.when(pl.col("attempts") == 1).then(pl.lit("once")).otherwise(many)


def _old() -> pl.Expr:
    return pl.format("{}; the code has changed since", "rejected")


def _not_due() -> pl.Expr:
    return pl.format("due on {}", pl.col("due").dt.strftime("%Y-%m-%d %H:%M UTC"))


def _lost() -> pl.Expr:
    state = pl.lit("a state feed has no past to ask for") + pl.when(
        pl.col("taken").fill_null(0) > 0
    ).then(pl.lit("")).otherwise(pl.lit(", and that day nothing came"))
    event = pl.format(
        "the source reached back to it until {}",
        pl.col("deadline").dt.strftime("%Y-%m-%d %H:%M UTC"),
    )
    partly = pl.when(pl.col("kind") == "state").then(_slots()).otherwise(_until())
    return (
        partly
        + pl.when(pl.col("kind") == "state").then(state).otherwise(event)
        + _tried()
        + _last()
    )


def _unpublished() -> pl.Expr:
    return pl.format("the source has not published it: asked {}", _times())


def _missing() -> pl.Expr:
    """Say what is there of a day that is not whole, and what was tried."""
    partly = pl.when(pl.col("kind") == "state").then(_slots()).otherwise(_until())
    asked = (
        pl.when(pl.col("attempts") > 0)
        .then(pl.format("asked {}", _times()))
        .when(pl.col("message").is_not_null())
        .then(pl.lit("asked"))
        .otherwise(pl.lit("not asked for yet"))
    )
    until = (
        pl.when(pl.col("deadline").is_not_null())
        .then(
            pl.format(
                "; recoverable until {}, then lost",
                pl.col("deadline").dt.strftime("%Y-%m-%d %H:%M UTC"),
            )
        )
        .otherwise(pl.lit(""))
    )
    return partly + asked + _last() + until


def _until() -> pl.Expr:
    return (
        pl.when(pl.col("covered_until").is_not_null())
        .then(
            pl.format("fetched up to {} only; ", pl.col("covered_until").dt.strftime("%H:%M UTC"))
        )
        .otherwise(pl.lit(""))
    )


def _slots() -> pl.Expr:
    return (
        pl.when((pl.col("taken").fill_null(0) > 0) & (pl.col("slots") > 1))
        .then(pl.format("{} of {} hours were fetched; ", "taken", "slots"))
        .otherwise(pl.lit(""))
    )


def _last() -> pl.Expr:
    failed = pl.col("outcome").is_in(["missing", "failed", "not_covered"])
    return (
        pl.when(failed.fill_null(False) & pl.col("message").is_not_null())
        .then(pl.format("; last: {}", pl.col("message").str.slice(0, 200)))
        .otherwise(pl.lit(""))
    )
