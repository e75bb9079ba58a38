"""The whole way: facts become rows, rows become messages, on a real lake and real sockets."""

from __future__ import annotations

import email
import json
import logging
import multiprocessing
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from aiosmtpd.smtp import Envelope
from pydantic import SecretStr

from intel_assets.alerts.channels import Channels, configured
from intel_assets.alerts.delivery import Patience
from intel_assets.alerts.engine import Summary, run
from intel_assets.alerts.facts import Facts
from intel_assets.alerts.tables import (
    ALERTS,
    DELIVERIES,
    Ledger,
    given_up,
    newest,
    standing,
)
from intel_assets.errors import StorageError
from intel_assets.lakehouse.catalog import Catalog
from intel_assets.lakehouse.layout import Layout
from intel_assets.lakehouse.maintenance import maintain
from intel_assets_tests.unit.alerts import receivers
from intel_assets_tests.unit.alerts.given import DAY, HOUR, MINUTE, NOW, facts
from intel_assets_tests.unit.alerts.receivers import Hook, Mails
from intel_assets_tests.unit.alerts.test_messages import HOSTILE, verified

CANARY = "c4n4ry-0815-never-shown"
SECRET = f"{CANARY}-of-32-bytes-and-more"
QUICK = Patience(seconds=0.5, budget=1.0)


@dataclass
class Watch:
    """A lake that is looked at, and a clock that stands still in between."""

    layout: Layout
    channels: Channels = field(default_factory=Channels)
    now: datetime = NOW
    patience: Patience = QUICK
    ahead: timedelta = timedelta()

    def look(self, *, after: timedelta = timedelta(), **wrong: list[dict[str, Any]]) -> Summary:
        self.now += after
        return run(
            self.layout,
            facts(self.now, **wrong),
            self.channels,
            lambda: self.now,
            self.patience,
            lambda: self.now + self.ahead,
        )

    @property
    def alerts(self) -> pl.DataFrame:
        return Ledger(self.layout, ALERTS).read()

    @property
    def deliveries(self) -> pl.DataFrame:
        return Ledger(self.layout, DELIVERIES).read()

    def outcomes(self, channel: str) -> list[str]:
        rows = self.deliveries.filter(
            pl.col("channel") == channel, ~pl.col("outcome").is_in(["claimed", "begun"])
        )
        return rows["outcome"].to_list()


FULL: dict[str, list[dict[str, Any]]] = {"disk": [{"free_bytes": 3 << 30}]}


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    return Watch(Layout(str(tmp_path / "lake")))


@pytest.fixture
def hook() -> Iterator[Hook]:
    with receivers.web() as server:
        yield server


@pytest.fixture
def mails() -> Iterator[Mails]:
    with receivers.mail() as server:
        yield server


def slack(hook: Hook) -> Channels:
    return configured(slack_webhook=SecretStr(f"{hook.url}/services/T0/B0/{CANARY}"))


def webhook(hook: Hook) -> Channels:
    return configured(
        alert_webhook=SecretStr(f"{hook.url}/in?token={CANARY}"),
        alert_webhook_secret=SecretStr(SECRET),
    )


def mailing(port: int, scheme: str = "smtp", login: str = "") -> Channels:
    return configured(
        smtp_url=SecretStr(f"{scheme}://{login}127.0.0.1:{port}"),
        alert_from="intel@example.org",
        alert_to="ops@example.org, night@example.org",
    )


