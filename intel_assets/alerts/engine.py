"""One look: judge the facts, write what is to be said, and say it.

Called every half minute or so, by as many processes as like to. Two that do so at once write no
row twice, because each commit follows from the version that it read (tables.py), and tell nobody
twice, because a message is claimed in the table before it is sent. A process that dies between
sending and noting it makes one message come twice; none is ever left out.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl

from intel_assets.alerts import delivery, rules, senders
from intel_assets.alerts.channels import Channels, Target
from intel_assets.alerts.delivery import Item, Patience
from intel_assets.alerts.facts import Facts
from intel_assets.alerts.ledger import Manners, decide
from intel_assets.alerts.tables import ALERTS, DELIVERIES, Ledger, newest
from intel_assets.clock import Clock, system_clock
from intel_assets.lakehouse.layout import Layout

log = logging.getLogger(__name__)

_BEGUN = pl.col("outcome") == "begun"


@dataclass(frozen=True)
class Summary:
    """What a look came to.

    Attributes:
        findings: What is wrong now.
        standing: Alerts that are not over.
        opened: Rows that were written: new alerts, ...
        worse: ... alerts that got worse, ...
        reminded: ... that still stand, ...
        resolved: ... that are over.
        unjudged: The rules whose facts were not to be had.
        delivered: Messages that were delivered, ...
        failed: ... that will be tried again, ...
        given_up: ... that will not.
        waiting: Messages that wait for a later look.
    """

    findings: int
    standing: int
    opened: int = 0
    worse: int = 0
    reminded: int = 0
    resolved: int = 0
    unjudged: tuple[str, ...] = ()
    delivered: int = 0
    failed: int = 0
    given_up: int = 0
    waiting: int = 0

    @property
    def quiet(self) -> bool:
        """Whether nothing was written and nothing sent."""
        counts = (self.opened, self.worse, self.reminded, self.resolved)
        return not any((*counts, self.delivered, self.failed, self.given_up))

    def __str__(self) -> str:
        """Say it in a line."""
        said = [
            f"{number} {name}"
            for name, number in (
                ("opened", self.opened),
                ("worse", self.worse),
                ("reminded", self.reminded),
                ("resolved", self.resolved),
                ("delivered", self.delivered),
                ("failed to deliver", self.failed),
                ("given up", self.given_up),
                ("waiting", self.waiting),
            )
            if number
        ]
        told = ", ".join(said) or "nothing new to say"
        unjudged = f"; not judged: {', '.join(self.unjudged)}" if self.unjudged else ""
        return f"{self.standing} alerts stand; {told}{unjudged}"


def run(
    layout: Layout,
    facts: Facts,
    channels: Channels,
    clock: Clock,
    patience: Patience | None = None,
    wall: Clock = system_clock,
) -> Summary:
    """Judge the facts, write what is to be said of them, and say it.

    It returns within some 20 seconds, however slow the channels are. A channel that fails is a row
    of `ops.deliveries` and in the end an alert; it is no error.

    Args:
        layout: The lake.
        facts: What is known; see `Facts` for how to gather it.
        channels: Where it is told.
        clock: Says now.
        patience: How long and how often a target is tried.
        wall: The time that receivers live in, whatever time the lake does: it dates mails and
            signatures.

    Raises:
        StorageError: If the lake cannot be read or written.
        WriteConflict: If other writers won every time.
    """
    patience = patience or Patience()
    now = clock()
    # First of all: an alert that is opened now has to reach a channel that is new now.
    deliveries = _begin(layout, channels, now, patience)
    judged = rules.judge(replace(facts, deliveries=deliveries))
    manners = Manners(cool_down=channels.cool_down)
    before, said = Ledger(layout, ALERTS).extend(
        lambda rows: decide(judged.findings, rows, now, manners, judged.unjudged)
    )
    for row in said.iter_rows(named=True):
        log.info("alert %s: %s %s", row["state"], row["rule"], row["subject"])
    alerts = pl.concat([before, said])

    def send(items: Sequence[Item]) -> list[tuple[Item, str | None]]:
        return senders.send(items, channels, patience, wall)

    sent, waiting = _deliver(layout, alerts, deliveries, channels.targets, clock, patience, send)
    states = Counter(said["state"])
    return Summary(
        findings=len(judged.findings),
        standing=newest(alerts).filter(pl.col("state") != "resolved").height,
        opened=states["open"],
        worse=states["worse"],
        reminded=states["reminded"],
        resolved=states["resolved"],
        unjudged=tuple(sorted(judged.unjudged)),
        delivered=sent["delivered"],
        failed=sent["failed"],
        given_up=sent["given_up"],
        waiting=waiting,
    )


def _begin(layout: Layout, channels: Channels, now: datetime, patience: Patience) -> pl.DataFrame:
    """Note from when on new targets are told; return `ops.deliveries` inside the horizon."""
    told, horizon = Ledger(layout, DELIVERIES), now - patience.horizon
    before, added = told.extend(
        lambda rows: delivery.beginnings(rows, channels.targets, now), horizon, _BEGUN
    )
    return pl.concat([before, added])


def _deliver(
    layout: Layout,
    alerts: pl.DataFrame,
    deliveries: pl.DataFrame,
    targets: Sequence[Target],
    clock: Clock,
    patience: Patience,
    send: Callable[[Sequence[Item]], list[tuple[Item, str | None]]],
) -> tuple[Counter[str], int]:
    """Claim what is due, send it, and note what became of it; return that, and what waits."""
    now = clock()
    recent = alerts.filter(pl.col("recorded_at") > now - patience.horizon)
    made = delivery.plan(recent, deliveries, targets, now, patience)
    if made.rows.is_empty():
        return Counter(), made.waiting
    told = Ledger(layout, DELIVERIES)

    def claim(rows: pl.DataFrame) -> pl.DataFrame:
        nonlocal made
        made = delivery.plan(recent, rows, targets, now, patience)
        return made.rows

    _, claimed = told.extend(claim, now - patience.horizon, _BEGUN)
    results = send(made.items)
    for item, error in results:
        if error is not None:
            log.warning(
                "%s %s: %s; attempt %d of %d",
                item.target.channel,
                item.target.shown,
                error,
                item.attempts + 1,
                patience.attempts,
            )
    at = clock()
    rows = delivery.frame(delivery.outcome(item, why, at, patience) for item, why in results)
    told.extend(lambda _: rows, now - patience.horizon, _BEGUN)
    states = Counter(claimed.filter(pl.col("outcome") != "claimed")["outcome"])
    return states + Counter(rows["outcome"]), made.waiting + len(made.items) - len(results)
