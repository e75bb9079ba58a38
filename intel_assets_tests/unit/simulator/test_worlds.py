from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.simulator.tweetfeed_world import SETTLED_AFTER, TweetFeedWorld, version
from intel_assets.simulator.urlhaus_world import UrlhausWorld, UrlRecord, UrlStory

DAY = date(2026, 11, 18)
MIDNIGHT = datetime(2026, 11, 18, tzinfo=UTC)
LAST_DAYS = [DAY - timedelta(days=n) for n in range(60)]
YEAR = [DAY - timedelta(days=n) for n in range(1000)]

days = st.dates(min_value=date(2021, 8, 8), max_value=date(2030, 1, 1))
seeds = st.integers(min_value=0, max_value=10**6)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@cache
def _stories() -> list[UrlStory]:
    world = UrlhausWorld(7)
    return [story for day in LAST_DAYS for story in world.stories(day)]


def _shown(number: int, at: int) -> UrlRecord | None:
    published = UrlhausWorld(7).published(_moment(at), _moment(at) - timedelta(days=30))
    return next((record for record in published if record.id == number), None)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, day=days, hour=st.integers(0, 100))
def test_the_same_seed_and_moment_always_publish_the_same(seed: int, day: date, hour: int) -> None:
    now = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hour)
    since = now - timedelta(days=2)
    first = list(UrlhausWorld(seed).published(now, since))
    assert first == list(UrlhausWorld(seed).published(now, since))
    lines = [list(TweetFeedWorld(seed).lines(day, now) or ()) for _ in range(2)]
    assert lines[0] == lines[1]


def test_another_seed_is_another_world() -> None:
    now, since = MIDNIGHT, MIDNIGHT - timedelta(days=1)
    assert list(UrlhausWorld(1).published(now, since)) != list(
        UrlhausWorld(2).published(now, since)
    )


def test_ids_increase_with_the_added_time_over_days() -> None:
    oldest_first = _stories()[::-1]
    assert all(a.id < b.id and a.added <= b.added for a, b in pairwise(oldest_first))
    assert all(_moment(story.added).date() in LAST_DAYS for story in oldest_first)


def test_a_day_has_150_to_400_records_and_weekends_are_quieter() -> None:
    counts = {day: UrlhausWorld(7).count(day) for day in YEAR}
    weekend = [n for day, n in counts.items() if day.weekday() >= 5]
    working = [n for day, n in counts.items() if day.weekday() < 5]
    assert min(counts.values()) >= 150
    assert max(counts.values()) <= 400
    assert sum(weekend) / len(weekend) < 0.8 * sum(working) / len(working)


def test_volume_multiplies_the_records_of_a_day() -> None:
    few, many = UrlhausWorld(7), UrlhausWorld(7, volume=10)
    assert abs(many.count(DAY) - 10 * few.count(DAY)) <= 5
    stories = list(many.stories(DAY))
    assert len(stories) == many.count(DAY)
    assert len({story.id for story in stories}) == len(stories)


@pytest.mark.parametrize(
    ("kind", "happens", "least", "most"),
    [
        ("late", lambda s: s.shown > s.added, 0.01, 0.03),
        ("corrected", lambda s: s.corrected is not None, 0.03, 0.05),
        ("removed", lambda s: s.removed is not None, 0.005, 0.015),
        ("never online", lambda s: s.dies == s.added, 0.10, 0.20),
        ("bad date", lambda s: s.date_text.startswith("0000"), 0.0001, 0.004),
        ("no scheme", lambda s: "://" not in s.url.partition("?")[0], 0.0001, 0.004),
        ("no tags", lambda s: not s.tags, 0.05, 0.25),
        ("comma or quote", lambda s: "," in s.url or '"' in s.url, 0.001, 0.02),
        ("not ASCII", lambda s: not s.url.isascii(), 0.001, 0.02),
        ("IPv6", lambda s: "[" in s.url, 0.001, 0.02),
        ("very long", lambda s: len(s.url) > 1000, 0.001, 0.02),
    ],
)
def test_every_kind_of_life_happens_and_is_rare(
    kind: str, happens: Callable[[UrlStory], bool], least: float, most: float
) -> None:
    stories = _stories()
    share = sum(map(happens, stories)) / len(stories)
    assert least <= share <= most, kind


def test_a_late_record_is_not_seen_before_it_is_shown_and_keeps_its_added_time() -> None:
    late = next(s for s in _stories() if s.shown > s.added and s.removed is None)
    assert _shown(late.id, late.shown - 1) is None
    seen = _shown(late.id, late.shown)
    assert seen is not None
    assert seen.date_added == late.date_text


def test_a_removed_record_is_gone_for_good() -> None:
    story = next(s for s in _stories() if s.removed is not None)
    assert story.removed is not None
    assert _shown(story.id, story.removed - 1) is not None
    assert _shown(story.id, story.removed) is None
    assert _shown(story.id, story.removed + 86_400) is None


