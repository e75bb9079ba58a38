"""What the documents say is so: their commands run, their links lead somewhere, their names exist.

Every fenced block is executed in a copy of the repository with a lake of its own, in the order of
the file, as a reader would in one terminal. Blocks marked `text` are not, unless they name a file.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import nbformat
import pytest
import typer.main
from nbclient import NotebookClient

from intel_assets.cli import app
from intel_assets.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    file.relative_to(ROOT).as_posix()
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").rglob("*.md")]
    if "lake" not in file.relative_to(ROOT).parts
)
NOTEBOOKS = sorted(file.relative_to(ROOT).as_posix() for file in ROOT.glob("notebooks/*.ipynb"))
# Of each pair of axes of a figure: whether it says what it shows, and whether there is something.
DRAWN = (
    "__import__('json').dumps([[bool(a.get_xlabel() or a.get_ylabel()), "
    "bool(a.patches or a.images or a.lines or a.collections)] for a in plt.gcf().axes])"
)
# What runs until it is stopped, and how its port is named.
SERVICES = {
    "make ui": "PORT=",
    "intel ui": "--port ",
    "intel simulate": "--port ",
    "dg dev": "--port ",
    "dagster dev": "--port ",
}
NOT_COPIED = (
    ".git",
    ".venv",
    ".env",
    "lake",
    "state",
    "uploads",
    "results",
    "mutants",
    "htmlcov",
    "*.egg-info",
    "__pycache__",
    ".coverage*",
    ".*_cache",
    ".hypothesis",
)
# What no terminal of a reader would hold, and what a session of the tests may.
NOT_INHERITED = re.compile(r"INTEL_|DAGSTER_|COV_|COVERAGE|ABUSECH_|PYTEST|MAKE|MFLAGS|PORT$")
# Of a command's own environment and not of the product's settings.
FROM_DAGSTER_YAML = "INTEL_DAGSTER_STORAGE"


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    document: str
    line: int
    language: str
    file: str | None
    text: str

    def fail(self, output: str) -> None:
        """Fail the test, saying where and why."""
        pytest.fail(f"{self.document}:{self.line} ({self.language})\n{self.text}\n---\n{output}")


def blocks(document: str) -> list[Block]:
    """Return the fenced blocks of a document."""
    found = []
    text = (ROOT / document).read_text("utf-8")
    for match in re.finditer(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", text, re.M | re.S):
        line = text[: match.start()].count("\n") + 1
        found.append(Block(document, line, match[1], match[2], match[3]))
    return found


class Terminal:
    """A reader's terminal: one copy of the repository, one environment that blocks may change."""

    def __init__(self, folder: Path) -> None:
        """Copy the repository; the environment is this one's, and `make` takes it as ready."""
        self.folder = folder / "intel_assets"
        shutil.copytree(ROOT, self.folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
        venv = self.folder / ".venv"
        venv.mkdir()
        for name in ("bin", "lib", "pyvenv.cfg", "share", "include"):
            if (Path(sys.prefix) / name).exists():
                (venv / name).symlink_to(Path(sys.prefix) / name)
        (venv / ".ready").touch()
        self._simulator = free_port()
        self._state = folder / "environment"
        given = {k: v for k, v in os.environ.items() if not NOT_INHERITED.match(k)}
        given["PATH"] = f"{venv / 'bin'}:{given['PATH']}"
        # The editable install leads to the repository; this leads to the copy.
        given["PYTHONPATH"] = str(self.folder)
        given["INTEL_SIMULATOR"] = f"http://127.0.0.1:{self._simulator}"
        self._given = given
        self._state.write_text(f"cd {shlex.quote(str(self.folder))}\n")
        self._services: list[subprocess.Popen[str]] = []

    def run(self, block: Block) -> None:
        """Do what a block says."""
        if block.file:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "bash":
            self._bash(block)
        elif block.language == "python":
            self._execute(block, "python - <<'END_OF_BLOCK'\n" + block.text + "END_OF_BLOCK\n")
        elif block.language == "sql":
            self._execute(block, "intel sql - <<'END_OF_BLOCK'\n" + block.text + "END_OF_BLOCK\n")
        elif block.language == "diff":
            self._execute(block, "patch -p1 <<'END_OF_BLOCK'\n" + block.text + "END_OF_BLOCK\n")

    def close(self) -> None:
        """Stop the services that still run."""
        while self._services:
            self._stop(self._services.pop())

    def _stop(self, service: subprocess.Popen[str]) -> None:
        """Stop a service as Ctrl-C does; one that does not stop is a failure."""
        os.killpg(service.pid, signal.SIGINT)
        try:
            service.wait(120)
        except subprocess.TimeoutExpired:
            os.killpg(service.pid, signal.SIGKILL)
            pytest.fail(f"{service.args} does not stop on Ctrl-C")

    def _bash(self, block: Block) -> None:
        name = next((name for name in SERVICES if name in block.text), None)
        if name is None:
            self._execute(block, block.text)
            return
        assert len(block.text.strip().splitlines()) == 1, f"{block}: a service has its own block"
        # Those that are asked by what comes later stand where the settings say.
        port = self._simulator if name == "intel simulate" else free_port()
        command = f"{block.text.strip()} {SERVICES[name]}{port}"
        # A file, since nobody reads a pipe while it runs.
        log = self.folder / f"service-{port}.log"
        with log.open("w") as out:
            service = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", f"source {self._state}\nexec {command}"],
                env=self._given,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self._services.append(service)
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 300
        while not answers(address):
            if service.poll() is not None or time.monotonic() > deadline:
                block.fail(f"{command}: nothing answers at {address}\n{log.read_text()}")
            time.sleep(0.3)
        # The simulator is there for the blocks that follow; a page was there to be looked at.
        if name != "intel simulate":
            self._stop(self._services.pop())

    def _execute(self, block: Block, script: str) -> None:
        # What a block exports, and where it goes, holds for the blocks after it.
        after = f"{{ export -p; echo cd \"'$PWD'\"; }} > {self._state}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"source {self._state}\n{script}\n{after}"],
            env=self._given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        if done.returncode:
            block.fail(f"exit code {done.returncode}\n{done.stdout}")


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(address: str) -> bool:
    """Return whether something speaks HTTP there."""
    try:
        httpx.get(address, timeout=5.0)
    except httpx.TransportError:
        return False
    return True


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path)
    yield opened
    opened.close()


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("document", [name for name in DOCUMENTS if blocks(name)])
def test_every_block_of_a_document_runs(document: str, terminal: Terminal) -> None:
    for block in blocks(document):
        terminal.run(block)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_runs_on_the_lake_that_the_readme_makes(
    notebook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if NOT_INHERITED.match(name)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INTEL_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("INTEL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("INTEL_SIMULATOR", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("DAGSTER_HOME", str(ROOT))
    intel = [sys.executable, "-m", "intel_assets.cli"]
    land = [line for block in blocks("README.md") for line in land_lines(block)]
    assert land, "the README lands the samples"
    run = [*intel, "run", "urlhaus", "tweetfeed", "threatfox", "ipsum", "threatfox_ips"]
    for command in [run, *([*intel, *line] for line in land)]:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    path = ROOT / notebook
    book = nbformat.read(path, as_version=4)
    for cell in book.cells:
        cell.source = cell.source.replace("plt.show()", f"print('drawn', {DRAWN}); plt.show()")
    client = NotebookClient(
        book,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    done_book = client.execute()
    outputs = [out for cell in done_book.cells for out in cell.get("outputs", ())]
    shown = sum("image/png" in out.get("data", {}) for out in outputs)
    said = "".join(out.get("text", "") for out in outputs)
    axes = [json.loads(found) for found in re.findall(r"drawn (\[.*\])", said)]
    assert len(axes) == shown > 0, "it shows plots"
    assert all(all(pair) for figure in axes for pair in figure), axes


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_is_kept_without_outputs(notebook: str) -> None:
    for cell in nbformat.read(ROOT / notebook, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_inside_the_repository_leads_somewhere(document: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / document).parent / path if path else ROOT / document
        assert found.exists(), f"{document} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", found.read_text("utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
            assert anchor in anchors, f"{document} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_of_a_document_exists(document: str) -> None:
    said = set(re.findall(r"(?:`|^|/|\$ )intel ([a-z]+)", code_of(document), re.M))
    assert said <= commands(), f"{document} names what `intel --help` does not"


def test_every_command_is_in_the_operations_manual() -> None:
    told = code_of("docs/operations.md")
    missing = {name for name in commands() if f"intel {name}" not in told}
    assert not missing, "docs/operations.md lists every command"


def test_settings_and_documents_name_the_same_variables() -> None:
    exist = {f"INTEL_{name.upper()}" for name in Settings.model_fields} | {FROM_DAGSTER_YAML}
    named = {document: variables(document) for document in DOCUMENTS}
    for document, said in named.items():
        assert said <= exist, f"{document} names variables that nothing reads"
    assert variables(".env.example") <= exist
    assert exist == named["docs/operations.md"], "docs/operations.md names every variable"
    assert FROM_DAGSTER_YAML in variables("dagster.yaml")


def land_lines(block: Block) -> list[list[str]]:
    """Return the arguments of the `intel land` commands of a block."""
    lines = block.text.replace("\\\n", " ").splitlines() if block.language == "bash" else []
    return [shlex.split(line)[1:] for line in lines if line.startswith("intel land ")]


def commands() -> set[str]:
    """Return the names of the commands that there are."""
    return set(typer.main.get_group(app).commands)


def code_of(document: str) -> str:
    """Return what stands in a document as code: fenced blocks and spans."""
    text = (ROOT / document).read_text("utf-8")
    fenced = re.findall(r"^```\w+[^\n]*\n(.*?)^```$", text, re.M | re.S)
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    return "\n".join([*fenced, *re.findall(r"`[^`\n]+`", plain)])


def variables(document: str) -> set[str]:
    """Return the variables of the product that a file names."""
    return set(re.findall(r"\bINTEL_[A-Z_]+[A-Z]\b", (ROOT / document).read_text("utf-8")))