def read(envelope: Envelope) -> EmailMessage:
    assert isinstance(envelope.content, bytes)
    found = email.message_from_bytes(envelope.content, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


# -- rows first --------------------------------------------------------------------------------


def test_without_channels_alerts_are_rows(watch: Watch) -> None:
    first = watch.look(**FULL)
    assert (first.opened, first.standing, first.delivered, first.waiting) == (1, 1, 0, 0)
    assert not first.quiet
    again = watch.look(after=MINUTE, **FULL)
    assert again.quiet
    assert "nothing new to say" in str(again)
    over = watch.look(after=HOUR)
    assert (over.resolved, over.standing) == (1, 0)
    assert watch.alerts["state"].to_list() == ["open", "resolved"]
    assert newest(watch.alerts)["state"].to_list() == ["resolved"]


def test_a_look_at_which_nothing_is_new_commits_nothing(watch: Watch, hook: Hook) -> None:
    watch.channels = slack(hook)
    watch.look(**FULL)
    files = sorted(Path(watch.layout.base).rglob("*"))
    for _ in range(3):
        watch.look(after=MINUTE, **FULL)
    assert sorted(Path(watch.layout.base).rglob("*")) == files


def test_what_stands_is_listed_the_worst_first(watch: Watch) -> None:
    assert standing(watch.layout).is_empty()
    watch.look(quota=[{"used": 100}], disk=[{"free_bytes": 1}])
    found = standing(watch.layout)
    assert found["severity"].to_list() == ["critical", "warning"]
    watch.look(after=HOUR)
    assert standing(watch.layout).is_empty()


def test_alerts_are_asked_in_sql_and_outlive_upkeep(watch: Watch, hook: Hook) -> None:
    watch.channels = slack(hook)
    for n in range(6):
        watch.look(after=2 * HOUR, **(FULL if n % 2 == 0 else {}))
    before = watch.alerts, watch.deliveries
    maintain(watch.layout)
    assert watch.alerts.equals(before[0])
    order = ["recorded_at", "outcome"]
    assert watch.deliveries.sort(order).equals(before[1].sort(order))
    with Catalog(watch.layout).connect() as con:
        rows = con.sql(
            "SELECT rule, subject, state FROM ops.alerts "
            "QUALIFY row_number() OVER (PARTITION BY alert_id ORDER BY recorded_at DESC) = 1"
        ).fetchall()
        delivered = con.sql(
            "SELECT count(*) FROM ops.deliveries WHERE outcome = 'delivered'"
        ).fetchone()
    assert rows == [("disk_nearly_full", "/lake", "resolved")]
    assert delivered == (6,)
    assert watch.look(after=MINUTE, **FULL).opened == 1


def test_a_lake_without_an_alert_can_be_asked_for_them(watch: Watch) -> None:
    assert watch.look().quiet
    with Catalog(watch.layout).connect() as con:
        for table in ("alerts", "deliveries"):
            assert con.sql(f"SELECT count(*) FROM ops.{table}").fetchone() == (0,)


def test_facts_that_were_not_to_be_had_are_named(watch: Watch) -> None:
    watch.look(**FULL)
    summary = run(watch.layout, Facts(now=NOW), Channels(), lambda: NOW + HOUR)
    assert "disk_nearly_full" in summary.unjudged
    assert "delivery_failed" not in summary.unjudged
    assert summary.standing == 1
    assert "not judged" in str(summary)


# -- Slack and webhook -------------------------------------------------------------------------


def test_slack_gets_each_row_once(watch: Watch, hook: Hook) -> None:
    watch.channels = slack(hook)
    watch.look(**FULL)
    watch.look(after=MINUTE, **FULL)
    watch.look(after=HOUR)
    assert [call.path for call in hook.calls] == [f"/services/T0/B0/{CANARY}"] * 2
    texts = [json.loads(call.body)["text"] for call in hook.calls]
    assert texts[0].startswith("[warning] Disk nearly full: /lake")
    assert "intel upkeep" in texts[0]
    assert texts[1].startswith("[resolved]")
    assert watch.outcomes("slack") == ["delivered", "delivered"]


def test_the_webhooks_signature_verifies_and_a_replay_is_told_apart(
    watch: Watch, hook: Hook
) -> None:
    watch.channels = webhook(hook)
    hook.answers = [500]
    watch.look(**FULL)
    watch.look(after=2 * MINUTE, **FULL)
    first, second = hook.calls
    for call, at in ((first, NOW), (second, watch.now)):
        assert call.headers["content-type"] == "application/json"
        assert verified(call.headers, call.body, SECRET.encode(), at.timestamp())
        late = (at + 6 * MINUTE).timestamp()
        assert not verified(call.headers, call.body, SECRET.encode(), late)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["webhook-timestamp"] != second.headers["webhook-timestamp"]
    assert json.loads(second.body)["type"] == "alert.open"


def test_signatures_and_mails_are_dated_in_the_time_of_those_who_get_them(
    watch: Watch, hook: Hook, mails: Mails
) -> None:
    watch.channels = replace(webhook(hook), email=mailing(mails.port).email)
    watch.ahead = 400 * DAY
    watch.look(**FULL)
    sent = (NOW + watch.ahead).timestamp()
    assert int(hook.calls[0].headers["webhook-timestamp"]) == sent
    assert read(mails.got[0])["Date"].datetime.timestamp() == sent
    assert json.loads(hook.calls[0].body)["timestamp"] == "2026-06-10T12:00:00Z"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (500, "it answered 500: ok"),
        (404, "it answered 404: ok"),
        (302, "it answered 302: ok"),
        (429, "it answered 429: ok"),
        ("hang", "no answer within 0.5 s"),
        ("hang up", "the connection broke"),
        ("drip", "no answer within 0.5 s"),
    ],
)
def test_what_fails_is_a_row_and_comes_when_it_works_again(
    watch: Watch, hook: Hook, answer: int | str, error: str
) -> None:
    watch.channels = slack(hook)
    hook.answers = [answer]
    first = watch.look(**FULL)
    assert (first.failed, first.delivered) == (1, 0)
    row = watch.deliveries.row(-1, named=True)
    assert (row["outcome"], row["error"], row["attempts"]) == ("failed", error, 1)
    assert watch.look(after=MINUTE / 2, **FULL).quiet, "it waits"
    assert watch.look(after=MINUTE, **FULL).delivered == 1
    assert watch.outcomes("slack") == ["failed", "delivered"]
    assert len(hook.calls) == 2


