"""Channels: what the settings may say, what they may not, and that no secret shows."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from intel_assets.alerts.channels import Channels, addresses, configured
from intel_assets.errors import ConfigurationError
from intel_assets.settings import Settings, load_settings

CANARY = "c4n4ry-0815-never-shown"
SLACK = f"https://hooks.slack.com/services/T000/B000/{CANARY}"
HOOK = f"https://user:{CANARY}@alerts.example.org:8443/in?token={CANARY}"
SECRET = f"{CANARY}-of-32-bytes-and-more"
MAIL = f"smtp+starttls://alerts%40example.org:{CANARY}%2F@mail.example.org"
ALL = {
    "slack_webhook": SecretStr(SLACK),
    "alert_webhook": SecretStr(HOOK),
    "alert_webhook_secret": SecretStr(SECRET),
    "smtp_url": SecretStr(MAIL),
    "alert_from": "intel@example.org",
    "alert_to": "ops@example.org, night@example.org",
}


def test_without_settings_nobody_is_told() -> None:
    assert configured().targets == ()
    blank = {name: SecretStr(" ") for name in ALL if name.endswith(("webhook", "secret", "url"))}
    assert configured(**blank, alert_from="", alert_to=" ").targets == ()


def test_the_three_channels_are_read() -> None:
    channels = configured(**ALL, cool_down_hours=2)
    assert [(one.channel, one.shown) for one in channels.targets] == [
        ("slack", "hooks.slack.com"),
        ("webhook", "alerts.example.org:8443"),
        ("email", "ops@example.org"),
        ("email", "night@example.org"),
    ]
    email = channels.email
    assert email is not None
    assert (email.host, email.port, email.security) == ("mail.example.org", 587, "starttls")
    assert (email.user, email.sender) == ("alerts@example.org", "intel@example.org")
    assert email.password is not None
    assert email.password.get_secret_value() == f"{CANARY}/"
    assert channels.cool_down.total_seconds() == 7200


@pytest.mark.parametrize(
    ("url", "port", "security"),
    [
        ("smtp://mail.example.org", 25, "none"),
        ("smtp://mail.example.org:2525", 2525, "none"),
        ("smtps://u:p@mail.example.org", 465, "tls"),
        ("smtp+starttls://mail.example.org/", 587, "starttls"),
        ("smtp://u:p@localhost:1025", 1025, "none"),
    ],
)
def test_a_mail_server_is_a_url(url: str, port: int, security: str) -> None:
    email = configured(**ALL | {"smtp_url": SecretStr(url)}).email
    assert email is not None
    assert (email.port, email.security) == (port, security)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"slack_webhook": f"hooks.slack.com/{CANARY}"}, "INTEL_SLACK_WEBHOOK"),
        ({"slack_webhook": f"ftp://hooks.slack.com/{CANARY}"}, "INTEL_SLACK_WEBHOOK"),
        ({"slack_webhook": f"https://host:{CANARY}/"}, "INTEL_SLACK_WEBHOOK"),
        ({"slack_webhook": f"https://host/{CANARY}\nX: y"}, "INTEL_SLACK_WEBHOOK"),
        ({"slack_webhook": f"https://[{CANARY}/"}, "INTEL_SLACK_WEBHOOK"),
        ({"alert_webhook": f"https:///{CANARY}"}, "INTEL_ALERT_WEBHOOK"),
        ({"alert_webhook_secret": "c4n4ry-short"}, "INTEL_ALERT_WEBHOOK_SECRET"),
        ({"alert_webhook_secret": f"whsec_{CANARY}!"}, "INTEL_ALERT_WEBHOOK_SECRET"),
        ({"alert_webhook_secret": ""}, "INTEL_ALERT_WEBHOOK_SECRET"),
        ({"smtp_url": f"mail.example.org:{CANARY}"}, "INTEL_SMTP_URL"),
        ({"smtp_url": f"smtp://u:{CANARY}@mail.example.org"}, "INTEL_SMTP_URL"),
        ({"smtp_url": f"smtps://{CANARY}@mail.example.org"}, "INTEL_SMTP_URL"),
        ({"smtp_url": f"smtps://mail.example.org/{CANARY}"}, "INTEL_SMTP_URL"),
        ({"smtp_url": f"smtps://u:p@mail.example.org:{CANARY}"}, "INTEL_SMTP_URL"),
        ({"alert_from": "intel"}, "INTEL_ALERT_FROM"),
        ({"alert_from": "a@example.org, b@example.org"}, "INTEL_ALERT_FROM"),
        ({"alert_from": "a@example.org\nBcc: b@example.org"}, "INTEL_ALERT_FROM"),
        ({"alert_to": "ops@example.org; b"}, "INTEL_ALERT_TO"),
        ({"alert_to": None}, "INTEL_ALERT_TO"),
        ({"smtp_url": None}, "INTEL_SMTP_URL"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_and_not_quoted(
    given: dict[str, Any], named: str
) -> None:
    secret = {"slack_webhook", "alert_webhook", "alert_webhook_secret", "smtp_url"}
    values = {
        name: SecretStr(value) if name in secret and value is not None else value
        for name, value in given.items()
    }
    with pytest.raises(ConfigurationError, match=named) as caught:
        configured(**ALL | values)
    assert named in caught.value.what.split()[0] or "not set" in caught.value.what
    chain: list[BaseException | None] = [caught.value]
    while chain[-1] is not None:
        assert "c4n4ry" not in repr(chain[-1])
        chain.append(chain[-1].__context__)
    assert ".env" in caught.value.do


def test_addresses_stand_once_and_are_not_too_many() -> None:
    assert addresses("a@b.org,a@b.org ,") == ("a@b.org",)
    with pytest.raises(ValueError, match="51 addresses"):
        addresses(",".join(f"a{n}@b.org" for n in range(51)))


def test_a_secret_is_bytes_behind_whsec_and_text_without_it() -> None:
    key = bytes(range(32))
    coded = configured(
        alert_webhook=SecretStr(HOOK),
        alert_webhook_secret=SecretStr("whsec_" + base64.b64encode(key).decode()),
    ).webhook
    text = configured(alert_webhook=SecretStr(HOOK), alert_webhook_secret=SecretStr(SECRET)).webhook
    assert coded is not None
    assert text is not None
    assert (coded.key, text.key) == (key, SECRET.encode())


def test_no_secret_shows_and_all_are_known_to_be_ones() -> None:
    channels = configured(**ALL)
    assert CANARY not in repr(channels) + str(channels.targets)
    assert {CANARY, SECRET, f"{CANARY}/"} <= set(channels.secrets.values())
    assert SLACK in channels.secrets.values()
    assert Channels().secrets == {}


# -- from the environment ----------------------------------------------------------------------


@pytest.fixture
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(("INTEL_", "DAGSTER_HOME"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_bare")
def test_the_environment_names_the_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().channels == Channels()
    for name, value in ALL.items():
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        monkeypatch.setenv(f"INTEL_{name.upper()}", text)
    monkeypatch.setenv("INTEL_ALERT_COOL_DOWN_HOURS", "6")
    settings = load_settings()
    assert settings.channels == configured(**ALL, cool_down_hours=6)
    assert CANARY not in repr(settings) + str(settings)


@pytest.mark.usefixtures("_bare")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INTEL_SLACK_WEBHOOK", f"no-address-{CANARY}"),
        ("INTEL_ALERT_WEBHOOK", HOOK),
        ("INTEL_SMTP_URL", MAIL),
        ("INTEL_ALERT_TO", "ops@example.org"),
        ("INTEL_ALERT_COOL_DOWN_HOURS", "0"),
        ("INTEL_ALERT_COOL_DOWN_HOURS", "soon"),
    ],
)
def test_a_wrong_setting_is_said_when_the_settings_are_read(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        load_settings()
    assert CANARY not in str(caught.value)


@pytest.mark.usefixtures("_bare")
def test_settings_that_were_made_without_looking_say_so_when_they_are_asked() -> None:
    with pytest.raises(ConfigurationError, match="INTEL_SLACK_WEBHOOK"):
        _ = Settings(slack_webhook=SecretStr(CANARY)).channels
