"""Settings: from the environment and `.env`; what makes no sense is said by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from intel_assets.errors import ConfigurationError
from intel_assets.settings import DEMO_KEY, Settings, load_settings

KEY = "ABUSECH_AUTH_KEY"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [*os.environ]:
        if name.startswith("INTEL_") or name in (KEY, "DAGSTER_HOME"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_without_anything_set_it_is_a_demo_in_the_projects_folder(tmp_path: Path):
    settings = load_settings()
    assert settings.mode == "demo"
    assert settings.layout.base == str(tmp_path / "data" / "lake")
    assert settings.state == tmp_path / "data/state"


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INTEL_LAKE", "s3://bucket/lake")
    monkeypatch.setenv("INTEL_MODE", "live")
    monkeypatch.setenv("INTEL_STORAGE_OPTIONS", '{"AWS_REGION": "eu-central-1"}')
    settings = load_settings()
    assert settings.mode == "live"
    assert settings.layout.base == "s3://bucket/lake"
    assert dict(settings.layout.storage_options) == {"AWS_REGION": "eu-central-1"}


def test_dotenv_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch):
    Path(".env").write_text(f"INTEL_MODE=live\nINTEL_QUERY_SECONDS=5\n{KEY}=from-the-file\n")
    monkeypatch.setenv("INTEL_QUERY_SECONDS", "7")
    settings = load_settings()
    assert (settings.mode, settings.query_seconds) == ("live", 7)
    assert settings.secret(KEY) == "from-the-file"
    monkeypatch.setenv(KEY, "from-the-environment")
    assert settings.secret(KEY) == "from-the-environment"


def test_a_dotenv_for_dagster_does_not_disturb():
    Path(".env").write_text("DAGSTER_HOME=${PWD}\nINTEL_DAGSTER_STORAGE=${PWD}/data\n")
    assert load_settings().mode == "demo"


def test_the_example_can_be_copied_as_it_is():
    example = Path(__file__).resolve().parents[2] / ".env.example"
    Path(".env").write_text(example.read_text("utf-8"))
    settings = load_settings()
    assert settings.mode == "demo"
    assert settings.layout.is_local


@pytest.mark.parametrize("empty", ["", None])
def test_a_secret_that_is_not_set_is_none_in_live_mode_and_the_simulators_in_demo(
    monkeypatch: pytest.MonkeyPatch, empty: str | None
):
    if empty is not None:
        monkeypatch.setenv(KEY, empty)
    assert Settings(mode="live").secret(KEY) is None
    assert Settings(mode="demo").secret(KEY) == DEMO_KEY


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INTEL_MODE", "production"),
        ("INTEL_QUERY_SECONDS", "0"),
        ("INTEL_QUERY_SECONDS", "soon"),
        ("INTEL_STORAGE_OPTIONS", "[1]"),
        ("INTEL_STORAGE_OPTIONS", "{"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    field = name.removeprefix("INTEL_").lower()
    assert name in caught.value.what or field in caught.value.what
    assert ".env" in caught.value.do


def test_storage_options_never_show(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INTEL_STORAGE_OPTIONS", '{"AWS_SECRET_ACCESS_KEY": "canary-51e2"}')
    settings = load_settings()
    assert "canary-51e2" not in repr(settings) + str(settings) + repr(settings.layout)


def test_a_broken_storage_option_is_not_quoted_in_the_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INTEL_STORAGE_OPTIONS", '{"AWS_SECRET_ACCESS_KEY": "canary-51e2"')
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "canary-51e2" not in str(caught.value)


def test_settings_are_fixed_once_they_are_read():
    with pytest.raises(ValidationError):
        load_settings().mode = "live"  # type: ignore[misc]


def test_a_folder_inside_the_project_means_the_same_lake(tmp_path: Path, monkeypatch):
    (tmp_path / "dagster.yaml").touch()
    (tmp_path / ".env").write_text("INTEL_LAKE=elsewhere/lake\n")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("INTEL_LAKE", raising=False)
    monkeypatch.chdir(tmp_path / "notebooks")
    assert load_settings().lake == str(tmp_path / "elsewhere/lake")
