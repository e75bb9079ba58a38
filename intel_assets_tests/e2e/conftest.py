"""The command as tests meet it: on a lake that is filled, or on an empty one of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest

from intel_assets import cli
from intel_assets.engine import open_engine
from intel_assets.settings import Settings
from intel_assets.simulator.server import Simulator
from intel_assets.sources import registry
from intel_assets_tests.e2e.commands import TODAY, Answer, Intel, environment_of


@pytest.fixture(scope="session")
def world() -> Iterator[Simulator]:
    with Simulator(seed=11, volume=0.5) as simulator:
        simulator.clock.set(TODAY)
        yield simulator


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, world: Simulator) -> Path:
    """An installation whose lake holds some days of both sources; tests only ask it."""
    folder = tmp_path_factory.mktemp("filled")
    settings = Settings(
        lake=str(folder / "lake"), state=folder / "state", simulator=world.url, mode="demo"
    )
    days = {
        "tweetfeed": [date(2025, 5, 1) + timedelta(days=i) for i in range(4)],
        "urlhaus": [date(2025, 6, 8)],
    }
    with open_engine(settings) as engine:
        for spec in registry.load(list(days)):
            with engine.upstream(spec) as upstream:
                list(engine.pipeline(spec, "test").materialize(days[spec.name], upstream))
    return folder


@pytest.fixture
def intel(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    world: Simulator,
) -> Intel:
    """The command in this process, in an empty folder and on a lake of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ABUSECH_AUTH_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    for name, value in environment_of(tmp_path, world).items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, environment: Mapping[str, str] | None = None) -> Answer:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["intel", *arguments])
            for name, value in (environment or {}).items():
                patch.setenv(name, value)
            capsys.readouterr()
            try:
                cli.main()
                code = 0
            except SystemExit as left:
                code = left.code if isinstance(left.code, int) else int(bool(left.code))
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def ask(intel: Intel, filled: Path) -> Intel:
    """The command on the lake that is filled."""

    def run(*arguments: str, environment: Mapping[str, str] | None = None) -> Answer:
        own = {"INTEL_LAKE": str(filled / "lake"), "INTEL_STATE": str(filled / "state")}
        return intel(*arguments, environment=own | dict(environment or {}))

    return run
