"""The engine put together from the settings: the lake, the way to the world, a source's run.

The one place where settings become objects. The command line and Dagster both begin here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from intel_assets.clock import Clock, system_clock
from intel_assets.errors import ConfigurationError
from intel_assets.ingest.hosts import HostLedger
from intel_assets.ingest.redact import Redactor
from intel_assets.lakehouse.extensions import check_folder
from intel_assets.lakehouse.format import check_format, check_writable
from intel_assets.lakehouse.lake import Lake
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.scratch import scratch
from intel_assets.settings import Settings
from intel_assets.sources import registry
from intel_assets.sources.extract import Upstream, missing_secret
from intel_assets.sources.pipeline import Pipeline
from intel_assets.sources.spec import SourceSpec
from intel_assets.sources.switches import Off, Rollout, off, switched_off


@dataclass(frozen=True)
class Engine:
    """A lake and the settings it was opened with."""

    settings: Settings
    lake: Lake

    def pipeline(self, spec: SourceSpec, run_id: str) -> Pipeline:
        """Return a source's run."""
        return Pipeline(self.lake, spec, run_id)

    @contextmanager
    def upstream(self, spec: SourceSpec) -> Iterator[Upstream]:
        """Give the way to a source's hosts.

        Raises:
            ConfigurationError: If a secret of the source is not set.
        """
        # Here, so that what only loads the definitions does not load an HTTP client.
        from intel_assets.ingest.http import HttpClient

        secrets = self.secrets([spec])
        for name in spec.secrets:
            if name not in secrets:
                raise missing_secret(spec, name)
        settings = self.settings
        ledger = HostLedger(settings.state.absolute() / "hosts.sqlite", self.lake.clock)
        via = settings.simulator if settings.mode == "demo" else None
        with HttpClient(
            self.lake.landing, ledger, Redactor(secrets), self.lake.clock, via=via
        ) as http:
            yield Upstream(http, secrets)

    def off(self, specs: Sequence[SourceSpec]) -> dict[str, Off]:
        """Return the sources that are not to be asked, and why.

        Raises:
            ConfigurationError: If the settings name a source that there is not.
        """
        return sources_off(self.settings, specs)

    def secrets(self, specs: Iterable[SourceSpec]) -> dict[str, str]:
        """Return the secrets of sources that are set, by name."""
        names = {name for spec in specs for name in spec.secrets}
        found = {name: self.settings.secret(name) for name in sorted(names)}
        return {name: value for name, value in found.items() if value}


def sources_off(settings: Settings, specs: Sequence[SourceSpec]) -> dict[str, Off]:
    """Return the sources that are not to be asked, by the settings, switches and secrets.

    Raises:
        ConfigurationError: If the settings name a source that there is not.
    """
    rollout = Rollout(
        _names("INTEL_SOURCES", settings.sources, specs),
        _names("INTEL_DISABLED", settings.disabled, specs),
    )
    names = {name for spec in specs for name in spec.secrets}
    known = {name for name in names if settings.secret(name)}
    return off(specs, rollout, switched_off(settings.layout), known)


def _names(setting: str, text: str, specs: Sequence[SourceSpec]) -> list[str]:
    found = [name.strip() for name in text.split(",") if name.strip()]
    known = {spec.name for spec in specs} | set(registry.names())
    unknown = [name for name in found if name not in known]
    if unknown:
        raise ConfigurationError(
            f"{setting} names '{unknown[0]}', and there is no such source.",
            f"There are {', '.join(sorted(known))}.",
        )
    return found


@contextmanager
def open_engine(settings: Settings, clock: Clock = system_clock) -> Iterator[Engine]:
    """Open the lake that the settings name.

    Raises:
        StorageError: If its format is of another version, or it cannot be reached.
    """
    check_folder(settings.layout)
    check_format(settings.layout, create=True)
    check_writable(settings.layout)
    with scratch(settings.state.absolute() / "spool") as spool:
        landing = Landing(settings.layout, spool)
        yield Engine(settings, Lake(settings.layout, landing, clock))
