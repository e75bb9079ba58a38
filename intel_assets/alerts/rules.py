"""Rules: what of the facts is worth an alert. Pure functions; one finding for each source.

When something was already told, and how often it is told again, is the ledger's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl

from intel_assets.alerts.facts import Facts
from intel_assets.alerts.tables import target_key
from intel_assets.alerts.words import count, lasting, moment, plain, span

Severity = Literal["warning", "critical"]

NEWS = timedelta(hours=24)
"""How long something that happened, and cannot be mended or undone, is told."""

_HOUR = timedelta(hours=1)
_AT_RISK = timedelta(hours=24)
_AT_THE_LAST = timedelta(hours=6)
_SETTLED = ("complete", "empty", "filling", "lost", "not_due", "disabled", "not_configured")
_RATE, _LEAST_REQUESTS, _MOSTLY = 0.10, 5, 0.50
_GIB = 1 << 30
_LOW_SHARE, _LOW_BYTES = 0.10, 2 * _GIB
_FULL_SHARE, _FULL_BYTES = 0.03, 500 * (1 << 20)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong now.

    Attributes:
        rule: The rule that found it.
        source: The source that it is about; empty if it is about none.
        subject: What it is about, in a word. Rule, source and subject name the alert.
        severity: How urgent it is.
        message: What is wrong.
        advice: What to do about it.
        magnitude: How bad it is, in the rule's own measure; twice as much is worse.
        run_id: The run that it is about, if any.
    """

    rule: str
    source: str
    subject: str
    severity: Severity
    message: str
    advice: str
    magnitude: float
    run_id: str = ""


