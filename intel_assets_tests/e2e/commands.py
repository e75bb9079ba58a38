"""What tests of the command say of it: its answers, its environment, a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from intel_assets.simulator.server import Simulator

ROOT = Path(__file__).resolve().parents[2]
INTEL = str(Path(sys.executable).parent / "intel")
TODAY = datetime(2025, 6, 10, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Intel = Callable[..., Answer]


def environment_of(folder: Path, world: Simulator) -> dict[str, str]:
    return {
        "INTEL_LAKE": str(folder / "lake"),
        "INTEL_STATE": str(folder / "state"),
        "INTEL_SIMULATOR": world.url,
        "INTEL_MODE": "demo",
        "DAGSTER_HOME": str(ROOT),
        "INTEL_DAGSTER_STORAGE": str(folder / "state" / "dagster"),
    }


def process(
    folder: Path, world: Simulator, *arguments: str, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | environment_of(folder, world) | more
    return subprocess.run(
        [INTEL, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def assert_short(answer: Answer, code: int) -> None:
    assert answer.code == code, answer
    assert 1 <= len(answer.lines) <= 3, answer.err
    assert "Traceback" not in answer.err
    assert "Unexpected" not in answer.err, answer.err
