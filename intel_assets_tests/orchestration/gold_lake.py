"""What tests of gold share: cleaned tables written by hand, and gold made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.contracts import Contract
from intel_assets.lakehouse.format import check_format
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.tables import Change, Table
from intel_assets.sources.gold import GoldSpec, build, build_whole
from intel_assets.sources.results import LayerResult
from intel_assets.threat.gold import gold
from intel_assets.threat.model import IndicatorRecord

FIRST = date(2026, 3, 1)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LISTS = ("ipsum", "abuseipdb", "malicious_ip")
"""State feeds: the first repeats the second, the third both."""
FEEDS = ("threatfox", "urlhaus")
"""Event feeds."""


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def at(number: int) -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(days=number)


def address(number: int) -> str:
    return f"198.18.{number // 256}.{number % 256}"


def spec(name: str) -> GoldSpec:
    (found,) = [one for one in gold() if one.name == name]
    return found


@dataclass
class GoldLake:
    """A lake whose cleaned tables are written by hand.

    `say` is the whole of what a feed tells of a day: numbers of addresses, or rows of the model.
    """

    folder: Path
    now: datetime = NOW
    said: dict[tuple[str, int], Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layout = Layout(str(self.folder))
        check_format(layout, create=True)
        self.lake = Lake(layout, Landing(layout), lambda: self.now)

    def say(
        self, feed: str, number: int, rows: Iterable[Any], known: datetime | None = None
    ) -> None:
        """Let a feed tell these rows, and no others, of a day; known since that day's noon."""
        contract = Contract("cleaned", feed, IndicatorRecord, "A feed.")
        known = known or at(number)
        frame = pl.DataFrame(
            [_row(feed, number, one, known) for one in rows], schema=contract.schema
        )
        table = Table(self.lake.layout, contract)

        def change(stored: Any) -> Change:
            # What was told before and is told otherwise is closed.
            before = table.read([day(number)], stored).with_columns(
                known_to=pl.coalesce("known_to", pl.lit(known).cast(contract.schema["known_to"]))
            )
            return Change(pl.concat([before, frame]), [day(number)])

        table.replace_partitions(change, {"run_id": "test"})

    def sightings(self, *numbers: int) -> list[LayerResult]:
        """Make days of sightings."""
        return list(build(self.lake, spec("sightings"), [day(n) for n in numbers], "test"))

    def parts(self) -> LayerResult:
        """Make the facts of indicators."""
        return build_whole(self.lake, spec("indicator_parts"), "test")

    def sql(self, query: str, **moment: Any) -> pl.DataFrame:
        """Ask the catalog."""
        with Catalog(self.lake.layout, clock=self.lake.clock).connect(**moment) as con:
            return con.sql(query).pl()

    def table(self, name: str, **moment: Any) -> pl.DataFrame:
        """Return a table in an order of its own, without what only says where a row stands."""
        found = self.sql(f"FROM {name}", **moment).drop("part", "written", strict=False)
        return found.sort([c for c, kind in found.schema.items() if not kind.is_nested()])

    def facts(self) -> pl.DataFrame:
        """Return the newest facts of each indicator, with what hangs on the present."""
        return self.table("aggregated.indicators")


def _row(feed: str, number: int, one: Any, known: datetime) -> dict[str, Any]:
    given = dict(one) if isinstance(one, dict) else {"indicator": address(one)}
    value = given["indicator"]
    kind = given.get("indicator_type", "ipv4")
    return {
        "day": day(number),
        "record_id": f"{feed}-{number}-{value}-{given.get('malware')}",
        "record_digest": f"{hash(str(given)) & 0xFFFFFFFF:032x}",
        "known_from": known,
        "known_to": None,
        "indicator_type": kind,
        "raw_value": value,
        "first_seen": datetime(2026, 3, 1, 9, tzinfo=UTC) + timedelta(days=number),
        "last_seen": None,
        "confidence": None,
        "threat": None,
        "malware": None,
        "tags": None,
        "tlp": "clear",
        "reference": None,
        "host": value if kind in ("ipv4", "ipv6", "domain", "hostname") else None,
        "registered_domain": None,
        "also": None,
        "detect": True,
        "reserved": False,
    } | given