def test_nobody_listening_is_no_connection(watch: Watch) -> None:
    port = receivers.free_port()
    watch.channels = configured(slack_webhook=SecretStr(f"http://127.0.0.1:{port}/{CANARY}"))
    watch.look(**FULL)
    row = watch.deliveries.row(-1, named=True)
    assert (row["error"], row["target"]) == ("no connection", f"127.0.0.1:{port}")


def test_a_channel_that_stays_dead_is_given_up_and_itself_an_alert(
    watch: Watch, hook: Hook, mails: Mails
) -> None:
    port = receivers.free_port()
    watch.channels = replace(
        mailing(mails.port), slack=SecretStr(f"http://127.0.0.1:{port}/{CANARY}")
    )
    watch.patience = replace(QUICK, attempts=3)
    for _ in range(3):
        watch.look(after=6 * MINUTE, **FULL)
    assert watch.outcomes("slack") == ["failed", "failed", "given_up"]
    assert given_up(watch.layout, NOW)["channel"].to_list() == ["slack"]
    assert watch.look(after=MINUTE, **FULL).opened == 1
    told = standing(watch.layout)
    assert told["rule"].to_list() == ["delivery_failed", "disk_nearly_full"]
    assert told["message"][0] == (
        f"1 message could not be delivered by slack (127.0.0.1:{port}): no connection."
    )
    assert any("Alerts not delivered" in read(one)["Subject"] for one in mails.got)
    # It is mended: the address is another, what waits arrives, and the alert is over.
    watch.channels = replace(watch.channels, slack=slack(hook).slack)
    assert watch.look(after=HOUR, **FULL).delivered
    assert watch.look(after=HOUR, **FULL).resolved == 1


def test_a_slow_channel_does_not_hold_the_others(watch: Watch, hook: Hook) -> None:
    with receivers.web() as other, receivers.mute() as port:
        watch.channels = replace(webhook(other), slack=slack(hook).slack, email=mailing(port).email)
        hook.answers = ["hang"]
        began = time.monotonic()
        summary = watch.look(disk=[{"place": f"/{n}", "free_bytes": 1} for n in range(5)])
        took = time.monotonic() - began
    assert len(other.calls) == 5
    assert (summary.delivered, summary.failed) == (5, 3)
    assert took < QUICK.budget + 2 * QUICK.seconds + 1


@pytest.mark.slow
def test_a_call_ends_in_time_and_the_rest_goes_with_the_next(watch: Watch, mails: Mails) -> None:
    mails.slow = 0.3
    watch.channels = mailing(mails.port)
    disks: list[dict[str, Any]] = [{"place": f"/{n}", "free_bytes": 1} for n in range(5)]
    began = time.monotonic()
    first = watch.look(disk=disks)
    assert time.monotonic() - began < QUICK.budget + 2 * QUICK.seconds + 1
    assert 1 <= first.delivered < 10
    assert first.waiting == 10 - first.delivered
    for _ in range(10):
        watch.look(after=timedelta(seconds=30), disk=disks)
    assert len(mails.got) == 10, "each once"