@dataclass(frozen=True)
class Judgement:
    """What the rules found, and which of them had not the facts that they need."""

    findings: tuple[Finding, ...]
    unjudged: frozenset[str]


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        title: Its name for people.
        needs: The facts without which it cannot judge.
        find: Returns what is wrong.
        over: What is said when its alert ends, where "it no longer holds" would not be true.
    """

    title: str
    needs: tuple[str, ...]
    find: Callable[[Facts], Iterator[Finding]]
    over: str = ""


def judge(facts: Facts) -> Judgement:
    """Return what is wrong, by all the rules."""
    able = {n: r for n, r in RULES.items() if all(getattr(facts, f) is not None for f in r.needs)}
    found = tuple(finding for rule in able.values() for finding in rule.find(facts))
    return Judgement(found, frozenset(RULES) - frozenset(able))


def _run_failed(facts: Facts) -> Iterator[Finding]:
    """Runs that failed in the last 24 hours, and after the last good run of their source."""
    good = facts.of("sources").select("source", "last_good_run")
    since = pl.max_horizontal(pl.col("last_good_run"), pl.lit(facts.now - NEWS))
    runs_of = facts.of("failed_runs").with_columns(pl.col("source").fill_null(""))
    bad = runs_of.join(good, on="source", how="left").filter(pl.col("at") > since)
    for source, runs in _by_source(bad.sort("at", "run_id")):
        last = runs.row(-1, named=True)
        whose = source or "the aggregated tables"
        what = f"A run of {whose} failed at"
        if runs.height > 1:
            what = f"{runs.height} runs of {whose} failed, the last at"
        yield Finding(
            rule="run_failed",
            source=source,
            subject=whose,
            severity="warning",
            message=f"{what} {moment(last['at'])}: {_said(last['message'])}",
            advice=f"Look at run {plain(last['run_id'], 60)} in Dagster; `intel gaps` shows "
            "what is missing, and it is tried again by itself.",
            magnitude=runs.height,
            run_id=plain(last["run_id"], 60),
        )


def _gap_about_to_be_lost(facts: Facts) -> Iterator[Finding]:
    """Days that can be had for a day more, or for two ticks of their schedule."""
    cadence = facts.of("sources").select("source", "every")
    left = pl.col("deadline") - pl.lit(facts.now)
    horizon = pl.max_horizontal(pl.lit(_AT_RISK), 2 * pl.col("every"))
    near = (
        facts.of("states")
        .filter(~pl.col("state").is_in(_SETTLED))
        .join(cadence, on="source", how="left")
        .filter(left > timedelta(), left <= horizon)
    )
    for source, days in _by_source(near):
        first: datetime = days["deadline"].min()  # type: ignore[assignment]
        remains = first - facts.now
        soonest = days.filter(pl.col("deadline") == first)["day"].min()
        yield Finding(
            rule="gap_about_to_be_lost",
            source=source,
            subject=source,
            severity="critical" if remains <= _AT_THE_LAST else "warning",
            message=f"{source} lacks {_days(days)}; the first of them is lost after "
            f"{moment(first)}, in {lasting(remains)}.",
            advice=f"`{_backfill(source, days)}` asks for them now; "
            f"`{_explain(source, soonest)}` says what was tried.",
            # Half the time left is twice as bad; below an hour it does not matter any more.
            magnitude=days.height * (_AT_RISK / max(remains, _HOUR)),
        )


def _gap_lost(facts: Facts) -> Iterator[Finding]:
    """Days that were lost in the last 24 hours."""
    lost = facts.of("states").filter(pl.col("state") == "lost", pl.col("since") > facts.now - NEWS)
    for source, days in _by_source(lost):
        yield Finding(
            rule="gap_lost",
            source=source,
            subject=source,
            severity="critical",
            message=f"{source} lost {_days(days)}: {_said(days['reason'][0])}",
            advice=f"`{_explain(source, days['day'][0])}` tells the whole story. Somebody's "
            f"copy of the file can be taken in with `intel land {source}`.",
            magnitude=days.height,
        )


def _source_over_quota(facts: Facts) -> Iterator[Finding]:
    """Quotas that are used up."""
    spent = facts.of("quota").filter(pl.col("used") >= pl.col("allowed"))
    for source, used in _by_source(spent.sort("period")):
        row = used.row(-1, named=True)
        over = row["used"] > row["allowed"]
        yield Finding(
            rule="source_over_quota",
            source=source,
            subject=source,
            severity="critical" if over else "warning",
            message=f"{source} was asked {row['used']:,} times since {row['period']}; "
            f"{count(row['allowed'], 'request')} are allowed. Its days wait for the next period.",
            advice="Look for runs that were started by hand; if it happens again, declare a slower "
            f"cadence for it. `intel source disable {source}` stops asking.",
            magnitude=row["used"] / max(1, row["allowed"]),
        )


def _failure_rate(facts: Facts) -> Iterator[Finding]:
    """Sources of whose requests in the last hour more than a tenth failed."""
    hour = facts.of("fetches").filter(
        pl.col("received_at") > facts.now - _HOUR, pl.col("outcome") != "landed"
    )
    for source, asked in _by_source(hour.unique(maintain_order=True).sort("received_at")):
        failed = asked.filter(pl.col("outcome") == "failed")
        rate = failed.height / asked.height
        if asked.height < _LEAST_REQUESTS or rate <= _RATE:
            continue
        yield Finding(
            rule="failure_rate",
            source=source,
            subject=source,
            severity="critical" if rate >= _MOSTLY else "warning",
            message=f"{failed.height} of the last hour's {asked.height} requests to {source} "
            f"failed ({rate:.0%}), the last with {_said(failed['error'][-1])}",
            advice="It is asked again with growing pauses. `intel doctor --connect` asks once "
            f"and says what is wrong; `intel source disable {source}` stops asking.",
            magnitude=rate,
        )


def _nothing_ingested(facts: Facts) -> Iterator[Finding]:
    """Sources from which nothing came for longer than it may take."""
    moments = (
        facts.of("sources")
        .filter("enabled")
        .with_columns(
            begun=pl.max_horizontal("last_success", "since"),
            limit=pl.max_horizontal(2 * pl.col("every"), "longest_pause"),
        )
    )
    silent = moments.filter(pl.lit(facts.now) - pl.col("begun") > pl.col("limit"))
    for row in silent.sort("source").iter_rows(named=True):
        source = row["source"]
        times = (facts.now - row["begun"]) / max(row["limit"], timedelta(minutes=1))
        last = row["last_success"]
        when = f"since {moment(last)}" if last else "yet"
        yield Finding(
            rule="nothing_ingested",
            source=source,
            subject=source,
            severity="critical" if times >= 4 else "warning",
            message=f"Nothing came from {source} {when}, and it is asked every "
            f"{lasting(row['every'])}.",
            advice="`intel doctor --connect` asks once and says what is wrong; `intel health` says "
            f"whether the daemon runs. `intel source disable {source}` stops asking.",
            magnitude=times,
        )


def _volume_collapse(facts: Facts) -> Iterator[Finding]:
    """Days that were found in the last 24 hours to have far fewer records than usual."""
    short = (pl.col("name") == "volume") & (pl.col("value") < pl.col("usual"))
    for source, days in _by_source(_failed_checks(facts, short)):
        last = days.row(-1, named=True)
        yield Finding(
            rule="volume_collapse",
            source=source,
            subject=source,
            severity="warning",
            message=f"{source} has far fewer records than usual on {_days(days)}; on "
            f"{last['day']} {last['value']:,.0f} instead of about {last['usual']:,.0f}.",
            advice=f"Compare with the source itself. `{_backfill(source, days)}` asks again, "
            "as far back as it can answer.",
            magnitude=days.height,
        )


def _schema_change(facts: Facts) -> Iterator[Finding]:
    """Columns that came or went, as found in the last 24 hours."""
    for source, days in _by_source(_failed_checks(facts, pl.col("name") == "schema_drift")):
        last = days.row(-1, named=True)
        yield Finding(
            rule="schema_change",
            source=source,
            subject=source,
            severity="warning",
            message=f"The records of {source} have changed on {_days(days)}: "
            f"{_said(last['description'])}",
            advice="What came is kept. Mend its parser and contract, then "
            f"`intel replay {source}{_between(days)}`.",
            # Every day says it again; only another column would be worse.
            magnitude=days["description"].n_unique(),
        )


def _partitions_failed(facts: Facts) -> Iterator[Finding]:
    """Days that nothing tries any more: a person has to look."""
    stuck = (pl.col("state") == "failed") | (
        (pl.col("state") == "rejected") & (pl.col("remedy") == "person")
    )
    for source, days in _by_source(facts.of("states").filter(stuck)):
        last = days.row(-1, named=True)
        yield Finding(
            rule="partitions_failed",
            source=source,
            subject=source,
            severity="warning",
            message=f"{source} could not fill {_days(days)}, and they are not tried any more. "
            f"{last['day']}: {_said(last['reason'])}",
            advice=f"`{_explain(source, last['day'])}` tells what was tried. When the reason is "
            f"mended, `{_backfill(source, days)}` tries again.",
            magnitude=days.height,
        )


def _disk_nearly_full(facts: Facts) -> Iterator[Finding]:
    """File systems on which little space is left."""
    free, total = pl.col("free_bytes"), pl.col("total_bytes")
    low = facts.of("disk").filter((free < _LOW_SHARE * total) | (free < _LOW_BYTES))
    for row in low.sort("place").iter_rows(named=True):
        free_bytes, total_bytes = row["free_bytes"], row["total_bytes"] or 0
        critical = free_bytes < _FULL_SHARE * total_bytes or free_bytes < _FULL_BYTES
        place = plain(row["place"], 120)
        yield Finding(
            rule="disk_nearly_full",
            source="",
            subject=place,
            severity="critical" if critical else "warning",
            message=f"{free_bytes / _GIB:.1f} GiB of {total_bytes / _GIB:.0f} GiB are free on the "
            f"disk that holds {place}.",
            advice="Free some space: `intel upkeep` removes what nothing needs any more. When "
            "it is full, runs fail and nothing is lost.",
            magnitude=max(_LOW_SHARE * total_bytes, _LOW_BYTES) / max(1, free_bytes),
        )


def _delivery_failed(facts: Facts) -> Iterator[Finding]:
    """Channels that gave a message up in the last 24 hours, and delivered none since."""
    news = facts.of("deliveries").filter(pl.col("recorded_at") > facts.now - NEWS)
    keyed = news.with_columns(key=target_key())
    worked = (
        keyed.filter(pl.col("outcome") == "delivered")
        .group_by("key")
        .agg(worked_at=pl.col("recorded_at").max())
    )
    lost = (
        keyed.filter(pl.col("outcome") == "given_up")
        .join(worked, on="key", how="left")
        .filter((pl.col("recorded_at") > pl.col("worked_at")).fill_null(True))
        .sort("key", "recorded_at")
    )
    for (key,), rows in lost.group_by(["key"], maintain_order=True):
        channel, target = rows["channel"][0], plain(rows["target"][-1], 120)
        subject = plain(str(key), 120)
        by = subject if subject.endswith(target) else f"{subject} ({target})"
        yield Finding(
            rule="delivery_failed",
            source="",
            subject=subject,
            severity="critical",
            message=f"{count(rows.height, 'message')} could not be delivered by {by}: "
            f"{_said(rows['error'][-1])}",
            advice=f"Check the settings of the {channel} channel (docs/alerts.md). What was to be "
            "told stands in ops.alerts.",
            magnitude=rows.height,
        )


def _watched_indicator(facts: Facts) -> Iterator[Finding]:
    """What stands on the watch-list, and a feed told of yesterday or today."""
    rows = facts.of("watched").filter(pl.col("last_day") >= (facts.now - NEWS).date())
    for (watched,), hits in rows.sort("watched", "indicator").group_by(
        ["watched"], maintain_order=True
    ):
        entry = hits.row(0, named=True)
        feeds = sorted({feed for feeds in hits["sources"].to_list() for feed in feeds})
        others = [one for one in hits["indicator"].unique(maintain_order=True) if one != watched]
        meets = f" ({count(len(others), 'indicator')} in it: {_some(others)})" if others else ""
        yield Finding(
            rule="watched_indicator",
            source="",
            subject=plain(str(watched), 120),
            severity="critical",
            message=f"{_some(feeds)} {'tell' if len(feeds) > 1 else 'tells'} of "
            f"{plain(str(watched), 120)}{meets}, which {plain(entry['owner'], 60)} watches for: "
            f"{_said(entry['reason'])}",
            advice="`intel lookup` tells what is known of it; `intel watch --remove` ends this.",
            magnitude=hits.height + len(feeds),
        )


RULES: Mapping[str, Rule] = {
    "run_failed": Rule(
        "Run failed",
        ("failed_runs", "sources"),
        _run_failed,
        "A later run succeeded, or none failed for a day.",
    ),
    "gap_about_to_be_lost": Rule(
        "Gap about to be lost",
        ("states", "sources"),
        _gap_about_to_be_lost,
        "No day is about to be lost any more: it was filled, or it is lost and told as such.",
    ),
    "gap_lost": Rule(
        "Gap lost",
        ("states",),
        _gap_lost,
        "No further day was lost for a day. What is lost stays lost.",
    ),
    "source_over_quota": Rule("Quota used up", ("quota",), _source_over_quota),
    "failure_rate": Rule("Many requests fail", ("fetches",), _failure_rate),
    "nothing_ingested": Rule("Nothing ingested", ("sources",), _nothing_ingested),
    "volume_collapse": Rule(
        "Volume collapsed",
        ("checks",),
        _volume_collapse,
        "No further day collapsed for a day, or it was mended.",
    ),
    "schema_change": Rule(
        "Schema changed",
        ("checks",),
        _schema_change,
        "No further change was found for a day, or it was mended.",
    ),
    "partitions_failed": Rule("Days need a person", ("states",), _partitions_failed),
    "disk_nearly_full": Rule("Disk nearly full", ("disk",), _disk_nearly_full),
    "watched_indicator": Rule(
        "A watched indicator is told of",
        ("watched",),
        _watched_indicator,
        "No feed told of it yesterday or today, or it is watched for no more.",
    ),
    "delivery_failed": Rule(
        "Alerts not delivered",
        ("deliveries",),
        _delivery_failed,
        "The channel works again, or nothing was given up for a day.",
    ),
}
"""All rules, by name."""


# -- what they share --------------------------------------------------------------------------


def _by_source(rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    ordered = rows.sort("source", "day") if "day" in rows.columns else rows
    for (source,), group in ordered.group_by(["source"], maintain_order=True):
        yield str(source), group


def _failed_checks(facts: Facts, which: pl.Expr) -> pl.DataFrame:
    news = pl.col("recorded_at") > facts.now - NEWS
    return facts.of("checks").filter(~pl.col("passed"), news, which)


def _days(rows: pl.DataFrame) -> str:
    days = rows["day"].unique()
    return f"{count(days.len(), 'day')} ({span(days)})"


def _between(rows: pl.DataFrame) -> str:
    first, last = rows["day"].sort()[0], rows["day"].sort()[-1]
    return f" --from {first} --to {last}"


def _backfill(source: str, rows: pl.DataFrame) -> str:
    return f"intel backfill {source}{_between(rows)}"


def _explain(source: str, day: Any) -> str:
    return f"intel gaps --explain {source} {day}"


def _some(names: Sequence[str], most: int = 3) -> str:
    told = ", ".join(plain(name, 80) for name in names[:most])
    return told if len(names) <= most else f"{told} and {len(names) - most} more"


def _said(text: str | None) -> str:
    told = plain(text) or "no reason is known"
    return told if told.endswith((".", "…", "!", "?")) else f"{told}."
