"""Errors: each says what is wrong and what to do, and leads to one exit code."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

import pytest

from intel_assets import errors
from intel_assets.errors import IntelError

CODES = {
    "UsageError": 2,
    "ConfigurationError": 3,
    "UpstreamError": 4,
    "DataError": 5,
    "StorageError": 6,
}
KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, IntelError) and kind is not IntelError
]


def _make(kind: type[IntelError]) -> IntelError:
    more = {"retry_at": datetime(2026, 1, 1, tzinfo=UTC)} if kind is errors.HostUnavailable else {}
    return kind("It is broken.", "Mend it.", **more)


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_belongs_to_exactly_one_branch_and_exits_with_its_code(kind: type[IntelError]):
    branches = [name for name in CODES if issubclass(kind, getattr(errors, name))]
    assert len(branches) == 1
    assert _make(kind).exit_code == CODES[branches[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_what_is_wrong_and_then_what_to_do(kind: type[IntelError]):
    error = _make(kind)
    assert (error.what, error.do) == ("It is broken.", "Mend it.")
    assert str(error) == "It is broken. Mend it."


def test_an_error_without_advice_ends_with_its_sentence():
    assert str(errors.DataError("It is broken.")) == "It is broken."


def test_every_error_tells_in_its_docstring_what_it_means():
    assert [kind.__name__ for kind in KINDS if not kind.__doc__] == []


def test_an_upstream_error_carries_what_is_known_of_the_request():
    error = errors.UpstreamUnavailable(
        "It is down.", url="https://x/?k=***", status=503, attempts=5
    )
    assert (error.url, error.status, error.attempts) == ("https://x/?k=***", 503, 5)
    assert (error.started_at, error.partial) == (None, None)


def test_an_open_circuit_says_when_it_closes():
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert errors.HostUnavailable("It is resting.", retry_at=at).retry_at == at
