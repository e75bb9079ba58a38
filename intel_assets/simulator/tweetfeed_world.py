"""What TweetFeed has published as of a moment: a pure function of seed, day and clock.

A day's file may be missing or empty for good; it grows while the day lasts, and now and then
gets late lines on the day after. Nothing here knows HTTP.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from io import StringIO
from random import Random
from typing import Literal

from intel_assets.clock import start_of
from intel_assets.simulator.world import DAY, HOUR, WEEKEND, WORDS, chance, dice, domain, ip, stamp

BEGAN = date(2021, 8, 8)
REGENERATED_EVERY = 900
SETTLED_AFTER = timedelta(hours=36)

_CHUNK = 64
_USERS = ("phish_lantern", "ioc_otter", "bluejay_dfir", "sandcat_re", "quiet_quokka", "m0thlight")
_TAGS = (
    "#phishing",
    "",
    "#phishing #scam",
    "#malware",
    "#C2 #CobaltStrike",
    "#AsyncRAT",
    "#ClickFix #malware",
    "#opendir",
    "#APT",
)
_WEIGHTS = (45, 25, 8, 6, 5, 4, 3, 2, 2)

State = Literal["missing", "empty", "published"]
_STATES: tuple[State, ...] = ("missing", "empty", "published")
_STATE_WEIGHTS = (4, 1, 95)


@dataclass(frozen=True, slots=True)
class Tweet:
    """The lines of one tweet, and when they appear; times are epoch seconds."""

    at: int
    shown: int
    late: bool
    lines: tuple[tuple[str, ...], ...]


class TweetFeedWorld:
    """All that TweetFeed publishes, for any day since 2021-08-08."""

    def __init__(self, seed: int, volume: float = 1.0) -> None:
        """Take the seed, and how many times the usual 15 to 120 tweets a day there are."""
        self._seed, self._volume = seed, volume

    def state(self, day: date) -> State:
        """Return what will become of a day's file: about 4 % are missing and 1 % are empty."""
        if day < BEGAN:
            return "missing"
        rng = dice(self._seed, "tweetfeed", day, "state")
        return rng.choices(_STATES, _STATE_WEIGHTS)[0]

    def tweets(self, day: date) -> Iterator[Tweet]:
        """Give the tweets of a published day in order of time."""
        count = self._count(day)
        for number in range((count + _CHUNK - 1) // _CHUNK):
            yield from _chunk(self._seed, day, number, count)

    def lines(self, day: date, now: datetime) -> Iterator[bytes] | None:
        """Give the file as it stands at `now`, line by line, or None while there is none.

        Lines end in CRLF and are in order of time; once late lines were added at the end, the
        whole file has LF, as the real ones do.
        """
        moment = int(now.timestamp())
        state = self.state(day)
        if state == "missing" or now < start_of(day) + timedelta(hours=1):
            return None
        if state == "empty":
            return iter(())
        late = any(tweet.late and tweet.shown <= moment for tweet in self.tweets(day))
        ending = "\n" if late else "\r\n"
        return (
            _csv(line, ending)
            for wanted in (False, True)
            for tweet in self.tweets(day)
            if tweet.late is wanted and tweet.shown <= moment
            for line in tweet.lines
        )

    def _count(self, day: date) -> int:
        if self.state(day) != "published":
            return 0
        low, high = (15, 50) if day.weekday() in WEEKEND else (30, 120)
        drawn = dice(self._seed, "tweetfeed", day, "count").randint(low, high)
        return max(1, round(drawn * self._volume))


def version(day: date, now: datetime) -> datetime:
    """Return the moment whose state of a day's file is served at `now`.

    The file is made again every 15 minutes until 36 hours after its day, then never.
    """
    step = int(now.timestamp()) // REGENERATED_EVERY * REGENERATED_EVERY
    settled = start_of(day) + timedelta(days=1) + SETTLED_AFTER
    return min(datetime.fromtimestamp(step, UTC), settled)


@lru_cache(maxsize=128)
def _chunk(seed: int, day: date, number: int, count: int) -> Sequence[Tweet]:
    rng = dice(seed, "tweetfeed", day, number)
    midnight = int(start_of(day).timestamp())
    has_late = chance(dice(seed, "tweetfeed", day, "late"), 0.25)
    positions = range(number * _CHUNK, min(count, (number + 1) * _CHUNK))
    return tuple(
        _tweet(rng, midnight, midnight + int((i + rng.random()) * DAY / count), has_late)
        for i in positions
    )


def _tweet(rng: Random, midnight: int, at: int, has_late: bool) -> Tweet:
    late = has_late and chance(rng, 0.1)
    shown = at + rng.randint(0, 900)
    if late:
        shown = midnight + DAY + rng.randint(HOUR, int(SETTLED_AFTER.total_seconds()) - HOUR)
    user = rng.choice(_USERS)
    tags = rng.choices(_TAGS, _WEIGHTS)[0]
    status = f"https://x.com/{user}/status/{rng.randint(10**18, 2 * 10**18)}"
    kinds = rng.choices(tuple(_VALUES), (47, 38, 8, 5, 2), k=rng.choice((1, 1, 2, 3, 5, 8)))
    lines = [(stamp(at), user, kind, _VALUES[kind](rng), tags, status) for kind in kinds]
    if chance(rng, 0.02):
        lines.append(lines[-1])
    return Tweet(at, shown, late, tuple(lines))


def _url(rng: Random) -> str:
    tail = f"{rng.choice(WORDS)}/{rng.randint(1, 99999)}"
    if chance(rng, 0.01):
        tail = f"{rng.choice(WORDS)},_Inc/{rng.randint(1, 99999)}"
    elif chance(rng, 0.005):
        tail = f'p.php?slug={rng.randint(1, 99999)}",#phishing,#clone'
    host = ip(rng) if chance(rng, 0.15) else domain(rng)
    return f"{rng.choice(('http', 'https'))}://{host}/{tail}"


def _digest(name: str) -> Callable[[Random], str]:
    return lambda rng: hashlib.new(name, rng.randbytes(16), usedforsecurity=False).hexdigest()


_VALUES: dict[str, Callable[[Random], str]] = {
    "url": _url,
    "domain": domain,
    "ip": ip,
    "sha256": _digest("sha256"),
    "md5": _digest("md5"),
}


def _csv(fields: Iterable[str], ending: str) -> bytes:
    line = StringIO(newline="")
    csv.writer(line, lineterminator=ending).writerow(fields)
    return line.getvalue().encode()
