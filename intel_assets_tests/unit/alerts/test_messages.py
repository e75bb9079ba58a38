"""Messages: hostile text can do nothing in them, and a signature proves what it says."""

from __future__ import annotations

import email
import json
import re
from datetime import date, timedelta
from email import policy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intel_assets.alerts import messages
from intel_assets.alerts.ledger import decide
from intel_assets.alerts.rules import RULES
from intel_assets.alerts.tables import ALERTS, STATES
from intel_assets.alerts.words import count, lasting, plain, span
from intel_assets_tests.unit.alerts.given import DAY, HOUR, MINUTE, NOW, finding

HOSTILE = (
    "boom\r\nBcc: everybody@example.org\r\n\r\n<script>alert(1)</script> <!channel> <!everyone> "
    "<@U123> @channel @here @everyone [click](http://evil.example/x) HTTPS://evil.example "
    "\x00\x1b[31m\u202egnp.exe\u2028 `rm -rf` \ud800 \N{PILE OF POO}"
)


def row(**given: Any) -> dict[str, Any]:
    """A row of ops.alerts."""
    made = finding(message="What is wrong.", advice="What helps.")
    return {**decide([made], ALERTS.empty(), NOW).row(0, named=True), **given}


# -- words -------------------------------------------------------------------------------------


def test_a_strangers_text_is_one_harmless_line() -> None:
    seen = plain(HOSTILE, 1000)
    assert seen.isprintable()
    for bad in ("\n", "<", ">", "`", "://", "\u202e", "\u2028", "\x1b", "\ud800"):
        assert bad not in seen
    assert "http[:]//evil.example/x" in seen
    assert "‹script›" in seen
    assert "\N{PILE OF POO}" in seen


@settings(max_examples=200)
@given(st.text(alphabet=st.characters(), max_size=400), st.integers(10, 300))
def test_any_text_becomes_one_printable_line_of_bounded_length(text: str, most: int) -> None:
    seen = plain(text, most)
    assert seen.isprintable()
    assert len(seen) <= most
    assert not set(seen) & set("<>`\r\n")
    assert plain(seen, most) == seen
    seen.encode()


def test_nothing_said_is_nothing_said() -> None:
    assert plain(None) == plain(" \n ") == ""


def test_days_are_told_as_ranges() -> None:
    first = date(2026, 6, 1)
    assert span([first]) == "2026-06-01"
    assert span([first + n * DAY for n in (2, 0, 1, 9)]) == "2026-06-01 to 2026-06-03, 2026-06-10"
    assert span([first + 2 * n * DAY for n in range(6)]).endswith("2026-06-09 and 1 more range")


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (timedelta(0), "0 minutes"),
        (MINUTE, "1 minute"),
        (45 * MINUTE, "45 minutes"),
        (3 * HOUR, "3 hours"),
        (47 * HOUR, "47 hours"),
        (12 * DAY, "12 days"),
    ],
)
def test_durations_are_told_in_their_largest_unit(time: timedelta, words: str) -> None:
    assert lasting(time) == words


def test_counts_have_their_plural() -> None:
    assert (count(1, "day"), count(0, "day"), count(1200, "day")) == (
        "1 day",
        "0 days",
        "1,200 days",
    )


# -- titles ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "title"),
    [
        ("open", "[warning] Disk nearly full: /lake"),
        ("worse", "[warning, worse] Disk nearly full: /lake"),
        ("reminded", "[warning, still] Disk nearly full: /lake"),
        ("resolved", "[resolved] Disk nearly full: /lake"),
    ],
)
def test_a_title_says_how_urgent_what_and_where(state: str, title: str) -> None:
    assert messages.title(row(state=state)) == title


def test_every_rule_has_a_title_and_an_unknown_one_is_read_as_it_is_written() -> None:
    for name, rule in RULES.items():
        assert rule.title in messages.title(row(rule=name))
    assert "Of another version" in messages.title(row(rule="of_another_version"))


# -- Slack -------------------------------------------------------------------------------------


def test_slack_is_told_severity_source_what_and_what_to_do() -> None:
    body = messages.slack(row(source="urlhaus"))
    shown = json.dumps(body["blocks"])
    for words in ("warning", "urlhaus", "What is wrong.", "What to do: What helps."):
        assert words in shown
        assert words in body["text"] or words == "urlhaus"
    kinds = [block["type"] for block in body["blocks"]]
    assert kinds == ["header", "section", "context"]
    assert {b["text"]["type"] for b in body["blocks"] if "text" in b} == {"plain_text"}
    assert len(body["blocks"][0]["text"]["text"]) <= 150


@pytest.mark.parametrize("where", ["message", "advice", "subject"])
def test_slack_text_calls_nobody_and_links_nowhere(where: str) -> None:
    body = messages.slack(row(**{where: HOSTILE}))
    texts = [body["text"], *(json.dumps(b, ensure_ascii=False) for b in body["blocks"])]
    for text in texts:
        for bad in ("<", ">", "@channel", "@here", "@everyone", "http://", "HTTPS://", "`"):
            assert bad not in text
    assert "&" not in messages.slack(row(message="a & b"))["text"].replace("&amp;", "")


