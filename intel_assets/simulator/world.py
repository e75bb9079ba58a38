"""What every played feed draws from: seeded dice, hosts that nobody owns, words, time stamps.

What a feed publishes is in its own `<feed>_world.py`, a pure function of seed, day and clock.
Hosts are reserved names and ranges only (RFC 2606, 2544, 3849), so nothing here leads anywhere.
"""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

HOUR, DAY = 3600, 86_400
WEEKEND = (5, 6)

WORDS = ("amber", "brook", "cedar", "delta", "ember", "fjord", "grove", "heron", "islet", "juniper")
_ZONES = ("example", "test", "invalid", "example.com", "example.net", "example.org")


def dice(*parts: object) -> Random:
    """Return the random numbers that belong to these parts: the same ones every time."""
    return Random("/".join(map(str, parts)))  # noqa: S311  a played world, nothing to guard


def chance(rng: Random, odds: float) -> bool:
    """Draw whether something happens that does so with these odds, 0 to 1."""
    return rng.random() < odds


def ip(rng: Random) -> str:
    """Draw an IPv4 address that no real machine has (198.18.0.0/15)."""
    return f"198.{rng.randint(18, 19)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"


def domain(rng: Random) -> str:
    """Draw a host name below a reserved top-level or second-level domain."""
    name = f"{rng.choice(WORDS)}-{rng.choice(WORDS)}{rng.randint(1, 9999)}"
    return f"{name}.{rng.choice(_ZONES)}"


def stamp(seconds: int) -> str:
    """Write epoch seconds as abuse.ch does: `2026-02-26 12:05:20`, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ")[:19]
