"""What plain lists hold as of a moment: a pure function of list, seed and clock.

A list has so many places. An address stands in its place for some weeks, then another one does, so
about two percent of a list are new every day. Nothing here knows HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv4Address
from typing import NamedTuple

from intel_assets.simulator.world import DAY, dice, ip

_STAYS = (20, 80)
"""How many days an address stands on a list, at least and at most."""


@dataclass(frozen=True)
class PlayedList:
    """A list that is played.

    Attributes:
        path: Where its host has it.
        size: How many entries it has.
        period: How often it is made anew, in seconds.
        made_at: At which second of the period.
        scored: Whether it begins with a head, and a number stands behind each entry.
        host: Which host has it.
        ranges: Whether its entries are ranges, each with a note behind it.
    """

    name: str
    path: str
    size: int
    period: int
    made_at: int = 0
    scored: bool = False
    host: str = "raw.githubusercontent.com"
    ranges: bool = False


class Listed(NamedTuple):
    """An entry, with the number of lists that the address stands on."""

    address: str
    score: int


class PlainListWorld:
    """All that a list ever holds."""

    def __init__(self, played: PlayedList, seed: int, volume: float = 1.0) -> None:
        """Take the list, the seed, and how many times its usual size it has."""
        self._played, self._seed = played, seed
        self._places = max(1, round(played.size * volume))

    def made(self, now: datetime) -> datetime:
        """Return when the list that is served at `now` was made."""
        period, at = self._played.period, self._played.made_at
        return datetime.fromtimestamp((int(now.timestamp()) - at) // period * period + at, UTC)

    def entries(self, made: datetime) -> Sequence[Listed]:
        """Return what the list holds that was made at a moment, each address once.

        A list with numbers begins with the highest; another is in order of its addresses.
        """
        return _entries(self._played, self._seed, self._places, int(made.timestamp()))


# Every client of a list gets the same body until it is made anew.
@lru_cache(maxsize=32)
def _entries(played: PlayedList, seed: int, places: int, made: int) -> Sequence[Listed]:
    found = {}
    for place in range(places):
        rng = dice(seed, played.name, place)
        stays = rng.randint(_STAYS[0] * DAY, _STAYS[1] * DAY)
        turn = (made + rng.randint(0, stays)) // stays
        rng = dice(seed, played.name, place, turn)
        address = ip(rng)
        found[address] = Listed(address, min(10, 1 + int(rng.expovariate(1.0))))
    return tuple(
        sorted(
            found.values(),
            key=lambda one: (-one.score if played.scored else 0, IPv4Address(one.address)),
        )
    )
