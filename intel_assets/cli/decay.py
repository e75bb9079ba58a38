"""The command `decay`: how indicators grow old."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from intel_assets.cli import show
from intel_assets.cli.launching import views_following
from intel_assets.cli.rollout import whoami
from intel_assets.errors import UsageError
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.format import check_format, check_writable
from intel_assets.lakehouse.views import TableName
from intel_assets.settings import Settings, load_settings
from intel_assets.world import world_clock


def decay(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="[TYPE]", help="A type of indicators; all are shown if left out."),
    ] = None,
    tau: Annotated[
        float | None, typer.Option("--tau", help="Days without a sighting until nothing is left.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option("--delta", help="How it goes: 1 is a straight line.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Expired below this confidence, 0 to 100.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Back to the default.")] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", "-r", metavar="TEXT", help="Why, for whoever asks.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show or say how confidence decays: times 1 - (age / tau)^(1 / delta), age in days.

    What is said holds for everybody who uses this lake, from now on; answers as of an earlier
    moment decay as they did then.
    """
    settings = load_settings()
    given = _Given(tau, delta, threshold)
    if kind is None:
        if given.any or reset or reason:
            raise UsageError(
                "No type is given.", "Name one, such as ipv4; `intel decay` lists all."
            )
        _show(settings, json=json)
        return
    if given.any == reset:
        raise UsageError(
            "Nothing is said of it.", "Give --tau, --delta or --threshold, or --reset."
        )
    if not reason:
        raise UsageError("It needs a reason.", 'Say it with --reason "we see long campaigns".')
    _say(settings, kind, given, reason)


@dataclass(frozen=True)
class _Given:
    tau: float | None
    delta: float | None
    threshold: float | None

    @property
    def any(self) -> bool:
        return any(value is not None for value in vars(self).values())


def _say(settings: Settings, kind: str, given: _Given, reason: str) -> None:
    from intel_assets.threat.decay import DecayRule, say

    check_format(settings.layout, create=True)
    check_writable(settings.layout)
    # A number that is not given stays as it is; none at all is the default again.
    now = _rows(settings).get(kind) if given.any else None
    rule = DecayRule(
        indicator_type=kind,
        tau_days=given.tau if given.tau is not None or now is None else float(now[1]),
        delta=given.delta if given.delta is not None or now is None else float(now[2]),
        threshold=given.threshold if given.threshold is not None or now is None else float(now[3]),
        reason=reason,
        who=whoami(),
        recorded_at=world_clock(settings)(),
    )
    with views_following(settings):
        say(settings.layout, rule)
    kind, tau, delta, threshold, _ = _rows(settings)[kind]
    typer.echo(f"{kind}: tau {tau:g} days, delta {delta:g}, expired below {threshold:g}.")


def _show(settings: Settings, *, json: bool) -> None:
    check_format(settings.layout)
    columns = ["indicator_type", "tau_days", "delta", "threshold", "is_own"]
    rows = list(_rows(settings).values())
    if json:
        show.records(columns, rows)
        return
    show.rows(columns, [(*row[:4], "yes" if row[4] else "no") for row in rows])


def _rows(settings: Settings) -> dict[str, tuple[str, float, float, float, bool]]:
    catalog = Catalog(settings.layout, clock=world_clock(settings))
    with catalog.connect(wanted=[TableName("aggregated", "decay")]) as connection:
        found = connection.sql("FROM aggregated.decay ORDER BY indicator_type").fetchall()
    return {str(row[0]): row for row in found}


COMMANDS = {"decay": decay}
