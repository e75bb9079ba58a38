"""Scratch folders: promises about what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from intel_assets.lakehouse.scratch import scratch

CHILD = """
import sys, time
from pathlib import Path
from intel_assets.lakehouse.scratch import scratch
with scratch(Path(sys.argv[1])) as own:
    (own / "body").write_text("x")
    print(own, flush=True)
    time.sleep(60)
"""


def folders(root: Path) -> set[Path]:
    return set(root.glob("work-*"))


def test_a_folder_is_gone_after_use(tmp_path: Path):
    with scratch(tmp_path) as own:
        (own / "body").write_text("x")
        assert folders(tmp_path) == {own}
    assert not folders(tmp_path)


def test_what_a_killed_process_left_is_swept_and_what_a_live_one_uses_stays(tmp_path: Path):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    theirs = Path(child.stdout.readline().strip())
    with scratch(tmp_path) as own:
        assert folders(tmp_path) == {own, theirs}
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 10
    while theirs.exists() and time.monotonic() < deadline:
        with scratch(tmp_path):
            pass
    assert not theirs.exists()
