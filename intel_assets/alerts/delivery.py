"""Delivery: which rows are to be told to whom now, and what became of it. Pure functions.

Every row of `ops.alerts` is told to every target at least once, or given up, and either stands in
`ops.deliveries`. The rows of one alert are told in their order. Trying again goes over ticks:
nothing here, and nothing that it is called by, sleeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from intel_assets.alerts.channels import Target
from intel_assets.alerts.tables import DELIVERIES, target_key

_LEAST_STEP = timedelta(microseconds=1)
_RETRIED = ("failed", "claimed")


@dataclass(frozen=True)
class Patience:
    """How long and how often a target is tried.

    Attributes:
        attempts: After so many, a message is given up.
        pauses: How long a message waits after its first failure, its second and so on, and how
            long its target waits after so many failures in a row; the last holds for all further.
        oldest: What could not be told for so long is given up.
        per_call: How many messages a target gets in one call; one, while it is failing.
        seconds: How long a request, or a step of a mail's way, may take.
        budget: Seconds after which a call begins nothing new.
        lease: How long a message that a process has begun to send is left to it.
    """

    attempts: int = 12
    pauses: tuple[timedelta, ...] = tuple(timedelta(minutes=m) for m in (1, 5, 15, 30, 60))
    oldest: timedelta = timedelta(days=1)
    per_call: int = 20
    seconds: float = 5.0
    budget: float = 8.0
    lease: timedelta = timedelta(minutes=1)

    @property
    def horizon(self) -> timedelta:
        """How far back rows are looked at: longer than any of them is tried."""
        return self.oldest + timedelta(days=7)

    def pause(self, failures: int) -> timedelta:
        """Return how long to wait after so many failures."""
        return self.pauses[min(max(failures, 1), len(self.pauses)) - 1]


@dataclass(frozen=True)
class Item:
    """A row of `ops.alerts` that a target is told now.

    Attributes:
        target: Who is told.
        row: What.
        attempts: How often it was tried before.
        claimed_at: When this process took it upon itself.
    """

    target: Target
    row: dict[str, Any]
    attempts: int
    claimed_at: datetime


@dataclass(frozen=True)
class Plan:
    """What is to be told now.

    Attributes:
        items: Whom to tell what, in order.
        rows: What is to be added to `ops.deliveries` before.
        waiting: How many messages wait for a later call.
    """

    items: tuple[Item, ...]
    rows: pl.DataFrame
    waiting: int


def beginnings(deliveries: pl.DataFrame, targets: Sequence[Target], now: datetime) -> pl.DataFrame:
    """Return the rows that say from when on new targets are told.

    Without them, a channel that is set up today would be told the past.
    """
    known = set(_keyed(deliveries).filter(pl.col("outcome") == "begun")["key"])
    at = _after(deliveries, now)
    rows = [
        _row(target, "", now, "begun", 0, None, at) for target in targets if target.key not in known
    ]
    return pl.DataFrame(rows, schema=DELIVERIES.schema)


def plan(
    alerts: pl.DataFrame,
    deliveries: pl.DataFrame,
    targets: Sequence[Target],
    now: datetime,
    patience: Patience,
) -> Plan:
    """Return what is to be told now.

    Args:
        alerts: The rows of `ops.alerts` inside the horizon.
        deliveries: The rows of `ops.deliveries` inside the horizon, and all `begun` ones.
        targets: Who is told.
        now: The present moment.
        patience: How long and how often.
    """
    rows = _keyed(deliveries)
    at = _after(deliveries.filter(pl.col("outcome") != "begun"), now)
    items: list[Item] = []
    added: list[dict[str, Any]] = []
    waiting = 0
    for target in targets:
        ours = rows.filter(pl.col("key") == target.key)
        open_rows = _pending(alerts, ours)
        late = open_rows.filter(pl.col("recorded_at") < now - patience.oldest)
        hours = patience.oldest.total_seconds() / 3600
        for row in late.iter_rows(named=True):
            why = f"it could not be told for {hours:g} hours" + (
                f"; last: {row['error']}" if row["error"] else ""
            )
            added.append(
                _row(
                    target,
                    row["alert_id"],
                    row["recorded_at"],
                    "given_up",
                    row["attempts"],
                    why,
                    at,
                )
            )
        fresh = open_rows.filter(pl.col("recorded_at") >= now - patience.oldest)
        failures = _failures(ours, patience)
        rests = _is_busy(ours, now, patience) or _rests(failures, now, patience)
        most = 1 if failures.height else patience.per_call
        chosen = [] if rests else _next(fresh, now, patience)[:most]
        waiting += fresh.height - len(chosen)
        for row in chosen:
            item = Item(target, row, row["attempts"], at)
            items.append(item)
            added.append(
                _row(
                    target,
                    row["alert_id"],
                    row["recorded_at"],
                    "claimed",
                    row["attempts"],
                    row["error"],
                    at,
                )
            )
    return Plan(tuple(items), pl.DataFrame(added, schema=DELIVERIES.schema), waiting)


def outcome(item: Item, error: str | None, at: datetime, patience: Patience) -> dict[str, Any]:
    """Return the row that says what became of telling."""
    tried = item.attempts + 1
    unheard = "given_up" if tried >= patience.attempts else "failed"
    said = "delivered" if error is None else unheard
    at = max(at, item.claimed_at + _LEAST_STEP)
    return _row(item.target, item.row["alert_id"], item.row["recorded_at"], said, tried, error, at)


def _pending(alerts: pl.DataFrame, ours: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that a target was not told yet, with `outcome, attempts, error, tried_at`."""
    begun = ours.filter(pl.col("outcome") == "begun")["alert_recorded_at"].min()
    last = (
        ours.filter(pl.col("outcome") != "begun")
        .sort("recorded_at")
        .unique(["alert_id", "alert_recorded_at"], keep="last")
        .select(
            "alert_id",
            "outcome",
            "attempts",
            "error",
            tried_at="recorded_at",
            recorded_at="alert_recorded_at",
        )
    )
    told_of = alerts.filter(pl.col("recorded_at") >= begun) if begun else alerts.clear()
    return (
        told_of.join(last, on=["alert_id", "recorded_at"], how="left")
        .filter(pl.col("outcome").is_null() | pl.col("outcome").is_in(_RETRIED))
        .with_columns(pl.col("attempts").fill_null(0))
        .sort("recorded_at", "alert_id")
    )


