"""Logs: readable on a terminal, JSON elsewhere; never a secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from pythonjsonlogger.json import JsonFormatter

from intel_assets.ingest.redact import RedactingFilter, Redactor


def configure_logs(verbose: int, secrets: Mapping[str, str]) -> None:
    """Set up the root logger, on standard error.

    Args:
        verbose: 0 for warnings, 1 for what happens, 2 for everything.
        secrets: Values that must not appear, by name.
    """
    handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    else:
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            )
        )
    handler.addFilter(RedactingFilter(Redactor(secrets)))
    levels = {0: logging.WARNING, 1: logging.INFO}
    logging.basicConfig(level=levels.get(verbose, logging.DEBUG), handlers=[handler], force=True)
