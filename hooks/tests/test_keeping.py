"""Daemons that are kept: what several programs, and forks of one, do to them."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
import relstab
from commands import output
from daemons import DAEMON
from relstab.config import prepare
from training import Digits

FORKED = """
import os, sys, time, relstab
daemon = relstab.start(sys.argv[1], restart=sys.argv[2] == "kept", images=60, draws=1, backend="tract")
process = daemon.process
# The thread that keeps it waits by now.
time.sleep(0.5)
child = os.fork()
if child == 0:
    daemon.stop()
    sys.exit(0)
end = time.monotonic() + 20
while os.waitpid(child, os.WNOHANG) == (0, 0):
    assert time.monotonic() < end, "the child hangs"
    time.sleep(0.05)
assert daemon.is_running and daemon.process is process and process.poll() is None
daemon.stop()
assert process.returncode == 0 and not daemon.is_running
"""


@pytest.fixture
def run(tmp_path: Path, digits: Digits) -> Path:
    prepare(tmp_path / "run", probe=digits.probe)
    return tmp_path / "run"


@pytest.mark.parametrize("how", ["kept", "started"])
def test_a_forked_child_leaves_the_daemon_of_its_parent_alone(run: Path, how: str) -> None:
    output(sys.executable, "-c", FORKED, run, how, timeout=60)


def test_of_programs_that_start_one_at_once_the_others_use_it_until_it_is_gone(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    daemons: list[relstab.Daemon] = []
    starts = [
        threading.Thread(target=lambda: daemons.append(relstab.start(run, restart=True, **DAEMON))) for _ in range(3)
    ]
    for each in starts:
        each.start()
    for each in starts:
        each.join()

    def alive() -> list[relstab.Daemon]:
        return [each for each in daemons if each.process is not None and each.process.poll() is None]

    try:
        assert all(each.is_running for each in daemons)
        # Longer than a keeper waits before it starts one again.
        time.sleep(3)
        assert "is started again" not in caplog.text
        (first,) = alive()
        assert first.process is not None
        killed = first.process
        killed.kill()
        end = time.monotonic() + 30
        while killed.poll() is None or not all(each.is_running for each in daemons):
            assert time.monotonic() < end, "none is started again"
            time.sleep(0.1)
    finally:
        for daemon in daemons:
            daemon.stop()
