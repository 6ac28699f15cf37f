"""The words of a daemon and a worker, passed on: on this machine, without Ray."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import relstab
from daemons import DAEMON, history
from relstab.relay import LostError, Process, relay
from serving import CHECKPOINTS, bundled_run

RELAY = """
import os, sys
from relstab.relay import Process, relay
code, complaint = relay(Process(), os.fdopen(0, "rb", buffering=0), os.fdopen(1, "wb"))
print(complaint, file=sys.stderr)
os._exit(code)
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

    def end(self) -> int:
        return self._code


def relayed(*blocks: bytes, code: int = 0) -> tuple[tuple[int, str | None], bytes]:
    answers = io.BytesIO()
    return relay(Said(iter(blocks), code), io.BytesIO(), answers), answers.getvalue()


def test_a_daemon_measures_through_it_what_it_measures_itself(tmp_path: Path) -> None:
    script = tmp_path / "relay.py"
    script.write_text(RELAY)
    values: list[Any] = []
    for options in ({}, {"worker_command": f"{sys.executable} {script}"}):
        run = bundled_run(tmp_path / f"run{len(values)}")
        for network in CHECKPOINTS[:3]:
            (run / network.name).write_bytes(network.read_bytes())
        with relstab.start(run, **DAEMON, **options) as daemon:
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
    worker = Process()
    ours, theirs = os.pipe()
    answers, written = os.pipe()
    ends: list[tuple[int, str | None]] = []
    with os.fdopen(ours, "rb", buffering=0) as said, os.fdopen(written, "wb") as out:
        thread = threading.Thread(target=lambda: ends.append(relay(worker, said, out)))
        thread.start()
        with os.fdopen(answers, "rb") as heard:
            assert json.loads(heard.readline())["reply"]["type"] == "hello"
            worker._process.kill()
            thread.join(60)
        os.close(theirs)
    assert ends == [(137, "the worker was killed by signal 9")]


def test_a_worker_ends_with_what_the_daemon_says() -> None:
    answers = io.BytesIO()
    assert relay(Process(), io.BytesIO(), answers) == (0, None)
    assert json.loads(answers.getvalue())["reply"]["type"] == "hello"


def test_half_lines_and_endless_ones_are_not_passed_on() -> None:
    assert relayed(b"one\ntw", b"o\n", code=3) == ((3, None), b"one\ntwo\n")
    assert relayed(b"one\ntw") == ((1, "the worker ended within a line"), b"one\n")
    endless = [b"x" * (1 << 20)] * 5
    (code, complaint), said = relayed(b"one\n", *endless)
    assert (code, said) == (1, b"one\n")
    assert "longer than 4194304 bytes" in (complaint or "")


def test_what_is_lost_on_the_way_ends_the_command() -> None:
    class Lost(Said):
        def hear(self) -> bytes:
            raise LostError("its node died")

    assert relay(Lost(iter([])), io.BytesIO(), io.BytesIO()) == (1, "its node died")
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "wb", buffering=0) as closed:
        code, complaint = relay(Said(iter([b"one\n"])), io.BytesIO(), closed)
    assert code == 1
    assert "the daemon has gone" in (complaint or "")


def test_a_pipe_that_is_read_slowly_holds_the_worker_up() -> None:
    """What is under way is bounded: the pipe's own 64 KiB, and a block."""
    line = b"x" * ((1 << 16) - 1) + b"\n"
    worker = Said(iter([line] * 64))
    ours, theirs = os.pipe()

    def run() -> None:
        with os.fdopen(theirs, "wb", buffering=0) as answers:
            assert relay(worker, io.BytesIO(), answers) == (0, None)

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
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: expected Ray, found none in this Python: pip install 'relstab[ray]'"
    )