# -- e-mail ------------------------------------------------------------------------------------


def test_each_address_gets_a_mail_of_its_own(watch: Watch, mails: Mails) -> None:
    watch.channels = mailing(mails.port)
    watch.look(**FULL)
    assert [one.rcpt_tos for one in mails.got] == [["ops@example.org"], ["night@example.org"]]
    message = read(mails.got[0])
    assert message["Subject"] == "[warning] Disk nearly full: /lake"
    assert message["To"] == "ops@example.org"
    assert "intel upkeep" in message.get_content()
    assert watch.outcomes("email") == ["delivered", "delivered"]


def test_a_refused_address_is_told_again_and_the_other_at_once(watch: Watch, mails: Mails) -> None:
    mails.refuse["ops@example.org"] = "450 greylisted, come back"
    watch.channels = mailing(mails.port)
    watch.look(**FULL)
    rows = watch.deliveries.filter(pl.col("outcome").is_in(["failed", "delivered"]))
    assert dict(rows.select("target", "outcome").iter_rows()) == {
        "ops@example.org": "failed",
        "night@example.org": "delivered",
    }
    assert rows["error"].drop_nulls().to_list() == [
        "the address is refused: 450 greylisted, come back"
    ]
    mails.refuse.clear()
    watch.look(after=2 * MINUTE, **FULL)
    assert [one.rcpt_tos[0] for one in mails.got] == ["night@example.org", "ops@example.org"]


def test_a_mail_that_the_server_will_not_take_says_why(watch: Watch, mails: Mails) -> None:
    mails.reply = "554 looks like spam"
    watch.channels = mailing(mails.port)
    watch.look(**FULL)
    assert set(watch.deliveries["error"].drop_nulls()) == {
        "the mail is refused: 554 looks like spam"
    }


def test_a_sender_that_the_server_will_not_have_says_which(watch: Watch, mails: Mails) -> None:
    mails.sender = "550 who are you"
    watch.channels = mailing(mails.port)
    watch.look(**FULL)
    assert set(watch.deliveries["error"].drop_nulls()) == {
        "the sender intel@example.org is refused: 550 who are you"
    }


def test_a_server_that_will_not_be_talked_to_says_why(watch: Watch) -> None:
    with receivers.mute(b"554 go away\r\n") as port:
        watch.channels = mailing(port)
        watch.look(**FULL)
    assert set(watch.deliveries["error"].drop_nulls()) == {"it answered 554 go away"}


def test_a_server_that_hangs_up_keeps_what_it_took(watch: Watch, mails: Mails) -> None:
    mails.hangs_up_after = 3
    watch.channels = mailing(mails.port)
    disks: list[dict[str, Any]] = [{"place": f"/{n}", "free_bytes": 1} for n in range(4)]
    first = watch.look(disk=disks)
    assert (first.delivered, first.failed) == (3, 2), "each address fails once"
    mails.hangs_up_after = 1000
    for _ in range(3):
        watch.look(after=2 * MINUTE, disk=disks)
    told = [(one.rcpt_tos[0], read(one)["Message-ID"]) for one in mails.got]
    assert len(told) == len(set(told)) == 8, "each once"


def test_an_address_that_is_refused_is_left_in_peace_for_the_call(
    watch: Watch, mails: Mails
) -> None:
    mails.refuse["ops@example.org"] = "550 no such user"
    watch.channels = mailing(mails.port)
    summary = watch.look(disk=[{"place": f"/{n}", "free_bytes": 1} for n in range(3)])
    assert (summary.delivered, summary.failed, summary.waiting) == (3, 1, 2)


def test_a_mail_server_that_is_down_fails_each_address_once_and_comes_back(watch: Watch) -> None:
    port = receivers.free_port()
    watch.channels = mailing(port)
    assert watch.look(**FULL).failed == 2
    assert set(watch.deliveries["error"].drop_nulls()) == {"no connection"}
    with receivers.mail(port=port) as mails:
        assert watch.look(after=2 * MINUTE, **FULL).delivered == 2
    assert len(mails.got) == 2


def test_a_mail_server_that_trickles_is_cut_off(watch: Watch) -> None:
    with receivers.mute() as port:
        watch.channels = mailing(port)
        began = time.monotonic()
        assert watch.look(**FULL).failed == 2
        assert time.monotonic() - began < 3


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    cert, key = receivers.certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    return context


