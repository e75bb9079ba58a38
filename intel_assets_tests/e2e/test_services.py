"""Services: whatever starts first, and together, comes up; and stopping leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from intel_assets.simulator.server import Simulator

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PATIENCE = 150.0

OPEN = """
import os, sys
from intel_assets.orchestration.instance import STORAGE, open_instance
from intel_assets.settings import load_settings
print("ready", flush=True)
for line in sys.stdin:
    os.environ[STORAGE] = line.strip()
    with open_instance(load_settings()) as instance:
        print(len(instance.get_runs()), flush=True)
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(folder: Path, **more: str) -> dict[str, str]:
    return (
        os.environ
        | {
            "DAGSTER_HOME": str(ROOT),
            "INTEL_DAGSTER_STORAGE": str(folder / "dagster"),
            "INTEL_LAKE": str(folder / "lake"),
            "INTEL_STATE": str(folder / "state"),
            "INTEL_SIMULATOR": f"http://127.0.0.1:{_free_port()}",
            "INTEL_MODE": "demo",
        }
        | more
    )


def _up(port: int, patience: float = PATIENCE) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2) as found:
                return "dagster_version" in json.load(found)
        except (OSError, urllib.error.URLError):
            time.sleep(0.3)
    return False


def _sound(folder: Path, patience: float = 10.0) -> bool:
    """Whether each of Dagster's databases has one head; two are a damaged instance.

    The file of a run that begins at this moment has none yet, for a moment.
    """
    deadline = time.monotonic() + patience
    while 0 in (heads := _heads(folder)).values() and time.monotonic() < deadline:
        time.sleep(0.2)
    return set(heads.values()) == {1}


