"""What URLhaus has published as of a moment: a pure function of seed, day and clock.

Each record has a life (late, corrected, offline, withdrawn) that is decided once. Nothing here
knows HTTP or CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from random import Random
from typing import NamedTuple

from intel_assets.clock import start_of
from intel_assets.simulator.world import DAY, HOUR, WEEKEND, WORDS, chance, dice, domain, ip, stamp

CHUNK = 512

_BEGAN = date(2018, 3, 5)
_FIRST_ID = 1_000
_MOST_A_DAY = 400
_FAMILIES = ("Mozi", "mirai", "gafgyt", "hajime", "AsyncRAT", "RemcosRAT", "Formbook", "SocGholish")
_LOADS = ("exe", "dll", "doc", "zip", "vbs", "ps1", "hta", "msi")
_REPORTERS = ("night_heron", "urlfox_sim", "grey_gull", "anonymous", "patch_tuesday", "k3stral")
_IDN = ("schädling.example", "пример.test", "例え.example", "naïve-café.example.org")


@dataclass(frozen=True, slots=True)
class UrlStory:
    """One URLhaus record and all that will ever happen to it; times are epoch seconds.

    Attributes:
        id: Increases with `added`.
        added: What the record says as dateadded.
        shown: When it first appears; later than `added` for a late record.
        date_text: What stands in dateadded; differs from `added` only in an invalid record.
        dies: When it goes offline; not after `added` if it was never seen online.
        checked_every: Seconds between the checks that move last_online.
        corrected: When tags and threat change to the later ones, or None.
        removed: When it is withdrawn, or None.
    """

    id: int
    added: int
    shown: int
    date_text: str
    url: str
    threat: str
    tags: tuple[str, ...]
    reporter: str
    dies: int
    checked_every: int
    corrected: int | None
    later_threat: str
    later_tags: tuple[str, ...]
    removed: int | None

    def at(self, now: int) -> UrlRecord | None:
        """Return what is published of it at a moment, or None if nothing is."""
        if now < self.shown or (self.removed is not None and now >= self.removed):
            return None
        changed = self.corrected is not None and now >= self.corrected
        last = None
        if self.dies > self.added:
            alive = min(now, self.dies) - self.added
            last = self.added + alive // self.checked_every * self.checked_every
        return UrlRecord(
            self.id,
            self.date_text,
            self.url,
            now < self.dies,
            last,
            self.later_threat if changed else self.threat,
            self.later_tags if changed else self.tags,
            self.reporter,
        )


class UrlRecord(NamedTuple):
    """What is published of a record at one moment; `last_online` in epoch seconds."""

    id: int
    date_added: str
    url: str
    online: bool
    last_online: int | None
    threat: str
    tags: tuple[str, ...]
    reporter: str


class UrlhausWorld:
    """All that URLhaus publishes, for any moment since 2018-03-05."""

    def __init__(self, seed: int, volume: float = 1.0) -> None:
        """Take the seed, and how many times the usual 150 to 400 records a day there are."""
        self._seed, self._volume = seed, volume

    def count(self, day: date) -> int:
        """Return how many records are added on a day; weekends are quieter."""
        if day < _BEGAN:
            return 0
        low, high = (150, 230) if day.weekday() in WEEKEND else (240, _MOST_A_DAY)
        return round(dice(self._seed, "urlhaus", day).randint(low, high) * self._volume)

    def stories(self, day: date) -> Iterator[UrlStory]:
        """Give the records of a day with their lives, newest first."""
        count = self.count(day)
        for number in reversed(range((count + CHUNK - 1) // CHUNK)):
            first_id = _FIRST_ID + (day - _BEGAN).days * (round(_MOST_A_DAY * self._volume) + 1)
            yield from _chunk(self._seed, day, number, count, first_id)

    def published(self, now: datetime, since: datetime) -> Iterator[UrlRecord]:
        """Give what is published at `now` and was added from `since` on, newest first."""
        moment, oldest = int(now.timestamp()), int(since.timestamp())
        day = now.astimezone(UTC).date()
        last = max(since.astimezone(UTC).date(), _BEGAN)
        while day >= last:
            for story in self.stories(day):
                if oldest <= story.added <= moment and (record := story.at(moment)):
                    yield record
            day -= timedelta(days=1)


# A month at the usual volume stays in memory, so that a dump costs no drawing the second time.
@lru_cache(maxsize=96)
def _chunk(seed: int, day: date, number: int, count: int, first_id: int) -> Sequence[UrlStory]:
    rng = dice(seed, "urlhaus", day, number)
    midnight = int(start_of(day).timestamp())
    positions = range(number * CHUNK, min(count, (number + 1) * CHUNK))
    stories = [
        _story(rng, first_id + i, midnight + int((i + rng.random()) * DAY / count))
        for i in positions
    ]
    return tuple(reversed(stories))


def _story(rng: Random, number: int, added: int) -> UrlStory:
    url, tags = _url_and_tags(rng)
    date_text = stamp(added)
    if chance(rng, 0.002):  # a few records are broken, as in every feed
        url, date_text = rng.choice([(url.partition("://")[2], date_text), (url, "0000-00-00")])
    shown = added + (rng.randint(HOUR, 3 * DAY) if chance(rng, 0.02) else 0)
    dies = added
    if chance(rng, 0.85):
        dies += int(rng.expovariate(1 / (20 * HOUR if chance(rng, 0.9) else 12 * DAY))) + 60
    threat = "phishing" if chance(rng, 0.01) else "malware_download"
    corrected, later_tags, later_threat = None, tags, threat
    if chance(rng, 0.04):
        corrected = shown + rng.randint(HOUR, 3 * DAY)
        later_threat = "malware_download"
        later_tags = (*tags, next(f for f in rng.sample(_FAMILIES, 8) if f not in tags))
    removed = None
    if chance(rng, 0.01):
        soon = chance(rng, 0.7)
        removed = shown + (rng.randint(2 * HOUR, DAY) if soon else rng.randint(2 * DAY, 12 * DAY))
    return UrlStory(
        number,
        added,
        shown,
        date_text,
        url,
        threat,
        tags,
        rng.choice(_REPORTERS),
        dies,
        rng.choice((6, 8, 12)) * HOUR,
        corrected,
        later_threat,
        later_tags,
        removed,
    )


def _url_and_tags(rng: Random) -> tuple[str, tuple[str, ...]]:
    kind = rng.choices(("device", "load", "odd"), (55, 42, 3))[0]
    if kind == "device":
        url = f"http://{ip(rng)}:{rng.randint(1024, 65535)}/{rng.choice(('i', 'bin.sh', '.i'))}"
        tags: tuple[str, ...] = ("32-bit", "elf", rng.choice(("mips", "arm")))
        return url, (*tags, rng.choice(_FAMILIES[:4])) if chance(rng, 0.8) else tags
    if kind == "load":
        load = rng.choice(_LOADS)
        scheme = rng.choice(("http", "https"))
        host = domain(rng) if chance(rng, 0.7) else ip(rng)
        url = f"{scheme}://{host}/{rng.choice(WORDS)}/{rng.getrandbits(48):012x}.{load}"
        if chance(rng, 0.2):
            url += f"?id={rng.randint(1, 10**6)}&dl=1"
        return url, () if chance(rng, 0.3) else (load, rng.choice(_FAMILIES[4:]))
    return _odd_url(rng), rng.choice(((), ("opendir",), ("encrypted", "ascii")))


def _odd_url(rng: Random) -> str:
    """Draw a URL that is valid and that careless readers break on."""
    number = rng.randint(1, 10**6)
    return rng.choice(
        (
            f"http://{domain(rng)}/Smith,_Jones,_Inc/{number}.doc",
            f'http://{domain(rng)}/say"hello"/{number}.hta',
            f"https://{rng.choice(_IDN)}/pfad/ü{number}.exe",
            f"http://[2001:db8::{number % 65536:x}]:8080/bin.sh",
            f"http://{domain(rng).upper()}/Setup%20{number}.EXE",
            f"https://{domain(rng)}/redirect?to=https%3A%2F%2F{domain(rng)}%2F&x='{number}'#top",
            f"https://{domain(rng)}/{'a1b2c3d4' * rng.randint(150, 450)}{number}",
            f"http://user:pass@{domain(rng)}:81/{number}//../x;y=1",
            f"ftp://{ip(rng)}/pub/{number} copy.zip",
        )
    )
