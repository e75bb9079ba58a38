"""Messages: an alert's row as Slack, a webhook and e-mail get it. Pure; nothing is sent here.

The texts in a row were made harmless when it was found (words.py). Here they are made so once
more, for what reads them: a row may have been written by another version.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from intel_assets.alerts.rules import RULES
from intel_assets.alerts.words import lasting, moment, plain

VERSION = 1
"""The version of the webhook's JSON: raised when a field goes or changes its meaning."""

_MOST = 1500
_MOST_TITLE = 140
_UNSEEN = "\u200b"
_STATES = {"open": "", "worse": ", worse", "reminded": ", still"}

Row = Mapping[str, Any]


def message_id(row: Row) -> str:
    """Return the name of a message: the same however often it is tried."""
    return f"{row['alert_id']}_{_micros(row['recorded_at'])}"


def title(row: Row) -> str:
    """Return one line: `[critical] Gap about to be lost: urlhaus`."""
    rule = RULES.get(row["rule"])
    name = rule.title if rule else str(row["rule"]).replace("_", " ").capitalize()
    label = (
        "resolved"
        if row["state"] == "resolved"
        else f"{row['severity']}{_STATES.get(row['state'], '')}"
    )
    return plain(f"[{label}] {name}: {row['subject']}", _MOST_TITLE)


def slack(row: Row) -> dict[str, Any]:
    """Return the body for a Slack-compatible webhook.

    The blocks are plain text, which Slack shows as it is. `text` is what notifications and the
    programs that know no blocks show, so nothing in it may be markup or call anybody.
    """
    told = "\n".join(_mute(line) for line in _lines(row))
    return {
        "text": _escape(f"{_mute(title(row))}\n{told}"),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": [
            {"type": "header", "text": _plain_text(_mute(title(row)))},
            {"type": "section", "text": _plain_text(told)},
            {"type": "context", "elements": [_plain_text(_about(row))]},
        ],
    }


def webhook(row: Row) -> bytes:
    """Return the body for the generic webhook, JSON of `VERSION`."""
    data = {
        "alert_id": row["alert_id"],
        "rule": row["rule"],
        "source": row["source"],
        "subject": plain(row["subject"]),
        "severity": row["severity"],
        "state": row["state"],
        "title": title(row),
        "message": plain(row["message"], _MOST),
        "advice": plain(row["advice"], _MOST),
        "magnitude": row["magnitude"] if math.isfinite(row["magnitude"]) else None,
        "opened_at": _iso(row["opened_at"]),
        "recorded_at": _iso(row["recorded_at"]),
        "until": _iso(row["until"]),
        "run_id": plain(row["run_id"]),
    }
    event = {
        "version": VERSION,
        "type": f"alert.{row['state']}",
        "timestamp": _iso(row["recorded_at"]),
        "data": data,
    }
    return json.dumps(event, separators=(",", ":"), allow_nan=False).encode()


def signed(row: Row, body: bytes, key: bytes, at: datetime) -> dict[str, str]:
    """Return the headers that prove who sent a body, and when.

    They are those of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, base64. The
    timestamp is the attempt's, so that a receiver can refuse what is old; the id stays the same
    over all attempts, so that it can leave out what it has seen.
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    name, sent = message_id(row), str(int(at.timestamp()))
    digest = hmac.new(key, f"{name}.{sent}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": name,
        "webhook-timestamp": sent,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def email(row: Row, sender: str, to: Sequence[str], at: datetime) -> EmailMessage:
    """Return the mail: plain text; the mails of one alert are one thread."""
    message = EmailMessage(policy=SMTP)
    domain = sender.rpartition("@")[2]
    message["Subject"] = title(row)
    message["From"] = Address("intel_assets", addr_spec=sender)
    message["To"] = ", ".join(to)
    message["Date"] = at
    message["Message-ID"] = f"<{message_id(row)}@{domain}>"
    thread = f"<{row['alert_id']}_{_micros(row['opened_at'])}@{domain}>"
    if row["state"] != "open":
        message["In-Reply-To"] = message["References"] = thread
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join([*_lines(row), _about(row)]) + "\n")
    return message


def _lines(row: Row) -> list[str]:
    """Return what is wrong and what to do."""
    what, advice = plain(row["message"], _MOST), plain(row["advice"], _MOST)
    return [line for line in (what, f"What to do: {advice}" if advice else "") if line]


def _about(row: Row) -> str:
    since, at = row["opened_at"], row["recorded_at"]
    facts = [f"Rule {row['rule']}", f"source {row['source']}" if row["source"] else ""]
    if row["state"] == "open":
        facts.append(f"since {moment(since)}")
    elif row["state"] == "resolved":
        facts.append(f"from {moment(since)} to {moment(at)}")
    else:
        facts.append(f"since {moment(since)}, for {lasting(at - since)}")
    facts.append(f"alert {row['alert_id']}")
    return plain("; ".join(fact for fact in facts if fact), _MOST)


def _plain_text(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _mute(text: str) -> str:
    """Keep a text from calling anybody: `@channel` means everybody to some programs."""
    return text.replace("@", f"@{_UNSEEN}")


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _micros(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000 + at.microsecond
