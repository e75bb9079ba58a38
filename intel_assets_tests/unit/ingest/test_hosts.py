"""What the ledger of hosts promises, over threads and over processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from intel_assets.clock import parse_instant, system_clock
from intel_assets.errors import HostUnavailable, StorageError, UpstreamUnavailable, UsageError
from intel_assets.ingest.hosts import HostLedger
from intel_assets.ingest.http import HttpClient, Request
from intel_assets.ingest.redact import Redactor
from intel_assets.lakehouse.landing import Landing
from intel_assets.lakehouse.layout import Layout
from intel_assets_tests.unit.ingest.conftest import PATIENT, Host, Seen, answer

spawn = multiprocessing.get_context("spawn")


def busiest_second(moments: list[float]) -> int:
    """Return the most moments that lie in any second."""
    return max(sum(1 for m in moments if start <= m < start + 1.0) for start in moments)


def gaps(moments: list[float]) -> list[float]:
    """Return the spaces between moments."""
    ordered = sorted(moments)
    return [b - a for a, b in zip(ordered, ordered[1:], strict=False)]


def failing(ledger: HostLedger, times: int, host: str = "h") -> None:
    """Let requests fail."""
    for _ in range(times):
        with pytest.raises(UpstreamUnavailable), ledger.guard(host):
            raise UpstreamUnavailable("down")


def _fetch(path: Path, url: str, count: int, stall: float) -> None:
    """Fetch; the first request stalls between its turn and its sending."""
    ledger = HostLedger(path / "hosts.db", system_clock)
    policy = PATIENT.__class__(rate_per_second=5, burst=3)
    landing = Landing(Layout(str(path / "lake")))
    with landing, HttpClient(landing, ledger, Redactor({}), system_clock, policy) as client:
        send = client._client.send

        def late(*args: object, **kwargs: object) -> object:
            client._client.send = send  # type: ignore[method-assign]
            time.sleep(stall)
            return send(*args, **kwargs)  # type: ignore[arg-type]

        client._client.send = late  # type: ignore[method-assign,assignment]
        for number in range(count):
            client.fetch(Request(f"{url}{number}"))


def run_together(*works: tuple[Callable[..., None], tuple[object, ...]]) -> None:
    """Run works at once, each in a process."""
    processes = [spawn.Process(target=work, args=args) for work, args in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)


@pytest.mark.slow
def test_a_host_never_sees_more_than_its_rate_from_four_processes(
    host: Host, tmp_path: Path
) -> None:
    stalls = (0.0, 0.3, 0.6, 0.9)
    run_together(*[(_fetch, (tmp_path, host.url, 4, stall)) for stall in stalls])
    moments = [seen.at for seen in host.seen]
    assert len(moments) == 16
    assert busiest_second(moments) <= 5


@pytest.mark.slow
def test_a_slow_host_is_not_asked_faster_either(host: Host, tmp_path: Path) -> None:
    def script(_: Seen, connection: object) -> None:
        time.sleep(0.4)
        connection.sendall(answer(200))  # type: ignore[attr-defined]

    host.script = script
    run_together(*[(_fetch, (tmp_path, host.url, 2, 0.0)) for _ in range(4)])
    assert busiest_second([seen.at for seen in host.seen]) <= 5


def _take(ledger: HostLedger, moments: list[float], rate: float, burst: int, count: int) -> None:
    for _ in range(count):
        with ledger.wait_turn("h", rate, burst):
            moments.append(time.monotonic())


def test_threads_share_a_rate_and_use_all_of_it(ledger: HostLedger) -> None:
    moments: list[float] = []
    threads = [threading.Thread(target=_take, args=(ledger, moments, 20, 1, 10)) for _ in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert busiest_second(moments) <= 20
    assert min(gaps(moments)) > 0.02
    assert time.monotonic() - began < 4


def test_a_burst_goes_without_a_space_and_then_waits(ledger: HostLedger) -> None:
    moments: list[float] = []
    _take(ledger, moments, 10, 3, 7)
    spaces = gaps(moments)
    assert max(spaces[:2]) < 0.05
    assert spaces[2] > 0.2
    assert moments[6] - moments[0] > 0.55


def test_less_than_one_a_second(ledger: HostLedger) -> None:
    moments: list[float] = []
    _take(ledger, moments, 0.8, 1, 2)
    assert 1.2 < moments[1] - moments[0] < 1.5


def test_hosts_do_not_wait_for_each_other(ledger: HostLedger) -> None:
    began = time.monotonic()
    for number in range(30):
        ledger.wait_turn(f"host{number}", 0.1)
    assert time.monotonic() - began < 1


def test_a_turn_that_comes_too_late_is_not_waited_for(ledger: HostLedger) -> None:
    ledger.wait_turn("h", 0.01)
    began = time.monotonic()
    with pytest.raises(HostUnavailable, match="no free turn for 5 s") as caught:
        ledger.wait_turn("h", 0.01, give_up_after=5)
    assert time.monotonic() - began < 0.5
    assert caught.value.retry_at - system_clock() > timedelta(seconds=90)


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_a_rate_must_be_above_zero(ledger: HostLedger, rate: float, burst: int) -> None:
    with pytest.raises(UsageError):
        ledger.wait_turn("h", rate, burst)


def test_a_clock_that_was_set_back_blocks_nobody(ledger: HostLedger, tmp_path: Path) -> None:
    ledger.wait_turn("h", 1)
    failing(ledger, 50)
    with sqlite3.connect(tmp_path / "hosts.db") as db:
        db.execute("UPDATE turns SET granted = granted + 9999, frees = frees + 9999")
        db.execute("UPDATE circuits SET open_until = open_until + 9999")
    db.close()
    ledger.wait_turn("h", 1, give_up_after=0.5)
    with ledger.guard("h"):
        pass


def test_a_circuit_opens_after_failures_in_a_row_only(tmp_path: Path) -> None:
    ledger = HostLedger(tmp_path / "l.db", system_clock, threshold=3)
    failing(ledger, 2)
    with ledger.guard("h"):
        pass
    failing(ledger, 2)
    with pytest.raises(ValueError, match="ours"), ledger.guard("h"):
        raise ValueError("ours")
    failing(ledger, 1)
    for refused in (lambda: ledger.guard("h").__enter__(), lambda: ledger.wait_turn("h", 5)):
        with pytest.raises(HostUnavailable, match=r"not asked again before \d{4}-\d\d-\d\d") as e:
            refused()
        assert timedelta(seconds=25) < e.value.retry_at - system_clock() < timedelta(seconds=31)
    with ledger.guard("another"):
        pass


def test_a_half_open_circuit_admits_one_trial_that_decides(tmp_path: Path) -> None:
    one, other = (
        HostLedger(tmp_path / "l.db", system_clock, threshold=1, cooldown=0.2) for _ in range(2)
    )
    failing(one, 1)
    time.sleep(0.25)
    with one.guard("h"), pytest.raises(HostUnavailable, match="being tried"):
        other.guard("h").__enter__()
    with other.guard("h"), one.guard("h"):
        pass
    failing(one, 1)
    time.sleep(0.25)
    failing(other, 1)
    with pytest.raises(HostUnavailable):
        one.guard("h").__enter__()


def test_a_trial_that_ends_without_a_verdict_leaves_room_for_the_next(tmp_path: Path) -> None:
    ledger = HostLedger(tmp_path / "l.db", system_clock, threshold=1, cooldown=0.1)
    failing(ledger, 1)
    time.sleep(0.15)
    with pytest.raises(KeyboardInterrupt), ledger.guard("h"):
        raise KeyboardInterrupt
    with ledger.guard("h"):
        pass


def test_late_failures_do_not_keep_a_circuit_open(tmp_path: Path) -> None:
    ledger = HostLedger(tmp_path / "l.db", system_clock, threshold=1, cooldown=0.3)
    early = ledger.guard("h")
    early.__enter__()
    failing(ledger, 1)
    time.sleep(0.2)
    error = UpstreamUnavailable("late")
    assert not early.__exit__(type(error), error, None)
    time.sleep(0.15)
    with ledger.guard("h"):
        pass


def test_the_time_to_retry_is_told_by_the_given_clock(tmp_path: Path) -> None:
    then = parse_instant("2020-01-01T00:00:00Z")
    ledger = HostLedger(tmp_path / "l.db", lambda: then, threshold=1, cooldown=60)
    failing(ledger, 1)
    with pytest.raises(HostUnavailable, match="2020-01-01 00:0"):
        ledger.guard("h").__enter__()


def _try(path: Path, others: int) -> None:
    """Try the host; who is admitted stays until all others were refused."""
    try:
        with HostLedger(path / "l.db", system_clock).guard("h"):
            (path / f"admitted-{os.getpid()}").touch()
            deadline = time.monotonic() + 20
            while len(list(path.glob("refused-*"))) < others and time.monotonic() < deadline:
                time.sleep(0.01)
    except HostUnavailable:
        (path / f"refused-{os.getpid()}").touch()


@pytest.mark.slow
def test_one_trial_over_all_processes(tmp_path: Path) -> None:
    failing(HostLedger(tmp_path / "l.db", system_clock, threshold=1, cooldown=0.1), 1)
    time.sleep(0.15)
    run_together(*[(_try, (tmp_path, 3))] * 4)
    assert len(list(tmp_path.glob("admitted-*"))) == 1


def _die(path: Path, where: str) -> None:
    ledger = HostLedger(path / "l.db", system_clock, lease=0.3)
    if where == "transaction":
        with ledger._transaction() as db:
            db.execute("DELETE FROM turns")
            os.kill(os.getpid(), signal.SIGKILL)
    if where == "turn":
        ledger.wait_turn("h", 5)
        os.kill(os.getpid(), signal.SIGKILL)
    with ledger.guard("h"):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("where", ["transaction", "turn", "trial"])
def test_a_killed_process_blocks_nobody_for_long(tmp_path: Path, where: str) -> None:
    ledger = HostLedger(tmp_path / "l.db", system_clock, threshold=1, cooldown=0.1, lease=0.3)
    if where == "trial":
        failing(ledger, 1)
        time.sleep(0.15)
    process = spawn.Process(target=_die, args=(tmp_path, where))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    time.sleep(0.3)
    with ledger.wait_turn("h", 5, give_up_after=3.5), ledger.guard("h"):
        pass


def _open_at(path: Path, moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))
    HostLedger(path / "new" / "l.db", system_clock).wait_turn("h", 100)


@pytest.mark.slow
def test_many_processes_may_make_the_file_at_once(tmp_path: Path) -> None:
    run_together(*[(_open_at, (tmp_path, time.time() + 1.5))] * 6)


def test_a_forked_child_has_a_connection_of_its_own(ledger: HostLedger) -> None:
    ledger.wait_turn("h", 100)
    process = multiprocessing.get_context("fork").Process(target=ledger.wait_turn, args=("h", 100))
    process.start()
    process.join(10)
    assert process.exitcode == 0
    ledger.wait_turn("h", 100)


def test_a_ledger_can_be_closed_and_used_again(ledger: HostLedger) -> None:
    ledger.close()
    ledger.wait_turn("h", 100)
    ledger.close()


def test_a_file_that_is_no_ledger_is_told(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_bytes(b"this is no database" * 500)
    with pytest.raises(StorageError, match="delete it"):
        HostLedger(tmp_path / "l.db", system_clock)


def test_a_folder_that_cannot_be_written_is_told() -> None:
    with pytest.raises(StorageError, match="/proc/intel"):
        HostLedger(Path("/proc/intel/l.db"), system_clock)
