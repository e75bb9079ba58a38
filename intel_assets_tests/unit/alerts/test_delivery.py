"""What is due to whom: in order, at least once, with growing pauses, given up in the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.alerts.channels import Target
from intel_assets.alerts.delivery import Item, Patience, beginnings, frame, outcome, plan
from intel_assets.alerts.ledger import decide
from intel_assets.alerts.tables import ALERTS, DELIVERIES
from intel_assets_tests.unit.alerts.given import DAY, HOUR, MINUTE, NOW, finding

SLACK = Target("slack", "hooks.slack.com")
ALICE, BOB = Target("email", "alice@example.org"), Target("email", "bob@example.org")
US = timedelta(microseconds=1)


class Post:
    """Alerts and deliveries over time, sent by a function instead of a network."""

    def __init__(self, *targets: Target, patience: Patience | None = None) -> None:
        self.targets = targets
        self.patience = patience or Patience()
        self.alerts = ALERTS.empty()
        self.deliveries = DELIVERIES.empty()
        self.told: list[tuple[str, str, datetime]] = []
        self.began(NOW)

    def began(self, now: datetime) -> None:
        self.add(beginnings(self.deliveries, self.targets, now))

    def add(self, rows: pl.DataFrame) -> None:
        if not rows.is_empty():
            assert DELIVERIES.split(rows).rejected.is_empty()
            self.deliveries = pl.concat([self.deliveries, rows])

    def wrong(self, now: datetime, *subjects: str) -> None:
        """These things are wrong now."""
        found = [finding(subject=subject) for subject in subjects]
        self.alerts = pl.concat([self.alerts, decide(found, self.alerts, now)])

    def claim(self, now: datetime) -> list[Item]:
        made = plan(self.alerts, self.deliveries, self.targets, now, self.patience)
        self.add(made.rows)
        return list(made.items)

    def tick(
        self, now: datetime, works: Callable[[Item], bool] = lambda _: True, dies: bool = False
    ) -> list[str]:
        """Tell who is to be told; return the subjects that were tried."""
        results: list[tuple[Item, str | None]] = []
        failed = set()
        for item in self.claim(now):
            if item.target.key in failed:
                continue
            error = None if works(item) else "no"
            results.append((item, error))
            if error is None:
                self.told.append((item.target.shown, item.row["subject"], item.row["recorded_at"]))
            else:
                failed.add(item.target.key)
        if not dies:
            self.add(frame(outcome(item, why, now, self.patience) for item, why in results))
        return [item.row["subject"] for item, _ in results]

    def outcomes(self, *states: str) -> list[str]:
        rows = self.deliveries.sort("recorded_at")
        return [o for o in rows["outcome"] if not states or o in states]


def never(_: Item) -> bool:
    return False


def test_what_is_told_is_told_once_to_each() -> None:
    post = Post(SLACK, ALICE, BOB)
    post.wrong(NOW, "a", "b")
    assert sorted(post.tick(NOW)) == ["a"] * 3 + ["b"] * 3
    assert post.tick(NOW + MINUTE) == []
    assert post.outcomes().count("delivered") == 6


def test_a_new_target_is_not_told_the_past() -> None:
    post = Post(SLACK)
    post.wrong(NOW, "a")
    post.tick(NOW)
    post.targets = (SLACK, ALICE)
    assert post.tick(NOW + HOUR) == [], "it has not begun"
    post.began(NOW + HOUR)
    post.wrong(NOW + HOUR, "a", "b")
    assert post.tick(NOW + HOUR) == ["b", "b"]
    before = post.deliveries
    post.began(NOW + 2 * HOUR)
    assert post.deliveries.equals(before), "it begins once"


def test_a_webhook_that_moves_gets_what_was_not_delivered() -> None:
    post = Post(SLACK)
    post.wrong(NOW, "a")
    post.tick(NOW, never)
    post.targets = (Target("slack", "chat.example.org"),)
    post.began(NOW + HOUR)
    assert post.tick(NOW + HOUR) == ["a"]
    assert post.told == [("chat.example.org", "a", NOW)]


def test_the_rows_of_an_alert_come_in_order() -> None:
    post = Post(SLACK)
    post.wrong(NOW, "a")
    post.tick(NOW, never)
    post.wrong(NOW + 2 * MINUTE)
    post.wrong(NOW + 3 * MINUTE, "b")
    post.tick(NOW + 4 * MINUTE, lambda item: item.row["subject"] == "b")
    while len(post.told) < 3:
        post.wrong(NOW + 5 * MINUTE, "b")
        post.tick(NOW + len(post.deliveries) * HOUR)
    states = [(s, at) for _, s, at in post.told if s == "a"]
    assert states == sorted(states, key=lambda one: one[1])
    assert len(states) == 2


@pytest.mark.slow
def test_what_fails_is_tried_again_with_growing_pauses_and_given_up() -> None:
    post = Post(SLACK)
    post.wrong(NOW, "a")
    tried = []
    for minute in range(12 * 60):
        if post.tick(NOW + minute * MINUTE + minute * US, never):
            tried.append(minute)
    assert tried == [0, 1, 6, 21, 51, *range(111, 111 + 7 * 60, 60)]
    assert post.outcomes("failed", "given_up") == ["failed"] * 11 + ["given_up"]
    last = post.deliveries.row(-1, named=True)
    assert (last["outcome"], last["attempts"], last["error"]) == ("given_up", 12, "no")


def test_a_target_that_fails_is_asked_once_a_pause_however_much_waits_for_it() -> None:
    post = Post(SLACK)
    post.wrong(NOW, *"abcdefgh")
    asked = [post.tick(NOW + n * MINUTE / 2, never) for n in range(0, 2 * 60 * 8, 3)]
    assert all(len(one) <= 1 for one in asked)
    assert sum(map(len, asked)) <= 5 + 8
    assert {subject for one in asked for subject in one} == set("abcdefgh"), "in turns"
    assert post.outcomes("given_up") == []
    claims = post.deliveries.filter(pl.col("outcome") == "claimed").height
    assert claims < 8 + 13, "nor does the table grow"


def test_when_it_works_again_all_that_waits_is_told() -> None:
    post = Post(SLACK)
    post.wrong(NOW, *"abcd")
    for n in range(8):
        post.tick(NOW + n * HOUR, never)
    for n in range(4):
        post.tick(NOW + 10 * HOUR + n * MINUTE)
    assert sorted(subject for _, subject, _ in post.told) == list("abcd")


def test_one_message_that_is_refused_does_not_keep_the_others() -> None:
    post = Post(SLACK)
    post.wrong(NOW, *"abc")
    for n in range(5):
        post.tick(NOW + 2 * n * MINUTE, lambda item: item.row["subject"] != "a")
    assert sorted(subject for _, subject, _ in post.told) == ["b", "c"]


def test_one_address_that_fails_does_not_keep_the_others() -> None:
    post = Post(ALICE, BOB)
    post.wrong(NOW, "a", "b")
    post.tick(NOW, lambda item: item.target == BOB)
    assert [who for who, _, _ in post.told] == [BOB.shown] * 2
    post.tick(NOW + 2 * MINUTE)
    post.tick(NOW + 3 * MINUTE)
    assert [who for who, _, _ in post.told].count(ALICE.shown) == 2


def test_what_could_not_be_told_for_a_day_is_given_up_and_says_why() -> None:
    post = Post(SLACK)
    post.wrong(NOW, "a", "b")
    post.tick(NOW, never)
    assert post.tick(NOW + DAY + MINUTE) == []
    rows = post.deliveries.filter(pl.col("outcome") == "given_up").sort("attempts")
    assert rows["attempts"].to_list() == [0, 1]
    assert rows["error"].to_list() == [
        "it could not be told for 24 hours",
        "it could not be told for 24 hours; last: no",
    ]
    assert post.tick(NOW + 2 * DAY) == []


def test_at_most_so_many_go_in_one_call() -> None:
    post = Post(SLACK, patience=Patience(per_call=3))
    post.wrong(NOW, *"abcdefgh")
    assert [len(post.tick(NOW + n * MINUTE)) for n in range(4)] == [3, 3, 2, 0]


def test_what_another_process_is_sending_is_left_to_it() -> None:
    post = Post(SLACK)
    post.wrong(NOW, "a", "b")
    assert len(post.claim(NOW)) == 2
    assert post.claim(NOW + 59 * timedelta(seconds=1)) == []
    # It died: nobody knows whether it got through, so it is told again.
    assert sorted(post.tick(NOW + 61 * timedelta(seconds=1))) == ["a", "b"]


def test_what_was_claimed_and_not_tried_is_told_at_once_when_its_process_is_done() -> None:
    post = Post(SLACK)
    post.wrong(NOW, "a", "b")
    first, second = post.claim(NOW)
    post.add(frame([outcome(first, None, NOW, post.patience)]))
    assert post.tick(NOW + timedelta(seconds=1)) == [second.row["subject"]]


def test_nothing_due_is_nothing_written() -> None:
    post = Post(SLACK)
    made = plan(post.alerts, post.deliveries, post.targets, NOW, post.patience)
    assert made.rows.is_empty()
    assert (made.items, made.waiting) == ((), 0)


@pytest.mark.parametrize(("failures", "minutes"), [(0, 1), (1, 1), (2, 5), (5, 60), (99, 60)])
def test_pauses_grow_to_an_hour(failures: int, minutes: int) -> None:
    assert Patience().pause(failures) == minutes * MINUTE


a_tick = st.tuples(
    st.sampled_from([MINUTE, 10 * MINUTE, HOUR]),
    st.sets(st.sampled_from("abc")),
    st.booleans(),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(ticks=st.lists(a_tick, max_size=12))
def test_whatever_fails_every_row_is_told_in_order_or_given_up(ticks: list[Any]) -> None:
    post = Post(SLACK, ALICE)
    now = NOW
    for pause, wrong, slack_works, mail_works, dies in ticks:
        now += pause
        post.wrong(now, *wrong)
        up = {"slack": slack_works, "email": mail_works}
        post.tick(now, lambda item, up=up: up[item.target.channel], dies)  # type: ignore[misc]
    for n in range(40):
        post.tick(now + (n + 1) * 30 * MINUTE)
    ends = post.deliveries.filter(pl.col("outcome").is_in(["delivered", "given_up"]))
    assert ends.height == 2 * post.alerts.height, "each row has one end with each target"
    assert ends.unique(["channel", "alert_id", "alert_recorded_at"]).height == ends.height
    order = defaultdict(list)
    for who, subject, at in post.told:
        if at not in order[who, subject]:  # A process that died may have told it already.
            order[who, subject].append(at)
    assert all(moments == sorted(moments) for moments in order.values())