def test_a_password_goes_over_starttls_and_a_wrong_one_is_told(
    watch: Watch, trusted: ssl.SSLContext
) -> None:
    with receivers.mail(CANARY.encode(), trusted) as mails:
        watch.channels = mailing(mails.port, "smtp+starttls", f"intel:{CANARY}@")
        assert watch.look(**FULL).delivered == 2
        assert mails.logins == [CANARY.encode()]
        watch.channels = mailing(mails.port, "smtp+starttls", f"intel:{CANARY}x@")
        watch.look(after=HOUR)
    error = watch.deliveries["error"].drop_nulls()[0]
    assert error.startswith("user and password are refused: 535")
    assert CANARY not in error


def test_a_password_goes_over_tls_from_the_start(watch: Watch, trusted: ssl.SSLContext) -> None:
    with receivers.mail(tls=trusted, from_the_start=True) as mails:
        watch.channels = mailing(mails.port, "smtps")
        assert watch.look(**FULL).delivered == 2
    assert len(mails.got) == 2


@pytest.mark.usefixtures("trusted")
def test_a_server_without_starttls_gets_no_password(watch: Watch, mails: Mails) -> None:
    watch.channels = mailing(mails.port, "smtp+starttls", f"intel:{CANARY}@")
    watch.look(**FULL)
    assert "STARTTLS" in watch.deliveries["error"].drop_nulls()[0]
    assert mails.got == []


