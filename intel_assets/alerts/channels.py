"""Channels: where alerts are told, as the settings say. Plain values; nothing is sent here."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr

from intel_assets.errors import ConfigurationError

Security = Literal["none", "starttls", "tls"]

SLACK, WEBHOOK, EMAIL = "slack", "webhook", "email"

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251})")
_SMTP: Mapping[str, tuple[Security, int]] = {
    "smtp": ("none", 25),
    "smtp+starttls": ("starttls", 587),
    "smtps": ("tls", 465),
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LEAST_SECRET = 16
_KEY_PREFIX = "whsec_"


@dataclass(frozen=True)
class Target:
    """Somebody who is told: a channel and, of e-mail, an address.

    Attributes:
        channel: slack, webhook or email.
        shown: The host or address, without secrets.
    """

    channel: str
    shown: str

    @property
    def key(self) -> str:
        """What it is the same target by: a webhook that moved is still the webhook."""
        return f"{self.channel} {self.shown}" if self.channel == EMAIL else self.channel


@dataclass(frozen=True)
class Webhook:
    """A URL that takes signed JSON."""

    url: SecretStr
    secret: SecretStr

    @property
    def key(self) -> bytes:
        """The key of the signature, of the secret as Standard Webhooks write it or of its text."""
        text = self.secret.get_secret_value()
        if text.startswith(_KEY_PREFIX):
            return base64.b64decode(text.removeprefix(_KEY_PREFIX))
        return text.encode()


@dataclass(frozen=True)
class Mailbox:
    """A mail server, who writes and who is written to."""

    host: str
    port: int
    security: Security
    user: str | None
    password: SecretStr | None
    sender: str
    to: tuple[str, ...]


@dataclass(frozen=True)
class Channels:
    """Where alerts are told, and how often.

    Attributes:
        slack: The URL of an incoming webhook of Slack, Mattermost, Rocket.Chat or alike.
        webhook: A URL that takes signed JSON.
        email: A mail server and addresses.
        cool_down: How long nothing more is said of an alert that was told.
    """

    slack: SecretStr | None = None
    webhook: Webhook | None = None
    email: Mailbox | None = None
    cool_down: timedelta = timedelta(hours=4)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Everybody who is told."""
        found = [Target(SLACK, host_of(self.slack))] if self.slack else []
        found += [Target(WEBHOOK, host_of(self.webhook.url))] if self.webhook else []
        found += [Target(EMAIL, address) for address in self.email.to] if self.email else []
        return tuple(found)

    @property
    def secrets(self) -> Mapping[str, str]:
        """What must not be shown, by the name of what is shown instead."""
        return dict(self._secrets())

    def _secrets(self) -> Iterator[tuple[str, str]]:
        for name, url in (
            ("INTEL_SLACK_WEBHOOK", self.slack),
            ("INTEL_ALERT_WEBHOOK", self.webhook.url if self.webhook else None),
        ):
            if url is None:
                continue
            parts = urlsplit(url.get_secret_value())
            yield name, url.get_secret_value()
            for part in ("path", "query", "password", "username"):
                value = (getattr(parts, part) or "").strip("/")
                if len(value) >= _LEAST_SECRET // 2:
                    yield f"{name}_{part.upper()}", unquote(value)
        if self.webhook:
            yield "INTEL_ALERT_WEBHOOK_SECRET", self.webhook.secret.get_secret_value()
        if self.email and self.email.password:
            yield "INTEL_SMTP_URL", self.email.password.get_secret_value()


def host_of(url: SecretStr) -> str:
    """Return the host of a URL, and its port if it names one: all of it that may be shown."""
    parts = urlsplit(url.get_secret_value())
    host = parts.hostname or ""
    return f"{host}:{parts.port}" if parts.port else host


# -- reading settings --------------------------------------------------------------------------