# -- e-mail ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["message", "advice", "subject", "source", "rule", "run_id"])
def test_no_text_injects_a_header_into_a_mail(where: str) -> None:
    written = messages.email(row(**{where: HOSTILE}), "a@example.org", ["b@example.org"], NOW)
    read = email.message_from_bytes(written.as_bytes(), policy=policy.default)
    assert sorted(read.keys()) == sorted(
        [
            "Subject",
            "From",
            "To",
            "Date",
            "Message-ID",
            "Auto-Submitted",
            "Content-Type",
            "Content-Transfer-Encoding",
            "MIME-Version",
        ]
    )
    assert read["To"] == "b@example.org"
    assert read.get_content_type() == "text/plain"
    assert "\n" not in read["Subject"]
    for bad in ("<script", "http://", "\x1b"):
        assert bad not in read.get_content()


def test_a_mail_says_all_of_it_and_the_mails_of_an_alert_are_a_thread() -> None:
    first = messages.email(row(source="urlhaus"), "a@example.org", ["b@example.org"], NOW)
    text = first.get_content()
    for words in (
        "What is wrong.",
        "What to do: What helps.",
        "source urlhaus",
        "2026-06-10 12:00",
    ):
        assert words in text
    assert first["Subject"] == "[warning] Disk nearly full: /lake"
    assert first["From"] == "intel_assets <a@example.org>"
    later = row(source="urlhaus", state="reminded") | {"recorded_at": NOW + 5 * HOUR}
    second = messages.email(later, "a@example.org", ["b@example.org"], NOW)
    assert second["In-Reply-To"] == first["Message-ID"] != second["Message-ID"]
    assert "for 5 hours" in second.get_content()


# -- the webhook -------------------------------------------------------------------------------


def test_the_webhooks_json_is_as_documented() -> None:
    event = json.loads(messages.webhook(row(source="urlhaus", run_id="run-1")))
    made = row(source="urlhaus")
    assert event == {
        "version": 1,
        "type": "alert.open",
        "timestamp": "2026-06-10T12:00:00Z",
        "data": {
            "alert_id": made["alert_id"],
            "rule": "disk_nearly_full",
            "source": "urlhaus",
            "subject": "/lake",
            "severity": "warning",
            "state": "open",
            "title": "[warning] Disk nearly full: /lake",
            "message": "What is wrong.",
            "advice": "What helps.",
            "magnitude": 1.0,
            "opened_at": "2026-06-10T12:00:00Z",
            "recorded_at": "2026-06-10T12:00:00Z",
            "until": "2026-06-10T16:00:00Z",
            "run_id": "run-1",
        },
    }


def test_the_webhooks_json_is_harmless_in_a_page_and_always_json() -> None:
    event = messages.webhook(row(message=HOSTILE, advice=HOSTILE, subject=HOSTILE, run_id=HOSTILE))
    assert b"<" not in event
    assert b"http://" not in event
    assert json.loads(messages.webhook(row(magnitude=float("inf"))))["data"]["magnitude"] is None


def documented() -> dict[str, str]:
    """The fenced blocks of docs/alerts.md by a word that only one of them holds."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "alerts.md").read_text("utf-8")
    found = re.findall(r"^```(?:python|json)\n(.*?)^```$", text, re.M | re.S)
    words = ("def verify", "webhook-id", '"version"')
    return {word: next(one for one in found if word in one) for word in words}


def verified(headers: dict[str, str], body: bytes, key: bytes, now: float) -> bool:
    """Verify with the very lines that docs/alerts.md gives to receivers."""
    names: dict[str, Any] = {}
    exec(documented()["def verify"], names)
    return bool(names["verify"](headers, body, key, now))


def test_the_webhooks_json_has_the_fields_of_the_documents() -> None:
    told, sent = json.loads(documented()['"version"']), json.loads(messages.webhook(row()))
    assert list(told) == list(sent)
    assert list(told["data"]) == list(sent["data"])
    assert told["version"] == messages.VERSION


def test_the_documents_tell_every_rule_and_state() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "alerts.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.M)) == set(RULES) | set(STATES)


def test_a_signature_verifies_and_a_changed_body_key_id_or_time_does_not() -> None:
    key, now = b"k" * 32, NOW.timestamp()
    body = messages.webhook(row())
    headers = messages.signed(row(), body, key, NOW)
    assert verified(headers, body, key, now)
    assert not verified(headers, body + b" ", key, now)
    assert not verified(headers, body, b"x" * 32, now)
    assert not verified(headers | {"webhook-id": "another"}, body, key, now)
    later = str(int(now) + 1)
    assert not verified(headers | {"webhook-timestamp": later}, body, key, now)


def test_a_replay_is_told_apart_by_its_time_and_a_second_attempt_by_its_id() -> None:
    key, body = b"k" * 32, messages.webhook(row())
    headers = messages.signed(row(), body, key, NOW)
    assert not verified(headers, body, key, (NOW + 6 * MINUTE).timestamp())
    again = messages.signed(row(), body, key, NOW + HOUR)
    assert again["webhook-id"] == headers["webhook-id"]
    assert again["webhook-signature"] != headers["webhook-signature"]
    assert "." not in headers["webhook-id"]