def _is_busy(ours: pl.DataFrame, now: datetime, patience: Patience) -> bool:
    """Return whether a process is at a target: it claimed messages, and noted nothing since."""
    claims = ours.filter(pl.col("outcome") == "claimed")["recorded_at"]
    notes = ours.filter(~pl.col("outcome").is_in(["claimed", "begun"]))["recorded_at"]
    if claims.is_empty():
        return False
    last: datetime = claims.max()  # type: ignore[assignment]
    return last > now - patience.lease and not (notes > last).any()


def _failures(ours: pl.DataFrame, patience: Patience) -> pl.DataFrame:
    """Return the attempts at a target that failed since its last success."""
    worked = ours.filter(pl.col("outcome") == "delivered")["recorded_at"].max()
    tried = (pl.col("outcome") == "failed") | (
        (pl.col("outcome") == "given_up") & (pl.col("attempts") >= patience.attempts)
    )
    return ours.filter(tried, pl.col("recorded_at") > worked if worked else pl.lit(True))


def _rests(failures: pl.DataFrame, now: datetime, patience: Patience) -> bool:
    """Return whether a target failed too lately to be asked again."""
    if failures.is_empty():
        return False
    last: datetime = failures["recorded_at"].max()  # type: ignore[assignment]
    return now < last + patience.pause(failures.height)


def _next(pending: pl.DataFrame, now: datetime, patience: Patience) -> list[dict[str, Any]]:
    """Return the rows to tell: of each alert in order, the least tried first."""
    blocked: set[str] = set()
    ready = []
    for row in pending.iter_rows(named=True):
        waits = row["outcome"] == "failed" and now < row["tried_at"] + patience.pause(
            row["attempts"]
        )
        if waits:
            blocked.add(row["alert_id"])
        elif row["alert_id"] not in blocked:
            ready.append(row)
    first_tried = {row["alert_id"]: row["attempts"] for row in reversed(ready)}
    ready.sort(key=lambda row: (first_tried[row["alert_id"]], row["recorded_at"], row["alert_id"]))
    return ready


def _keyed(deliveries: pl.DataFrame) -> pl.DataFrame:
    return deliveries.with_columns(key=target_key())


def _after(deliveries: pl.DataFrame, now: datetime) -> datetime:
    """Return a moment later than every row: order must not hang on the clock's steps."""
    last: datetime | None = deliveries["recorded_at"].max()  # type: ignore[assignment]
    return now if last is None else max(now, last + _LEAST_STEP)


def _row(
    target: Target,
    alert_id: str,
    alert_recorded_at: datetime,
    said: str,
    attempts: int,
    error: str | None,
    at: datetime,
) -> dict[str, Any]:
    return {
        "alert_id": alert_id,
        "alert_recorded_at": alert_recorded_at,
        "channel": target.channel,
        "target": target.shown,
        "outcome": said,
        "attempts": attempts,
        "error": error,
        "recorded_at": at,
    }


def frame(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Return rows of `ops.deliveries` as a frame."""
    return pl.DataFrame(list(rows), schema=DELIVERIES.schema)
