"""What the code servers of the daemon's tests load: sources that each have a host of their own.

The host's files are put into a folder by the test: a day's file that is not there is a 404. What is
loaded is one of the attributes `TROUBLES`, `KILLS` and `FRESH`; its name stands in the workspace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from intel_assets.definitions import build_definitions
from intel_assets.ingest.documents import Document, Window
from intel_assets.ingest.messages import HttpPolicy, Request
from intel_assets.sources.spec import Context, Quota, SourceSpec
from intel_assets.threat import plain_lists, tweetfeed

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
"""When every test begins."""
TODAY = NOON.date()
ONCE = HttpPolicy(
    attempts=1,
    connect_timeout=10.0,
    read_timeout=30.0,
    total_timeout=60.0,
    rate_per_second=1000.0,
    burst=1000,
)
"""Each request is made once, so that those that the simulator counts are those that were meant."""
_LEFT_OUT = ("reconcile_schedule", "upkeep_schedule")


def ago(days: int) -> date:
    """The day so many days before the tests begin."""
    return TODAY - timedelta(days=days)


def host(name: str) -> str:
    """The host of a source."""
    return f"{name}.test"


def feed(name: str, days: int, **changes: Any) -> SourceSpec:
    """An event feed of one file a day, with so many days before today."""
    base = tweetfeed.SPEC
    (daily,) = base.aggregates
    given: dict[str, Any] = {
        "name": name,
        "start": ago(days),
        "policy": ONCE,
        "extract": _asking(name),
        "late_days": 0,
        "cadence": "0 6 * * *",
        "raw": replace(base.raw, name=name),
        "cleaned": replace(base.cleaned, name=name),
        "aggregates": (
            replace(
                daily,
                contract=replace(daily.contract, name=f"{name}_daily"),
                sql=daily.sql.replace("cleaned.tweetfeed", f"cleaned.{name}"),
            ),
        ),
    }
    return replace(base, **given | changes)


def block_list(name: str, **changes: Any) -> SourceSpec:
    """A state feed."""
    made = plain_lists.plain_list(
        name=name,
        url=f"https://{host(name)}/list.txt",
        title="A list",
        description="A list.",
        homepage="https://example.test",
        licence="CC0 1.0",
        redistributable=True,
        start=ago(100),
        cadence="0 3 * * *",
        policy=ONCE,
        daily_sql=plain_lists.IPSUM.aggregates[0].sql.replace("cleaned.ipsum", f"cleaned.{name}"),
    )
    return replace(made, **changes)


def _asking(name: str) -> Callable[[Context, Window], Iterator[Document]]:
    def extract(context: Context, window: Window) -> Iterator[Document]:
        for day in window.days:
            url = f"https://{host(name)}/{day:%Y%m%d}.csv"
            yield context.get(Request(url), Window(day, day))

    return extract


def definitions(specs: Sequence[SourceSpec]) -> dg.Definitions:
    """Return what is loaded for some sources; without what has nothing to do with gaps."""
    made = build_definitions(sources=specs)
    kept = [one for one in made.schedules or () if getattr(one, "name", "") not in _LEFT_OUT]
    return dg.Definitions(
        assets=made.assets,
        asset_checks=made.asset_checks,
        jobs=made.jobs,
        schedules=kept,
        sensors=made.sensors,
        resources=made.resources,
        executor=made.executor,
    )


# A month of days, with one that was never published and one that is a page.
STEADY = feed("steady", 30, attempts=2)
# Reaches back three days.
SHORT = feed("short", 1, look_back_days=3)
# Nine requests a day for what is old, and one for today.
METERED = feed("metered", 16, quota=Quota(10))
LISTED = block_list("listed")
TROUBLED = (STEADY, SHORT, METERED, LISTED)
KILLED = (feed("killed", 40, attempts=12, cadence="0 * * * *"),)
PROMPT = (feed("prompt", 0, cadence="*/15 * * * *"),)

TROUBLES = definitions(TROUBLED)
KILLS = definitions(KILLED)
FRESH = definitions(PROMPT)
