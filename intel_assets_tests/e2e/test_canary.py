"""A canary in the place of a key: looked for in everything that a run leaves behind or says."""

from __future__ import annotations

import base64
import json
import logging
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from urllib.parse import quote, quote_plus

import polars as pl
import pytest
import zstandard

from intel_assets.logs import configure_logs
from intel_assets.simulator.faults import Fault
from intel_assets.simulator.server import Simulator
from intel_assets_tests.e2e.chaos_child import ROOT, intel_command, intel_environment
from intel_assets_tests.e2e.chaos_world import HOSTS, NOW, Place, last_days, quick

CANARIES = {
    "plain": "canary4f1b9ac27de85",
    "escaped": "canary+4f/1b9=ac%27&de8==",
    "quoted": "canary\"4f'1b9\\ac<27>de8",
}
HOST = HOSTS["urlhaus"]
DAYS = last_days(2)


@pytest.fixture(
    params=[
        pytest.param("plain", marks=pytest.mark.slow),
        "escaped",
        pytest.param("quoted", marks=pytest.mark.slow),
    ]
)
def canary(request: pytest.FixtureRequest) -> str:
    return CANARIES[request.param]


@pytest.fixture
def simulator(canary: str) -> Iterator[Simulator]:
    with Simulator(volume=0.05, seed=3, auth_key=canary) as simulator:
        simulator.clock.set(NOW)
        yield simulator


