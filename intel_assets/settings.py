"""Settings: where the lake is, whether the world is played or live, and the secrets.

Read from the environment (`INTEL_…`) and from `.env`. Secrets go by their own names
(`ABUSECH_AUTH_KEY`) and are never printed.
"""

from __future__ import annotations

import os
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from intel_assets.alerts.channels import Channels, configured
from intel_assets.errors import ConfigurationError
from intel_assets.lakehouse.layout import Layout

DEMO_KEY = "demo-key"
"""What the simulator accepts for every key."""

SIMULATOR_PORT = 8765


class Settings(BaseSettings):
    """How this installation is set up.

    Attributes:
        lake: The lake: a folder or a URI.
        mode: `demo` asks the simulator, `live` the real hosts.
        tenant: The tenant whose tables are meant; none for the lake's own.
        storage_options: What deltalake and the object store need to reach a URI, as JSON.
        state: A folder of this machine for what its processes share (limits of hosts).
        simulator: Where the simulator listens in demo mode; started when nothing listens there.
        clock: Whose time it is in demo mode: this machine's, or the simulator's.
        sources: The only sources that are on, separated by commas; all if left out.
        disabled: Sources that are off, separated by commas.
        history_from: No day before this is expected of any source; each source's start if left out.
        exports: A folder of this machine for what is published to other systems.
        export_min_confidence: The least confidence, 0 to 100, of what is published.
        export_tlp: The narrowest sharing scope that is published.
        sensor_seconds: How often the sensors look.
        run_history_days: How long Dagster's runs and their events are kept.
        query_seconds: How long `intel sql` lets a query run.
        query_memory: How much memory it may use.
        slack_webhook: Where alerts go: a Slack-compatible incoming webhook.
        alert_webhook: Where alerts go: a URL that takes signed JSON.
        alert_webhook_secret: What that is signed with.
        smtp_url: Where alerts go: a mail server, `smtp+starttls://user:password@host:587`.
        alert_from: The address that writes the mails.
        alert_to: The addresses that get them, with commas between.
        alert_cool_down_hours: How long nothing more is said of an alert.
    """

    model_config = SettingsConfigDict(
        env_prefix="INTEL_", env_file=".env", extra="ignore", frozen=True
    )

    lake: str = "data/lake"
    mode: Literal["demo", "live"] = "demo"
    tenant: str | None = None
    storage_options: dict[str, str] = Field(default_factory=dict, repr=False)
    state: Path = Path("data/state")
    simulator: str = f"http://127.0.0.1:{SIMULATOR_PORT}"
    clock: Literal["system", "simulator"] = "system"
    sources: str = ""
    disabled: str = ""
    history_from: date | None = None
    exports: Path = Path("data/exports")
    export_min_confidence: float = Field(default=30.0, ge=0, le=100)
    export_tlp: str = "green"
    sensor_seconds: int = Field(default=30, ge=1)
    run_history_days: int = Field(default=30, ge=1)
    query_seconds: float = Field(default=60.0, gt=0)
    query_memory: str = "2GB"
    slack_webhook: SecretStr | None = None
    alert_webhook: SecretStr | None = None
    alert_webhook_secret: SecretStr | None = None
    smtp_url: SecretStr | None = None
    alert_from: str | None = None
    alert_to: str | None = None
    alert_cool_down_hours: float = Field(default=4.0, gt=0, le=24 * 365)

    @cached_property
    def layout(self) -> Layout:
        """Where everything of the lake lives."""
        return Layout(self.lake, self.tenant, self.storage_options)

    @property
    def export_folder(self) -> Path:
        """Where files for other systems stand; a tenant's in a folder of its own."""
        folder = self.exports.absolute()
        return folder if self.tenant is None else folder / self.tenant

    @cached_property
    def channels(self) -> Channels:
        """Where alerts are told.

        Raises:
            ConfigurationError: If a setting of theirs makes no sense, or one is missing.
        """
        return configured(
            slack_webhook=self.slack_webhook,
            alert_webhook=self.alert_webhook,
            alert_webhook_secret=self.alert_webhook_secret,
            smtp_url=self.smtp_url,
            alert_from=self.alert_from,
            alert_to=self.alert_to,
            cool_down_hours=self.alert_cool_down_hours,
        )

    def secret(self, name: str) -> str | None:
        """Return a secret by its name; in demo mode the simulator's key when it is not set."""
        value = os.environ.get(name) or dotenv_values(project_home() / ".env").get(name)
        return value or (DEMO_KEY if self.mode == "demo" else None)


def project_home() -> Path:
    """Return the folder that holds dagster.yaml: DAGSTER_HOME, or the nearest one upwards."""
    named = os.environ.get("DAGSTER_HOME")
    if named:
        return Path(named).absolute()
    here = Path.cwd()
    return next((d for d in (here, *here.parents) if (d / "dagster.yaml").is_file()), here)


def load_settings() -> Settings:
    """Read the settings; relative folders are those of the project, wherever it is called from.

    Raises:
        ConfigurationError: If one of them makes no sense.
    """
    try:
        home = project_home()
        found = Settings(_env_file=home / ".env")
        _ = found.channels  # What is wrong with them is said now, not at the first alert.
        lake = found.lake if "://" in found.lake else str(home / found.lake)
        return found.model_copy(update={"lake": lake, "state": home / found.state})
    except ValidationError as error:
        first = error.errors()[0]
        name = "INTEL_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(
            f"{name}: {first['msg']}.", "Mend it in the environment or .env."
        ) from None
    except ValueError as error:
        raise ConfigurationError(
            f"The settings cannot be read: {error}.", "See .env.example."
        ) from None
