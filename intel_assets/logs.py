"""Logs: readable on a terminal, JSON elsewhere, with the run they belong to; never a secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

from intel_assets.ingest.redact import RedactingFilter, Redactor

_LEVELS = {0: logging.WARNING, 1: logging.INFO}
_about: ContextVar[Mapping[str, str] | None] = ContextVar("about", default=None)


@contextmanager
def about(**facts: str) -> Iterator[None]:
    """Give every line that is logged inside these facts, such as `run_id` and `source`."""
    token = _about.set({**(_about.get() or {}), **facts})
    try:
        yield
    finally:
        _about.reset(token)


def configure_logs(verbose: int, secrets: Mapping[str, str]) -> None:
    """Send what the package logs to standard error; called again, it replaces the last set-up.

    Args:
        verbose: 0 for warnings, 1 for what happens, 2 for everything.
        secrets: Values that must not appear, by name.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name("intel")
    if sys.stderr.isatty():
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    else:
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            )
        )
    handler.addFilter(_add_facts)
    handler.addFilter(RedactingFilter(Redactor(secrets)))
    logger = logging.getLogger("intel_assets")
    for old in [one for one in logger.handlers if one.get_name() == "intel"]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(_LEVELS.get(verbose, logging.DEBUG))


def _add_facts(record: logging.LogRecord) -> bool:
    for name, value in (_about.get() or {}).items():
        setattr(record, name, value)
    return True