def configured(
    *,
    slack_webhook: SecretStr | None = None,
    alert_webhook: SecretStr | None = None,
    alert_webhook_secret: SecretStr | None = None,
    smtp_url: SecretStr | None = None,
    alert_from: str | None = None,
    alert_to: str | None = None,
    cool_down_hours: float = 4.0,
) -> Channels:
    """Return the channels that settings of these names describe; a blank one is not set.

    Raises:
        ConfigurationError: If one makes no sense, or one that another needs is not set. It names
            the setting and quotes no secret.
    """
    slack = _text(slack_webhook)
    url, secret = _pair(
        ("INTEL_ALERT_WEBHOOK", _text(alert_webhook)),
        ("INTEL_ALERT_WEBHOOK_SECRET", _text(alert_webhook_secret)),
    )
    server, sender, to = _pair(
        ("INTEL_SMTP_URL", _text(smtp_url)),
        ("INTEL_ALERT_FROM", (alert_from or "").strip()),
        ("INTEL_ALERT_TO", (alert_to or "").strip()),
    )
    webhook = email = None
    if url:
        with _named("INTEL_ALERT_WEBHOOK"):
            url = http_url(url)
        with _named("INTEL_ALERT_WEBHOOK_SECRET"):
            webhook = Webhook(SecretStr(url), SecretStr(webhook_secret(secret)))
    if server:
        with _named("INTEL_ALERT_FROM"):
            (writer,) = addresses(sender, most=1)
        with _named("INTEL_ALERT_TO"):
            readers = addresses(to)
        with _named("INTEL_SMTP_URL"):
            email = mailbox(server, writer, readers)
    if slack:
        with _named("INTEL_SLACK_WEBHOOK"):
            slack = http_url(slack)
    return Channels(
        SecretStr(slack) if slack else None, webhook, email, timedelta(hours=cool_down_hours)
    )


def http_url(text: str) -> str:
    """Return the address of a webhook.

    Raises:
        ValueError: If it is none.
    """
    parts = _split(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is no address that begins with https:// and names a host")
    return text


def webhook_secret(text: str) -> str:
    """Return the secret of a webhook.

    Raises:
        ValueError: If it is too short, or no base64 behind `whsec_`.
    """
    key = text.encode()
    if text.startswith(_KEY_PREFIX):
        try:
            key = base64.b64decode(text.removeprefix(_KEY_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"has no base64 behind {_KEY_PREFIX}") from None
    if len(key) < _LEAST_SECRET:
        raise ValueError(f"is shorter than {_LEAST_SECRET} bytes; 32 random ones are good")
    return text


def mailbox(url: str, sender: str, to: Sequence[str]) -> Mailbox:
    """Return the mail server that a URL names.

    Args:
        url: `smtp+starttls://user:password@host:587`, `smtps://…` or `smtp://…`; what is not
            plain in user and password is written as in any URL (`%40` for `@`).
        sender: Who writes.
        to: Who is written to.

    Raises:
        ValueError: If it is no such URL, or would send a password in the clear.
    """
    parts = _split(url)
    rest = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in _SMTP or not parts.hostname or rest:
        raise ValueError(
            "is no address such as smtp+starttls://user:password@host:587 (or smtps://, smtp://)"
        )
    security, port = _SMTP[parts.scheme]
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(user) != bool(password):
        raise ValueError("has a user without a password, or a password without a user")
    if password and security == "none" and parts.hostname not in _LOOPBACK:
        raise ValueError("would send its password in the clear; use smtp+starttls:// or smtps://")
    return Mailbox(
        parts.hostname,
        parts.port or port,
        security,
        user or None,
        SecretStr(password) if password else None,
        sender,
        tuple(to),
    )


def addresses(text: str, most: int = 50) -> tuple[str, ...]:
    """Return e-mail addresses that are written with commas between them, each once.

    Raises:
        ValueError: If one is none, or there is none, or there are too many.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found or not all(_ADDRESS.fullmatch(address) for address in found):
        raise ValueError("wants e-mail addresses such as ops@example.org, with commas between")
    if len(found) > most:
        raise ValueError(f"names {len(found)} addresses; it may name {most}")
    return found


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value().strip() if secret else ""


def _pair(*settings: tuple[str, str]) -> tuple[str, ...]:
    """Return the values of settings that go together, all of them or none."""
    given = [name for name, value in settings if value]
    absent = [name for name, value in settings if not value]
    if given and absent:
        raise ConfigurationError(
            f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not set, and "
            f"{given[0]} is.",
            "Set all of them, or none, in the environment or .env.",
        )
    return tuple(value for _, value in settings)


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConfigurationError(
            f"{name} {error}.", "Mend it in the environment or .env."
        ) from None


def _split(url: str) -> SplitResult:
    if any(not c.isprintable() or c.isspace() for c in url):
        raise ValueError("has a blank or a control character in it")
    with suppress(ValueError):  # Its words would quote a port that is a secret.
        parts = urlsplit(url)
        if parts.port != 0:
            return parts
    raise ValueError("is no address")
