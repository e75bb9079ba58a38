"""The story of one day of a source: what was expected, tried and answered, and what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import typer

from intel_assets.cli import show
from intel_assets.cli.ranges import what_next
from intel_assets.clock import start_of
from intel_assets.coverage.assess import Assessment
from intel_assets.coverage.evidence import first_days
from intel_assets.coverage.expected import begins, expected
from intel_assets.coverage.tables import COVERAGE
from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.ops import CHECKS, FETCHES, PARTITIONS
from intel_assets.lakehouse.tables import Table
from intel_assets.sources.calendars import Calendar
from intel_assets.sources.spec import SourceSpec

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SHORT = 12

Row = dict[str, Any]


@dataclass
class Story:
    """What is known of a day.

    Attributes:
        state: How it stands; `not_expected` if nobody expects it.
        reason: Why.
        expected: The calendar, when it is due, until when it can be had.
        requests: Every request, and every file, that speaks of it or was to.
        held: What each table holds of it.
        checks: How its checks came out.
        attempts: What was planned to fill it.
        history: How it stood before, since when.
        then: What happens next.
    """

    source: str
    day: date
    state: str
    reason: str | None
    expected: Row
    then: str
    requests: list[Row] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)
    checks: list[Row] = field(default_factory=list)
    attempts: list[Row] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)


def tell(
    layout: Layout, spec: SourceSpec, day: date, found: Assessment, since: date | None
) -> Story:
    """Put the story of a day together.

    Args:
        layout: The lake.
        spec: The source.
        day: The day, expected or not.
        found: How the source stands.
        since: No day before this is expected.

    Raises:
        StorageError: If the lake cannot be read.
    """
    rows = found.states.filter(pl.col("source") == spec.name, pl.col("day") == day)
    now, evidence = found.now, found.evidence
    asked = first_days(evidence)
    first = begins(spec, asked.get(spec.name), now.date(), since)
    that = expected([spec], now, asked, since).filter(pl.col("day") == day)
    about: Row = {"calendar": calendar_words(spec.calendar), "from": first}
    if rows.is_empty():
        why = _unexpected(spec, day, asked.get(spec.name), since)
        story = Story(spec.name, day, "not_expected", why, about, "nothing; nobody expects it")
    else:
        row = rows.row(0, named=True)
        about |= that.select("due", "deadline").row(0, named=True)
        story = Story(
            spec.name,
            day,
            row["state"],
            row["reason"],
            about | {"attempts": row["attempts"], "attempts_allowed": spec.attempts},
            what_next(row, now, found.probe_at.get(spec.name)),
        )
    story.requests = _requests(layout, spec.name, day)
    story.held = _held(layout, spec.name, day, evidence.present)
    checks = (
        _of_table(layout, CHECKS, spec.name, day).sort("recorded_at").unique("name", keep="last")
    )
    story.checks = checks.sort("layer", "name").to_dicts()
    planned = evidence.attempts.filter(
        pl.col("source") == spec.name, pl.col("first") <= day, pl.col("last") >= day
    )
    story.attempts = planned.sort("planned_at").to_dicts()
    story.history = _history(layout, spec.name, day)
    return story


def calendar_words(calendar: Calendar) -> str:
    """Say when something is expected."""
    if calendar.every == "week":
        return f"every {_WEEKDAYS[calendar.weekday]}"
    if calendar.every == "business_day":
        free = f", but for the holidays of {calendar.holidays}" if calendar.holidays else ""
        return f"Monday to Friday{free}"
    return "every hour: a day is whole with all 24" if calendar.every == "hour" else "every day"


def _unexpected(spec: SourceSpec, day: date, asked: date | None, since: date | None) -> str:
    """Say why a day is not expected."""
    if day < spec.start:
        return f"{spec.title} begins on {spec.start}"
    if since is not None and day < since:
        return f"INTEL_HISTORY_FROM begins on {since}"
    if spec.calendar.days(day, day).is_empty():
        return f"{spec.title} has something {calendar_words(spec.calendar)} only"
    first = f"was first asked on {asked}" if asked else "was never asked"
    if spec.kind == "state":
        return f"{spec.title} {first}, and a state feed has no past to ask for"
    return f"{spec.title} {first}, and it reaches back {spec.look_back_days} days only"


# -- what is known ------------------------------------------------------------------------------


def _requests(layout: Layout, source: str, day: date) -> list[Row]:
    columns = list(FETCHES.schema)
    begin, end = start_of(day), start_of(day + timedelta(days=1))
    asked = (pl.col("window_first") <= day) & (pl.col("window_last") >= day)
    speaks = (pl.col("covers_from") < end) & (pl.col("covers_to") > begin)
    rows = Table(layout, FETCHES).read_columns(columns, pl.col("source") == source)
    return (
        rows.sort("recorded_at", descending=True)
        .sort("folded_at", nulls_last=True, maintain_order=True)
        .unique("fetch_id", keep="first", maintain_order=True)
        .filter(asked | speaks.fill_null(False))
        .sort("received_at", "fetch_id")
        .to_dicts()
    )


def _held(layout: Layout, source: str, day: date, present: pl.DataFrame) -> list[Row]:
    """Return how each table stood last, and what it still holds if a later attempt failed."""
    keys = ["layer", "name"]
    rows = _of_table(layout, PARTITIONS, source, day).sort("recorded_at")
    good = rows.filter(pl.col("state").is_in(["complete", "empty"])).unique(keys, keep="last")
    files = _of(present, source, day).select(*keys, files=pl.lit(True))
    last = rows.unique(keys, keep="last").select(
        *keys, last="state", last_at="recorded_at", message="message"
    )
    order = pl.col("layer").replace_strict({"raw": 1, "cleaned": 2}, default=3)
    return (
        last.join(
            good.select(*keys, "state", "rows", "rejected", "code_version", written="recorded_at"),
            on=keys,
            how="left",
        )
        .join(files, on=keys, how="left")
        .with_columns(pl.col("files").fill_null(False))
        .sort(order, "name")
        .to_dicts()
    )


def _history(layout: Layout, source: str, day: date) -> list[Row]:
    rows = _of_table(layout, COVERAGE, source, day).sort("recorded_at")
    return rows.select("recorded_at", "state", "reason", "since", "attempts").to_dicts()


def _of_table(layout: Layout, contract: Contract, source: str, day: date) -> pl.DataFrame:
    where = (pl.col("source") == source) & (pl.col("day") == day)
    return Table(layout, contract).read_where(where)


def _of(frame: pl.DataFrame, source: str, day: date) -> pl.DataFrame:
    return frame.filter(pl.col("source") == source, pl.col("day") == day)


# -- telling it ---------------------------------------------------------------------------------


def show_text(story: Story) -> None:
    """Print a story for people."""
    about = story.expected
    typer.echo(f"{story.source} {story.day}: {story.state.replace('_', ' ')}")
    typer.echo(f"  {story.reason}" if story.reason else "  All of it is there.")
    typer.echo(f"\nExpected: {about['calendar']}, from {about['from']}.")
    if "due" in about:
        until = f" until {_moment(about['deadline'])}" if about["deadline"] else " at any time"
        typer.echo(f"  Due {_moment(about['due'])}; it can be asked for{until}.")
        if about["attempts"]:
            allowed = about["attempts_allowed"]
            typer.echo(f"  Tried {about['attempts']} of {allowed} times since it was last good.")
    _table("Asked", "It was never asked for.", _REQUEST, [_request(r) for r in story.requests])
    for row in story.requests:
        if row["error"]:
            typer.echo(f"  {_moment(row['received_at'])}: {row['error']}")
    _table("Held", "No table holds anything of it.", _HELD, story.held)
    for row in story.held:
        if row["message"]:
            typer.echo(f"  {row['layer']}.{row['name']}: {row['message']}")
    _table("Checks", "No check looked at it.", _CHECK, story.checks)
    _table("Attempts planned", "None.", _ATTEMPT, story.attempts)
    _table("How it stood", "Nothing was recorded yet.", _HISTORY, story.history)
    typer.echo(f"\nNext: {story.then}.")


def as_json(story: Story) -> Row:
    """Return a story for machines."""
    told = {name: value for name, value in story.__dict__.items() if name != "then"}
    requests = [{key: row[key] for key in _REQUEST_KEYS} for row in story.requests]
    return told | {"requests": requests, "next": story.then}


_REQUEST_KEYS = (
    "received_at",
    "outcome",
    "status",
    "attempts",
    "bytes",
    "body_sha256",
    "parsed",
    "folded_at",
    "url",
    "error_class",
    "error",
    "run_id",
)
_REQUEST = ("received_at", "outcome", "status", "attempts", "bytes", "body", "records", "folded")
_HELD = ("layer", "name", "state", "rows", "rejected", "written", "files", "last", "last_at")
_CHECK = ("layer", "name", "passed", "severity", "description", "recorded_at")
_ATTEMPT = ("planned_at", "attempt", "kind", "first", "last", "requests", "why")
_HISTORY = ("recorded_at", "state", "since", "reason")


def _request(row: Mapping[str, Any]) -> Row:
    digest = row["body_sha256"]
    return {
        **row,
        "body": digest[:_SHORT] if digest else None,
        "records": row["parsed"],
        "folded": row["folded_at"],
    }


def _table(title: str, none: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    if not rows:
        typer.echo(f"\n{title}: {none}")
        return
    typer.echo("")
    values = [[_plain(row[name]) for name in columns] for row in rows]
    show.rows(columns, values, title)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return show.second(value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