def test_a_certificate_that_nobody_signed_is_refused(
    watch: Watch, trusted: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with receivers.mail(CANARY.encode(), trusted) as mails:
        watch.channels = mailing(mails.port, "smtp+starttls", f"intel:{CANARY}@")
        watch.look(**FULL)
    assert "certificate" in watch.deliveries["error"].drop_nulls()[0]
    assert mails.logins == []


# -- hostile text, secrets ---------------------------------------------------------------------


def test_hostile_text_of_a_source_does_no_harm_on_any_channel(
    watch: Watch, hook: Hook, mails: Mails
) -> None:
    with receivers.web() as other:
        watch.channels = replace(
            webhook(other), slack=slack(hook).slack, email=mailing(mails.port).email
        )
        hostile = HOSTILE.replace("\ud800", "")
        watch.look(failed_runs=[{"message": hostile, "run_id": hostile}])
    row = watch.alerts.row(0, named=True)
    bodies = [
        hook.calls[0].body.decode(),
        other.calls[0].body.decode(),
        *(read(one).as_string() for one in mails.got),
        *(str(row[name]) for name in ("message", "advice", "run_id")),
    ]
    assert len(bodies) == 7
    for body in bodies:
        for bad in ("<script", "<!channel", "http://evil", "HTTPS://", "\x1b", "\u202e"):
            assert bad not in body
    assert "@channel" not in bodies[0]
    assert all("Bcc" not in read(one) for one in mails.got)
    assert all(one.rcpt_tos[0].startswith(("ops", "night")) for one in mails.got)


@pytest.mark.filterwarnings("ignore:Requiring AUTH")
def test_no_secret_is_in_tables_logs_or_errors(
    watch: Watch, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with receivers.mail(b"another") as mails:
        watch.channels = replace(
            webhook(hook),
            slack=SecretStr(f"{hook.url}/services/T0/B0/{CANARY}"),
            email=mailing(mails.port, "smtp", f"intel:{CANARY}@").email,
        )
        # A server that says all that it was sent.
        hook.text = f"no such webhook: /services/T0/B0/{CANARY}?token={CANARY} {SECRET}".encode()
        for answers in ([403, 500], ["hang", "hang"], [200, 200]):
            hook.answers = list(answers)
            watch.look(after=HOUR, **FULL)
    assert watch.outcomes("slack").count("failed") == 2
    for table in (watch.alerts, watch.deliveries):
        assert CANARY not in json.dumps(table.rows(), default=str)
    stored = [f for f in Path(watch.layout.base).rglob("*") if f.is_file()]
    assert stored
    assert not [f for f in stored if CANARY.encode() in f.read_bytes()]
    assert CANARY not in caplog.text
    assert "attempt 1 of 12" in caplog.text


def test_a_defect_in_sending_is_a_failed_delivery_and_says_no_secret(
    watch: Watch, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr("intel_assets.alerts.messages.slack", broken)
    watch.channels = slack(hook)
    watch.look(**FULL)
    assert watch.deliveries["error"].drop_nulls().to_list() == ["it failed with RuntimeError"]


# -- two at once, and storage ------------------------------------------------------------------


def look_in_a_process(root: str, url: str, begin: Any) -> None:
    channels = configured(slack_webhook=SecretStr(f"{url}/services/T0/B0/{CANARY}"))
    wrong: list[dict[str, Any]] = [{"place": f"/{n}", "free_bytes": 1} for n in range(4)]
    begin.wait(60)
    run(Layout(root), facts(NOW, disk=wrong), channels, lambda: NOW)


@pytest.mark.slow
def test_processes_that_look_at_once_write_nothing_twice_and_tell_nobody_twice(
    watch: Watch, hook: Hook
) -> None:
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(4)
    processes = [
        context.Process(target=look_in_a_process, args=(watch.layout.root, hook.url, begin))
        for _ in range(4)
    ]
    with ExitStack() as stack:
        for one in processes:
            one.start()
            stack.callback(one.kill)
        for one in processes:
            one.join(120)
    assert [one.exitcode for one in processes] == [0] * 4
    assert watch.alerts.height == watch.alerts["alert_id"].n_unique() == 4
    assert watch.outcomes("slack") == ["delivered"] * 4
    assert len(hook.calls) == 4
    begun = watch.deliveries.filter(pl.col("outcome") == "begun")
    assert begun.height == 1


def test_a_row_that_follows_from_what_another_has_changed_is_decided_again(watch: Watch) -> None:
    mine, other = Ledger(watch.layout, ALERTS), Ledger(watch.layout, ALERTS)
    watch.look(**FULL)
    row = watch.alerts
    seen: list[int] = []

    def build(rows: pl.DataFrame) -> pl.DataFrame:
        seen.append(rows.height)
        if len(seen) == 1:
            other.extend(lambda _: row.with_columns(pl.col("recorded_at") + HOUR))
        return (
            row.with_columns(pl.col("recorded_at") + 2 * HOUR) if rows.height < 3 else row.clear()
        )

    before, added = mine.extend(build)
    assert seen == [1, 2]
    assert (before.height, added.height) == (2, 1)


def test_a_process_that_dies_between_sending_and_noting_sends_again(
    watch: Watch, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.channels = slack(hook)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("intel_assets.alerts.delivery.frame", killed)
        with pytest.raises(KeyboardInterrupt):
            watch.look(**FULL)
    assert watch.look(after=MINUTE / 2, **FULL).delivered == 0, "it may still be at it"
    assert watch.look(after=MINUTE, **FULL).delivered == 1
    assert len(hook.calls) == 2


def test_a_lake_that_cannot_be_written_is_an_error(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("intel_assets.alerts.tables.write_deltalake", full)
    with pytest.raises(StorageError, match="No space is left"):
        watch.look(**FULL)


def test_the_clock_may_stand_still(watch: Watch, hook: Hook) -> None:
    watch.channels = slack(hook)
    for n in range(4):
        watch.look(**(FULL if n % 2 == 0 else {}))
    assert watch.alerts["recorded_at"].n_unique() == watch.alerts.height == 4
    assert len(hook.calls) == 4


@pytest.mark.slow
def test_a_year_of_alerts_is_looked_at_quickly(watch: Watch) -> None:
    """A look every half minute must not cost a machine of two cores anything to speak of."""
    watch.look(**FULL)
    row = watch.alerts
    many = pl.concat(
        [
            row.with_columns(
                alert_id=pl.lit(f"{n % 500:032x}"),
                state=pl.lit("open" if n // 500 % 2 == 0 else "resolved"),
                recorded_at=pl.lit(NOW - DAY * 300 + n * timedelta(minutes=20)),
                opened_at=pl.lit(NOW - DAY * 300 + n // 1000 * 1000 * timedelta(minutes=20)),
            )
            for n in range(20_000)
        ]
    )
    Ledger(watch.layout, ALERTS).extend(lambda rows: many if rows.height < 10 else rows.clear())
    assert watch.look(after=MINUTE, **FULL).quiet
    took: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        watch.look(after=MINUTE, **FULL)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.2