def needles(secret: str) -> set[str]:
    """Return every way in which a secret may be written."""
    data = secret.encode()
    forms = {secret, quote(secret, safe=""), quote_plus(secret), quote(secret)}
    forms |= {quote(form, safe="") for form in set(forms)}
    forms |= {json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    forms |= {json.dumps(form)[1:-1] for form in set(forms)}
    for shift in range(3):
        # As a part of a longer text that is encoded, such as `user:key`.
        packed = base64.b64encode(b"\0" * shift + data).decode()
        core = packed[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6]
        forms |= {core, core.replace("+", "-").replace("/", "_")}
    return forms


def assert_absent(secret: str, where: str, text: str) -> None:
    """Hold that a text does not show the secret in any writing."""
    low = text.lower()
    shown = [form for form in needles(secret) if form.lower() in low]
    assert not shown, f"{where} shows the key as {shown}"


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Give everything that the files of a folder hold, unpacked."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(file.relative_to(folder))
        data = file.read_bytes()
        yield name, f"{name} {data.decode('utf-8', 'replace')}"
        if file.suffix == ".parquet":
            yield name, pl.read_parquet(file, hive_partitioning=False).write_json()
        elif file.suffix == ".zst":
            yield (
                name,
                zstandard.ZstdDecompressor()
                .decompressobj()
                .decompress(data)
                .decode("utf-8", "replace"),
            )
        elif data.startswith(b"SQLite format 3"):
            with sqlite3.connect(file) as database:
                yield name, "\n".join(database.iterdump())


def assert_absent_below(secret: str, folder: Path) -> int:
    """Hold that no file of a folder shows the secret; return how many texts were looked at."""
    count = 0
    for name, text in texts(folder):
        assert_absent(secret, name, text)
        count += 1
    return count


def test_the_search_finds_what_it_looks_for(tmp_path: Path, canary: str) -> None:
    plain = {
        "raw": canary,
        "url": f"https://host/?auth-key={quote(canary, safe='')}",
        "json": json.dumps({"a": json.dumps({"b": canary})}),
        "basic": base64.b64encode(f"user:{canary}".encode()).decode(),
    }
    for name, text in plain.items():
        with pytest.raises(AssertionError, match="shows the key"):
            assert_absent(canary, name, text)
    pl.DataFrame({"a": [[canary]], "b": [1]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(AssertionError, match="shows the key"):
        assert_absent_below(canary, tmp_path)


@pytest.mark.slow
def test_no_fault_brings_a_key_to_light(
    canary: str,
    tmp_path: Path,
    simulator: Simulator,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Place(tmp_path, simulator.url, key=canary)
    spec = quick("urlhaus", read_timeout=0.3, total_timeout=0.6)
    records = StringIO()
    # What our own handler writes, at its most talkative, and what any other handler would get.
    root = logging.StreamHandler(records)
    root.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))
    configure_logs(2, {"ABUSECH_AUTH_KEY": canary})
    package = logging.getLogger("intel_assets")
    before = logging.getLogger().level
    for logger in (logging.getLogger(), package):
        logger.addHandler(root)
    logging.getLogger().setLevel(logging.DEBUG)
    said: list[str] = []
    try:
        assert {result.state for result in place.run(spec, DAYS)} == {"complete"}
        for kind in Fault:
            simulator.clock.advance(600)
            simulator.faults.add(kind, host=HOST, times=None)
            for result in place.run(spec, DAYS):
                error = result.error
                said.append(f"{result} {error!r}")
                said += traceback.format_exception(error) if error else []
            simulator.faults.clear()
        # A wrong key is a key too.
        wrong = Place(tmp_path, simulator.url, key=f"{canary}x")
        said += [str(result) for result in wrong.run(spec, DAYS)]
    finally:
        for logger in (logging.getLogger(), package):
            logger.removeHandler(root)
        for handler in list(package.handlers):
            package.removeHandler(handler)
        package.propagate = True
        package.setLevel(logging.NOTSET)
        logging.getLogger().setLevel(before)
    out, err = capfd.readouterr()
    assert "asking" in err, "the log was at its most talkative"
    assert "ABUSECH_AUTH_KEY" not in out
    for where, text in {
        "standard output": out,
        "standard error": err,
        "log records": records.getvalue(),
        "errors": "\n".join(said),
        "the simulator's journal": str(simulator.requests),
    }.items():
        assert_absent(canary, where, text)
    assert assert_absent_below(canary, tmp_path) > 50
    urls = place.journal(spec)["url"].unique().to_list()
    assert urls
    assert all("auth-key=***" in url for url in urls)


# -- through the command, Dagster and its GraphQL --------------------------------------------------

_QUERY = """{
  runsOrError { ... on Runs { results {
    runId status runConfigYaml tags { key value }
    eventConnection { events { __typename
      ... on MessageEvent { message }
      ... on ExecutionStepFailureEvent {
        error { message stack className causes { message stack } errorChain { error { message } } }
        failureMetadata { description metadataEntries { label description
          ... on TextMetadataEntry { text } ... on JsonMetadataEntry { jsonString } } } }
      ... on MaterializationEvent { metadataEntries { label description
        ... on TextMetadataEntry { text } ... on JsonMetadataEntry { jsonString }
        ... on UrlMetadataEntry { url } ... on PathMetadataEntry { path } } }
    } } } } }
  assetNodes { assetKey { path } description metadataEntries { label description
    ... on TextMetadataEntry { text } ... on JsonMetadataEntry { jsonString } } }
}"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_command_dagster_and_graphql_never_show_a_key(tmp_path: Path) -> None:
    canary = CANARIES["escaped"]
    with Simulator(volume=0.05, seed=3, auth_key=canary) as simulator:
        simulator.clock.set(NOW)
        place = Place(tmp_path, simulator.url, key=canary)
        days = ("--from", str(DAYS[0]), "--to", str(DAYS[-1]))
        assert _intel(place, "run", "urlhaus", *days) == 0
        faults = {
            "unauthorized": 4,
            "wrong_content_type": 5,
            "garbled_row": 5,
            "429": 4,
        }
        for kind, code in faults.items():
            simulator.clock.advance(600)
            # Longer than anybody waits, so that it ends at once.
            simulator.faults.add(kind, host=HOST, times=None, retry_after=7200)
            assert _intel(place, "-vv", "run", "urlhaus", *days) == code
            simulator.faults.clear()
        simulator.clock.advance(600)
        simulator.faults.add("truncated", host=HOST, times=1)
        assert _intel(place, "-vv", "run", "urlhaus", *days) == 0
        _intel(place, "doctor")
        answers = subprocess.run(
            [sys.executable, "-c", "from dagster_graphql.cli import main; main()"]
            + ["-w", str(ROOT / "workspace.yaml"), "-t", _QUERY],
            env=intel_environment(place),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert answers.returncode == 0, answers.stderr
        # The code server's log goes to standard output too.
        answer = next(line for line in answers.stdout.splitlines() if line.startswith("{"))
        found = json.loads(answer)["data"]
        # Six commands, and each builds gold after its source: by days, then over all days.
        assert len(found["runsOrError"]["results"]) == 18
        assert_absent(canary, "GraphQL", answers.stdout + answers.stderr)
        assert "urlhaus" in answers.stdout
        assert_absent_below(canary, tmp_path)


def _intel(place: Place, *words: str) -> int:
    done = subprocess.run(
        intel_command(*words),
        env=intel_environment(place),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert_absent(place.key, f"intel {words}", done.stdout + done.stderr)
    return done.returncode
