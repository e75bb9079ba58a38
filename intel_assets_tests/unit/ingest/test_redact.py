"""What the redactor promises."""

from __future__ import annotations

import base64
import html
import io
import json
import logging
import time
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intel_assets.ingest.redact import RedactingFilter, Redactor

SECRET = "s3cret/Key+with=signs%and\"quotes'é"


def encodings(secret: str) -> list[str]:
    """Return ways in which a secret is written in practice."""
    data = secret.encode()
    return [
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        quote(quote(secret, safe=""), safe="").lower(),
        urlencode({"k": secret}),
        json.dumps(secret),
        json.dumps(json.dumps({"k": secret})),
        json.dumps(secret, ensure_ascii=False),
        repr(secret),
        repr(data),
        html.escape(secret),
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        base64.b64encode(data).decode().rstrip("="),
        "Basic " + base64.b64encode(b"me:" + data).decode(),
        "Basic " + base64.b64encode(data + b":").decode(),
    ]


@pytest.mark.parametrize("written", encodings(SECRET))
def test_a_secret_is_found_however_it_is_written(written: str) -> None:
    shown = Redactor({"NAME": SECRET}).text(f"before {written} after")
    assert "***NAME***" in shown
    assert "s3cret" not in shown
    assert "igns" not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


@pytest.mark.slow
@given(st.text(min_size=4), st.text(), st.text(), st.integers(0, 16))
def test_no_secret_survives_in_any_encoding(
    secret: str, before: str, after: str, which: int
) -> None:
    written = encodings("x" + secret)[which]
    shown = Redactor({"": "x" + secret}).text(f"{before} {written} {after}")
    assert written not in shown or written in f"{before} *** {after}" or written in "******"


@given(st.text("ABCabc019:-", min_size=0, max_size=9), st.text("ABCabc019", min_size=12))
def test_a_key_in_a_basic_header_is_found_behind_any_user(user: str, key: str) -> None:
    packed = base64.b64encode(f"{user}:{key}".encode()).decode()
    assert Redactor({"K": key}).text(f"Basic {packed}") == "Basic ***K***"


def test_the_longer_of_two_secrets_goes_first() -> None:
    redactor = Redactor({"SHORT": "abcd", "LONG": "abcdefgh"})
    assert redactor.text("abcdefgh abcd") == "***LONG*** ***SHORT***"


def test_short_and_empty_secrets_do_not_wreck_texts() -> None:
    redactor = Redactor({"A": "a", "B": "", "C": "the", "D": "   "})
    assert redactor.text("a banana and the rest    ") == "a banana and the rest    "


def test_a_secret_with_a_line_end_is_also_found_without_it() -> None:
    assert Redactor({"K": "abcdefgh\n"}).text("key abcdefgh.") == "key ***K***."


def test_an_address_shows_no_key() -> None:
    shown = Redactor({"K": "abcd1234"}).url(
        "https://me:pw@host.example:8443/p/abcd1234/x?Auth-Key=1&days=7&X-Amz-Signature=2"
        "&X-Amz-Security-Token=3&apikey=4&API_KEY=5&sig=6&access_token=7&Password=8&%6Bey=9"
        "&client.secret=10&token=&keyword=shown&sort=key&hotkeys=1#access_token=11"
    )
    assert shown == (
        "https://***@host.example:8443/p/***K***/x?Auth-Key=***&days=7&X-Amz-Signature=***"
        "&X-Amz-Security-Token=***&apikey=***&API_KEY=***&sig=***&access_token=***&Password=***"
        "&%6Bey=***&client.secret=***&token=***&keyword=shown&sort=key&hotkeys=1#access_token=***"
    )


@pytest.mark.parametrize("url", ["", "no url", "http://[", "https://host/?=&&=;", "//u@h", "?key"])
def test_an_address_that_is_none_is_no_crash(url: str) -> None:
    assert isinstance(Redactor({}).url(url), str)


@pytest.mark.timeout(30)
def test_long_texts_take_linear_time() -> None:
    redactor = Redactor({"K": SECRET, "L": "x" * 40, "M": "\\" * 40 + "é%&" * 20})
    began = time.perf_counter()
    for text in (
        "A" * 100_000,
        "\\" * 100_000,
        "%25" * 30_000,
        ("x" * 39 + " ") * 3000,
        "é%&" * 19,
    ):
        redactor.text(text)
        redactor.url("http://h/?" + text)
    assert time.perf_counter() - began < 8


def logged(redactor: Redactor) -> tuple[logging.Logger, io.StringIO]:
    """Return a logger whose handler is scrubbed, and what it writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(extra)s", defaults={"extra": ""}))
    handler.addFilter(RedactingFilter(redactor))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, stream


def test_log_records_are_scrubbed_in_every_part() -> None:
    logger, stream = logged(Redactor({"K": SECRET}))

    class Holder:
        def __repr__(self) -> str:
            return f"Holder({SECRET})"

    logger.info("message %s", SECRET)
    logger.info(SECRET[:5] + "%s", SECRET[5:])
    logger.info("mapping %(k)s", {"k": SECRET})
    logger.info("odd %d %s", SECRET)
    logger.info("object %r", Holder())
    logger.info("extra", extra={"extra": {"deep": [SECRET, (SECRET,)], SECRET: Holder()}})
    logger.info("stack", stack_info=True)
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(f"about {SECRET}") from error
    except ValueError:
        logger.exception("failed")
    written = stream.getvalue()
    assert "s3cret" not in written
    assert "ValueError: about ***K***" in written
    assert "KeyError: " in written
    assert written.count("***K***") >= 10


def test_harmless_records_keep_their_values() -> None:
    record = logging.makeLogRecord({"msg": "n %d", "args": (1,), "rows": 7, "ok": None, "f": 1.5})
    assert RedactingFilter(Redactor({"K": "abcd"})).filter(record)
    assert record.getMessage() == "n 1"
    assert (vars(record)["rows"], vars(record)["ok"], vars(record)["f"]) == (7, None, 1.5)