def test_a_corrected_record_changes_its_tags_once() -> None:
    story = next(s for s in _stories() if s.corrected is not None and s.removed is None)
    assert story.corrected is not None
    before, after = _shown(story.id, story.corrected - 1), _shown(story.id, story.corrected)
    assert before is not None
    assert after is not None
    assert before.tags == story.tags != after.tags == story.later_tags


def test_last_online_moves_while_a_record_is_online_and_never_passes_now_or_its_end() -> None:
    story = next(s for s in _stories() if s.dies > s.added + 5 * 86_400 and s.removed is None)
    hours = range(story.shown, story.dies + 3 * 86_400, 3600)
    seen = [record for at in hours if (record := story.at(at))]
    moments = [record.last_online or 0 for record in seen]
    assert moments == sorted(moments)
    assert len(set(moments)) > 5
    assert all(m <= at for m, at in zip(moments, hours, strict=True))
    assert moments[-1] <= story.dies
    assert [r.online for r in seen] == sorted((r.online for r in seen), reverse=True)
    assert not seen[-1].online


def test_only_the_window_is_published_newest_first() -> None:
    now = MIDNIGHT + timedelta(hours=9)
    since = now - timedelta(days=3)
    ids = [record.id for record in UrlhausWorld(7).published(now, since)]
    assert ids == sorted(ids, reverse=True)
    added = {s.id: s.added for s in _stories()}
    assert all(since.timestamp() <= added[number] <= now.timestamp() for number in ids)


def test_nothing_was_published_before_the_feed_began() -> None:
    early = datetime(2018, 3, 6, tzinfo=UTC)
    assert list(UrlhausWorld(7).published(early - timedelta(days=2), early - timedelta(9))) == []
    assert TweetFeedWorld(7).lines(date(2021, 8, 7), MIDNIGHT) is None


def test_about_one_tweetfeed_day_in_25_is_missing_and_one_in_100_is_empty() -> None:
    states = [TweetFeedWorld(7).state(day) for day in YEAR]
    assert 25 <= states.count("missing") <= 60
    assert 4 <= states.count("empty") <= 20


def test_a_missing_day_and_an_empty_day_are_two_things() -> None:
    world = TweetFeedWorld(7)
    missing = next(day for day in YEAR if world.state(day) == "missing")
    empty = next(day for day in YEAR if world.state(day) == "empty")
    assert world.lines(missing, MIDNIGHT) is None
    lines = world.lines(empty, MIDNIGHT)
    assert lines is not None
    assert list(lines) == []


def _published_day(*, late: bool) -> date:
    world = TweetFeedWorld(7)
    return next(
        day
        for day in YEAR[3:]
        if world.state(day) == "published" and any(t.late for t in world.tweets(day)) is late
    )


def _file(day: date, hours: float) -> list[bytes]:
    now = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hours)
    return list(TweetFeedWorld(7).lines(day, now) or ())


def test_a_day_file_only_grows_while_the_day_lasts() -> None:
    files = [_file(_published_day(late=False), hours) for hours in (2, 8, 16, 25, 100)]
    assert all(set(earlier) <= set(later) for earlier, later in pairwise(files))
    assert len(files[0]) < len(files[2]) < len(files[3]) == len(files[4])
    assert files[4] == sorted(files[4], key=lambda line: line[:19])
    assert all(line.endswith(b"\r\n") for line in files[4])


def test_late_lines_come_the_day_after_at_the_end_of_a_file_with_plain_line_ends() -> None:
    day = _published_day(late=True)
    on_time, settled = _file(day, 24.5), _file(day, 24 + 36)
    plain = [line.replace(b"\r\n", b"\n") for line in on_time]
    assert len(settled) > len(on_time)
    assert settled[: len(plain)] == plain
    assert settled == [line.rstrip(b"\r\n") + b"\n" for line in settled]
    assert all(line.startswith(day.isoformat().encode()) for line in settled)


def test_exact_duplicate_lines_and_quoted_values_happen_now_and_then() -> None:
    lines = [line for day in LAST_DAYS for line in _file(day, 100)]
    doubled = sum(len(f) - len(set(f)) for f in (_file(day, 100) for day in LAST_DAYS))
    assert 0 < doubled < len(lines) * 0.03
    assert 0 < sum(b'"' in line for line in lines) < len(lines) * 0.03
    assert any(b",," in line for line in lines)


def test_a_settled_day_has_one_version_for_ever() -> None:
    end = MIDNIGHT + timedelta(days=1) + SETTLED_AFTER
    assert version(DAY, end) == version(DAY, end + timedelta(days=500)) == end
    assert version(DAY, MIDNIGHT + timedelta(minutes=44)) == MIDNIGHT + timedelta(minutes=30)
