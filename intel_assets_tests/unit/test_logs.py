"""Logs: readable on a terminal, JSON elsewhere, with the run they belong to; never a secret."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from intel_assets.logs import about, configure_logs

logger = logging.getLogger("intel_assets.somewhere")


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger("intel_assets")
    handlers, level, propagate = list(root.handlers), root.level, root.propagate
    yield
    root.handlers[:], root.propagate = handlers, propagate
    root.setLevel(level)


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_where_no_terminal_is_a_line_is_an_object(capsys: pytest.CaptureFixture[str]):
    configure_logs(1, {})
    logger.info("%s rows", 3, extra={"window": "2026-11-20"})
    (line,) = _lines(capsys)
    assert line["message"] == "3 rows"
    assert (line["level"], line["logger"]) == ("INFO", "intel_assets.somewhere")
    assert line["window"] == "2026-11-20"
    assert line["time"]


def test_on_a_terminal_a_line_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    configure_logs(1, {})
    logger.info("3 rows")
    assert capsys.readouterr().err == "INFO 3 rows\n"


@pytest.mark.parametrize(
    ("verbose", "said"),
    [(0, ["WARNING"]), (1, ["INFO", "WARNING"]), (2, ["DEBUG", "INFO", "WARNING"])],
)
def test_each_v_says_more(capsys: pytest.CaptureFixture[str], verbose: int, said: list[str]):
    configure_logs(verbose, {})
    logger.debug("a")
    logger.info("b")
    logger.warning("c")
    assert [line["level"] for line in _lines(capsys)] == said


def test_a_line_carries_the_run_and_the_source_it_belongs_to(capsys: pytest.CaptureFixture[str]):
    configure_logs(1, {})
    with about(run_id="r1", source="urlhaus"):
        with about(source="tweetfeed"):
            logger.info("inner")
        logger.info("outer")
    logger.info("outside")
    inner, outer, outside = _lines(capsys)
    assert (inner["run_id"], inner["source"]) == ("r1", "tweetfeed")
    assert (outer["run_id"], outer["source"]) == ("r1", "urlhaus")
    assert "run_id" not in outside


def test_facts_go_along_into_a_thread_that_copies_its_context(capsys: pytest.CaptureFixture[str]):
    configure_logs(1, {})
    with about(run_id="r1"):
        thread = threading.Thread(target=copy_context().run, args=(logger.info, "there"))
        thread.start()
        thread.join()
    assert _lines(capsys)[0]["run_id"] == "r1"


def test_a_secret_is_replaced_by_its_name_wherever_it_stands(capsys: pytest.CaptureFixture[str]):
    configure_logs(1, {"KEY": "canary-51e2"})
    logger.info("asking with %s", "canary-51e2", extra={"url": "https://x/?auth-key=canary-51e2"})
    try:
        raise ValueError("canary-51e2")
    except ValueError:
        logger.exception("it failed")
    err = capsys.readouterr().err
    assert "canary-51e2" not in err
    assert "***KEY***" in err


def test_set_up_again_replaces_the_last(capsys: pytest.CaptureFixture[str]):
    configure_logs(1, {})
    configure_logs(1, {"KEY": "canary-51e2"})
    logger.info("canary-51e2")
    (line,) = _lines(capsys)
    assert line["message"] == "***KEY***"


def test_other_packages_are_left_alone(capsys: pytest.CaptureFixture[str]):
    configure_logs(2, {})
    logging.getLogger("httpx").info("GET https://x/?auth-key=canary-51e2")
    assert capsys.readouterr().err == ""