def _heads(folder: Path) -> dict[str, int]:
    """Return how many heads each of Dagster's databases has."""
    found = {}
    for file in sorted((folder / "dagster").rglob("*.db")):
        with closing(sqlite3.connect(file)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            if "alembic_version" in tables:
                rows = database.execute("SELECT count(*) FROM alembic_version").fetchone()
                found[file.name] = rows[0]
    return found


def _family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def _left(family: list[psutil.Process], patience: float = 20.0) -> list[str]:
    _, alive = psutil.wait_procs(family, timeout=patience)
    return [f"{process.pid} {process.status()}" for process in alive]


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """What a test has started; killed with all its children if the test did not stop it."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            for one in reversed(_family(process)):
                one.kill()
            process.wait()


def _start(
    started: list[subprocess.Popen[str]],
    environment: dict[str, str],
    *command: str,
    cwd: Path = ROOT,
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    started.append(process)
    return process


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_empty_instance_that_many_open_at_once_always_opens(
    tmp_path: Path, started: list[subprocess.Popen[str]]
):
    environment = _environment(tmp_path)
    openers = [_start(started, environment, sys.executable, "-c", OPEN) for _ in range(4)]
    pipes = [(opener.stdin, opener.stdout) for opener in openers]
    for _, said in pipes:
        assert said is not None
        assert said.readline() == "ready\n"
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        for told, _ in pipes:
            assert told is not None
            told.write(f"{folder / 'dagster'}\n")
            told.flush()
        assert [said.readline() for _, said in pipes if said] == ["0\n"] * 4
        assert _sound(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_all_services_started_at_once_on_nothing_come_up_and_leave_nothing(
    tmp_path: Path, started: list[subprocess.Popen[str]], number: signal.Signals
):
    environment, intel = _environment(tmp_path), str(BIN / "intel")
    ports = [_free_port(), _free_port()]
    services = [_start(started, environment, intel, "ui", "--port", str(p)) for p in ports]
    run = _start(
        started,
        environment,
        intel,
        "run",
        "tweetfeed",
        "--from",
        "2025-05-01",
        "--to",
        "2025-05-03",
    )
    told, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, told
    assert [_up(port) for port in ports] == [True, True]
    assert _sound(tmp_path), _heads(tmp_path)
    families = [_family(service) for service in services]
    assert all(len(family) >= 4 for family in families)  # itself, code server, webserver, daemon
    for service in services:
        service.send_signal(number)
    assert [service.wait(60) for service in services] == [0, 0]
    assert [_left(family) for family in families] == [[], []]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_world_stays_up_when_the_service_that_played_it_ends(
    tmp_path: Path, started: list[subprocess.Popen[str]]
):
    code = (
        "import sys\n"
        "from intel_assets.settings import load_settings\n"
        "from intel_assets.world import demo_world\n"
        "with demo_world(load_settings()):\n"
        "    print('up', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    environment = _environment(tmp_path)
    players = [_start(started, environment, sys.executable, "-c", code) for _ in range(4)]
    for player in players:
        assert player.stdout is not None
        assert player.stdout.readline() == "up\n"
    clock = environment["INTEL_SIMULATOR"] + "/_control/clock"
    for player in players:
        with urllib.request.urlopen(clock, timeout=5) as answer:
            assert b"now" in answer.read()
        player.communicate("\n", timeout=30)
        deadline = time.monotonic() + 30
        while player is not players[-1]:
            try:
                urllib.request.urlopen(clock, timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(clock, timeout=5)


def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [str(BIN / "intel"), "ui", "--port", str(port)],
            cwd=ROOT,
            env=_environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        f"ConfigurationError: Port {port} cannot be used: Address already in use.",
        f"Stop what listens there, or name another: intel ui --port {port + 1}.",
    ]
    assert not (tmp_path / "dagster").exists()


def test_something_else_where_the_simulator_should_be_is_said(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        from threading import Thread

        def answer() -> None:
            peer, _ = taken.accept()
            with peer:
                peer.recv(1024)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

        thread = Thread(target=answer, daemon=True)
        thread.start()
        done = subprocess.run(
            [str(BIN / "intel"), "run", "tweetfeed", "--from", "2025-05-01", "--to", "2025-05-01"],
            cwd=ROOT,
            env=_environment(tmp_path, INTEL_SIMULATOR=address),
            capture_output=True,
            text=True,
            timeout=120,
        )
        thread.join(5)
    assert done.returncode == 3
    assert f"Something that is no simulator listens at {address}." in done.stderr
    assert "INTEL_SIMULATOR" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "command", [["dagster", "dev", "-w", "workspace.yaml"], ["dg", "dev"]], ids=["dagster", "dg"]
)
def test_dagsters_own_services_come_up_with_the_environment_of_the_readme(
    tmp_path: Path, started: list[subprocess.Popen[str]], command: list[str]
):
    port = _free_port()
    environment = _environment(tmp_path)
    Path(environment["INTEL_DAGSTER_STORAGE"]).mkdir()
    tool = [str(BIN / command[0]), *command[1:], "-p", str(port), "-h", "127.0.0.1"]
    service = _start(started, environment, *tool)
    assert _up(port)
    family = _family(service)
    service.send_signal(signal.SIGINT)
    assert _left(family, 60.0) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_dagsters_own_services_read_the_same_from_a_dotenv(
    tmp_path: Path, started: list[subprocess.Popen[str]]
):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("workspace.yaml", "dagster.yaml", "pyproject.toml", "intel_assets"):
        (project / name).symlink_to(ROOT / name)
    (project / ".env").write_text(
        "DAGSTER_HOME=${PWD}\nINTEL_DAGSTER_STORAGE=${PWD}/data/state/dagster\n"
    )
    kept = ("DAGSTER_HOME", "INTEL_DAGSTER_STORAGE")
    environment = {k: v for k, v in _environment(tmp_path).items() if k not in kept}
    environment["PWD"] = str(project)
    port = _free_port()
    tool = [str(BIN / "dagster"), "dev", "-w", "workspace.yaml", "-p", str(port), "-h", "127.0.0.1"]
    service = _start(started, environment, *tool, cwd=project)
    assert _up(port)
    assert list((project / "data/state/dagster").rglob("*.db"))
    family = _family(service)
    service.send_signal(signal.SIGINT)
    assert _left(family, 60.0) == []


def test_the_simulator_ends_at_a_signal_and_says_where_it_plays(
    tmp_path: Path, started: list[subprocess.Popen[str]]
):
    port = _free_port()
    service = _start(
        started, _environment(tmp_path), str(BIN / "intel"), "simulate", "--port", str(port)
    )
    assert service.stdout is not None
    assert f"Playing at http://127.0.0.1:{port}" in service.stdout.readline()
    service.send_signal(signal.SIGTERM)
    assert service.wait(30) == 0


def test_simulators_that_take_over_play_the_same_world(tmp_path: Path):
    path = "/raw.githubusercontent.com/0xDanielLopez/TweetFeed/master/2025/202505/20250502.csv"
    bodies = []
    for _ in range(2):
        with Simulator() as simulator, urllib.request.urlopen(simulator.url + path) as answer:
            bodies.append(answer.read())
    assert bodies[0] == bodies[1]
