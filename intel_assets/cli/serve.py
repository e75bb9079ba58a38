"""Commands that keep running: `simulate` and `ui`; and `doctor`, which looks whether they could."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from intel_assets.errors import ConfigurationError
from intel_assets.settings import SIMULATOR_PORT, load_settings

PORT = 3000
_PATIENCE = 15.0
_LOCATION = "intel_assets"


def simulate(
    port: Annotated[
        int, typer.Option("--port", help="Where to listen, on loopback.")
    ] = SIMULATOR_PORT,
    seed: Annotated[int, typer.Option("--seed", help="Decides all that is published.")] = 7,
    recordings: Annotated[
        Path | None,
        typer.Option(
            "--recordings", help="A folder of recorded bodies to serve as the live hosts."
        ),
    ] = None,
) -> None:
    """Play every upstream API on this machine until stopped."""
    from intel_assets.simulator.server import Simulator, run_forever

    run_forever(
        Simulator(seed=seed, recordings=recordings),
        port=port,
        started=lambda url: typer.echo(f"Playing at {url}; stop it with Ctrl-C.", err=True),
    )


def ui(
    port: Annotated[int, typer.Option("--port", help="Where the UI listens, on loopback.")] = PORT,
) -> None:
    """Open Dagster on this lake: the UI, its daemon, and in demo mode the simulator.

    It listens on 127.0.0.1 alone, because it has no login.
    """
    settings = load_settings()
    _free(port)

    from intel_assets.orchestration.instance import environment, open_instance
    from intel_assets.world import demo_world

    with open_instance(settings):
        pass
    with demo_world(settings), tempfile.TemporaryDirectory(prefix="intel-ui-") as folder:
        home = environment(settings)
        typer.echo(f"Dagster will be at http://127.0.0.1:{port}; stop it with Ctrl-C.", err=True)
        # One server of the definitions for both. A daemon that reads them from a module starts
        # one of its own every minute, which costs more than all else it does when nothing is due.
        server = Path(folder) / "definitions.socket"
        workspace = Path(folder) / "workspace.yaml"
        named = {"grpc_server": {"socket": str(server), "location_name": _LOCATION}}
        workspace.write_text(json.dumps({"load_from": [named]}), "utf-8")
        code = _serve(
            [
                [
                    *_python("dagster"),
                    "code-server",
                    "start",
                    *("--socket", str(server)),
                    *("--module-name", f"{_LOCATION}.definitions"),
                    *("--location-name", _LOCATION),
                ],
                [
                    *_python("dagster_webserver"),
                    *("-h", "127.0.0.1"),
                    *("-p", str(port)),
                    *("-w", str(workspace)),
                ],
                [*_python("dagster._daemon"), "run", *("-w", str(workspace))],
            ],
            home,
            first=server,
        )
    sys.exit(code)


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _serve(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str], *, first: Path
) -> int:
    """Run services until one ends or this process is told to stop; leave none behind.

    Args:
        commands: The services.
        environment: What they need in their environment.
        first: What the first of them makes when the others can begin.
    """
    stop = False

    def on_signal(*_: object) -> None:
        nonlocal stop
        stop = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    services: list[subprocess.Popen[bytes]] = []
    try:
        while not stop and all(service.poll() is None for service in services):
            if not services or (first.exists() and len(services) < len(commands)):
                # Own process groups: a Ctrl-C reaches this process alone, which then stops them
                # in order.
                services.append(
                    subprocess.Popen(  # noqa: S603  (our own commands)
                        commands[len(services)],
                        env={**os.environ, **environment},
                        start_new_session=True,
                    )
                )
            time.sleep(0.2)
        return next((service.returncode for service in services if service.returncode), 0)
    finally:
        for service in reversed(services):
            _end(service)


def _end(service: subprocess.Popen[bytes]) -> None:
    """Stop a service and all that it started."""
    for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, 2.0)):
        try:
            os.killpg(service.pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and _group_lives(service):
            time.sleep(0.1)
    service.wait()


def _group_lives(service: subprocess.Popen[bytes]) -> bool:
    service.poll()
    try:
        os.killpg(service.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigurationError(
                f"Port {port} cannot be used: {error.strerror}.",
                f"Stop what listens there, or name another: intel ui --port {port + 1}.",
            ) from None


COMMANDS = {"simulate": simulate, "ui": ui}
