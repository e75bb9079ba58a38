"""Calendars: on which days a source is expected to have something.

What a source says of itself; what follows from a day that is missing belongs to `coverage`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import polars as pl

from intel_assets.errors import ConfigurationError

_SATURDAY = 6  # as Polars counts: Monday is 1


@dataclass(frozen=True)
class Calendar:
    """The days that a source is expected to have.

    Attributes:
        every: `day`; `hour`, when a day is whole only with all its 24 hours; `business_day`,
            Monday to Friday but for holidays; or `week`.
        weekday: For `week`, the day on which it comes: 0 is Monday.
        holidays: For `business_day`, whose holidays are free: a country such as `US`, or a market
            such as `XNYS`, as the `holidays` library names them.
    """

    every: Literal["day", "hour", "business_day", "week"] = "day"
    weekday: int = 0
    holidays: str | None = None

    def days(self, first: date, last: date) -> pl.Series:
        """Return the expected days of a range, both ends included, as dates, oldest first.

        Raises:
            ConfigurationError: If nobody knows these holidays.
        """
        days = (
            pl.date_range(first, last, eager=True)
            if first <= last
            else pl.Series([], dtype=pl.Date)
        )
        days = days.alias("day")
        if self.every == "week":
            return days.filter(days.dt.weekday() == self.weekday + 1)
        if self.every == "business_day":
            working = days.filter(days.dt.weekday() < _SATURDAY)
            return working.filter(~working.is_in(self._free(first, last)))
        return days

    @property
    def slots(self) -> int:
        """How many times in a day something is expected."""
        return 24 if self.every == "hour" else 1

    @property
    def longest_pause(self) -> timedelta:
        """How long nothing may come, whatever the cadence, without anything being wrong."""
        # A long weekend: from Friday over a Monday that is free.
        days = {"hour": 0, "day": 0, "business_day": 4, "week": 7}[self.every]
        return timedelta(days=days)

    def _free(self, first: date, last: date) -> list[date]:
        if self.holidays is None or first > last:
            return []
        import holidays

        years = range(first.year, last.year + 1)
        markets = holidays.list_supported_financial()
        try:
            find = (
                holidays.financial_holidays
                if self.holidays in markets
                else holidays.country_holidays
            )
            return sorted(find(self.holidays, years=years))
        except NotImplementedError:
            raise ConfigurationError(
                f"There is no calendar of holidays '{self.holidays}'.",
                "Name a country such as US or a market such as XNYS.",
            ) from None


DAILY = Calendar()
