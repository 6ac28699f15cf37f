"""The words of a daemon and a worker, passed on: on this machine, without Ray."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import relstab
from commands import run
from daemons import DAEMON, history
from relstab.relay import LostError, Process, Worker, relay
from serving import CHECKPOINTS, bundled_run

RELAY = """
import os, sys
from relstab.relay import Process, relay
os._exit(relay(Process(sys.argv[1:]), os.fdopen(0, "rb", buffering=0), os.fdopen(1, "wb"), sys.stderr.buffer))
"""


class Said:
    """A worker that says what it is told to say here."""

    def __init__(self, blocks: Iterator[bytes], code: int = 0) -> None:
        self._blocks, self._code, self.heard = blocks, code, 0

    def tell(self, block: bytes) -> None:
        pass

    def hear(self) -> bytes:
        self.heard += 1
        return next(self._blocks, b"")

    def overhear(self) -> bytes:
        return b""

    def end(self) -> int:
        return self._code


def relayed(worker: Worker) -> tuple[int, bytes, str]:
    """Exit code, answers and log."""
    answers, log = io.BytesIO(), io.BytesIO()
    code = relay(worker, io.BytesIO(), answers, log)
    return code, answers.getvalue(), log.getvalue().decode()


def test_a_daemon_measures_through_it_what_it_measures_itself(tmp_path: Path) -> None:
    script = tmp_path / "relay.py"
    script.write_text(RELAY)
    values: list[Any] = []
    for worker_command in (None, f"{sys.executable} {script}"):
        run = bundled_run(tmp_path / f"run{len(values)}")
        for network in CHECKPOINTS[:3]:
            (run / network.name).write_bytes(network.read_bytes())
        with relstab.start(run, **DAEMON, worker_command=worker_command) as daemon:
            assert daemon.client is not None
            events = daemon.client.events([run], since=0)
            measured = [event for event in events_until(events, 3) if event["type"] == "measured"]
        values.append([event["measurement"]["r_f"] for event in measured])
        assert [entry["state"] for entry in history(run)] == ["measured"] * 3
    assert values[0] == values[1]


def events_until(events: Iterator[dict[str, Any]], outcomes: int) -> Iterator[dict[str, Any]]:
    for event in events:
        yield event
        outcomes -= event["type"] in ("measured", "failed")
        if not outcomes:
            return


def test_a_worker_that_is_killed_ends_the_command() -> None:
    worker, log = Process(), io.BytesIO()
    ours, theirs = os.pipe()
    answers, written = os.pipe()
    codes: list[int] = []
    with os.fdopen(ours, "rb", buffering=0) as said, os.fdopen(written, "wb") as out:
        thread = threading.Thread(target=lambda: codes.append(relay(worker, said, out, log)))
        thread.start()
        with os.fdopen(answers, "rb") as heard:
            assert json.loads(heard.readline())["reply"]["type"] == "hello"
            worker._process.kill()
            thread.join(60)
        os.close(theirs)
    assert codes == [137]
    assert log.getvalue() == b"error: the worker was killed by signal 9\n"


def test_a_worker_ends_with_what_the_daemon_says() -> None:
    code, said, log = relayed(Process())
    assert (code, log) == (0, "")
    assert json.loads(said)["reply"]["type"] == "hello"


def test_what_a_worker_complains_of_is_told() -> None:
    code, said, log = relayed(Process(["--no-such-flag"]))
    assert (code, said) == (2, b"")
    assert "--no-such-flag" in log


def test_half_lines_and_endless_ones_are_not_passed_on() -> None:
    assert relayed(Said(iter([b"one\ntw", b"o\n"]), 3)) == (3, b"one\ntwo\n", "")
    assert relayed(Said(iter([b"one\ntw"]))) == (1, b"one\n", "error: the worker ended within a line\n")
    endless = Said(iter([b"one\n", *[b"x" * (1 << 20)] * 5]))
    assert relayed(endless) == (1, b"one\n", "error: the worker's line was longer than 4194304 bytes\n")


def test_what_is_lost_on_the_way_ends_the_command() -> None:
    class Lost(Said):
        def hear(self) -> bytes:
            raise LostError("its node died")

    assert relayed(Lost(iter([]))) == (1, b"", "error: its node died\n")
    ours, theirs = os.pipe()
    os.close(ours)
    log = io.BytesIO()
    with os.fdopen(theirs, "wb", buffering=0) as closed:
        assert relay(Said(iter([b"one\n"])), io.BytesIO(), closed, log) == 1
    assert b"the daemon has gone" in log.getvalue()


def test_a_pipe_that_is_read_slowly_holds_the_worker_up() -> None:
    """What is under way is bounded: the pipe's own 64 KiB, and a block."""
    line = b"x" * ((1 << 16) - 1) + b"\n"
    worker = Said(iter([line] * 64))
    ours, theirs = os.pipe()

    def run() -> None:
        with os.fdopen(theirs, "wb", buffering=0) as answers:
            assert relay(worker, io.BytesIO(), answers, io.BytesIO()) == 0

    thread = threading.Thread(target=run)
    thread.start()
    read = 0
    with os.fdopen(ours, "rb", buffering=0) as answers:
        while block := answers.read(1 << 12):
            read += len(block)
            assert worker.heard * len(line) - read <= 3 * len(line)
    thread.join(60)
    assert read == 64 * len(line)


@pytest.mark.parametrize(
    "start", ["import relstab.ray", "import runpy; runpy.run_module('relstab.ray', alter_sys=True)"]
)
def test_without_ray_it_is_said_what_to_install(start: str) -> None:
    without = f"import sys; sys.modules['ray'] = None; {start}"
    done = run(sys.executable, "-c", without)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: expected Ray, found none in this Python: pip install 'relstab[ray]'"
    )
