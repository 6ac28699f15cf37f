"""The client against a real daemon, over both kinds of sockets."""

from __future__ import annotations

import logging
import socket
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import relstab
from relstab.export import metadata_props, write_atomically
from relstab.torch import Exporter
from training import Digits, network

DAEMON: dict[str, Any] = {"images": 60, "draws": 1, "backend": "tract"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def run(tmp_path: Path, digits: Digits) -> Path:
    """A run with a probe set, a rule and one checkpoint."""
    run = tmp_path / "run"
    relstab.Monitor(run, probe=digits.probe, stop={"monitor": "val_error", "patience": 1}).close()
    write_atomically(run / "step=1.onnx", Exporter(digits.images).snapshot(network())(), metadata_props({"step": 1}))
    return run


def test_events_are_replayed_and_requests_answered(run: Path) -> None:
    port = free_port()
    with relstab.start(run, tcp=f"127.0.0.1:{port}", **DAEMON):
        for client in (relstab.Client.of(run), relstab.Client(f"127.0.0.1:{port}")):
            assert client.hello()["runs"] == [str(run.resolve())]
            events = client.events([run], since=0)
            kinds = [next(events)["type"], next(events)["type"]]
            assert kinds == ["checkpoint_seen", "measured"]
        assert client.status()["runs"][0]["measured"] == 1
        assert client.decision(run)["stop"] is False
        assert client.annotate(run, step=1, val_error=0.25)["type"] == "annotated"
        assert next(events)["type"] == "annotated"
        with pytest.raises(ValueError, match="val_error"):
            client.annotate(run, step=1, val_error=7.0)
        with pytest.raises(ValueError, match="unknown|not in|no run"):
            client.decision("/no/such/run")
        monitor = relstab.Monitor(run)
        monitor.annotate(step=1, val_error=0.125)
        assert next(events)["val_error"] == 0.125
        monitor.close()


def test_a_lost_daemon_is_found_again(run: Path) -> None:
    client = relstab.Client.of(run)
    with pytest.raises(OSError, match="No such file|refused"):
        client.status()
    seqs: list[int] = []
    closed = threading.Event()

    def listen() -> None:
        seqs.extend(event["seq"] for event in client.events([run], since=0, closed=closed))

    listener = threading.Thread(target=listen)
    listener.start()
    for error in (0.5, 0.25, 0.125):
        with relstab.start(run, **DAEMON):
            client.annotate(run, step=1, val_error=error)
    with relstab.start(run, **DAEMON):
        *_, last = (event["seq"] for event in islice(relstab.Client.of(run).events(since=0), 5))
        while not seqs or seqs[-1] < last:
            assert listener.is_alive()
            closed.wait(0.05)
        closed.set()
        listener.join(10)
    assert seqs == sorted(set(seqs))
    assert len(seqs) >= 5


def test_a_second_start_uses_the_daemon_that_runs(run: Path) -> None:
    with relstab.start(run, **DAEMON) as first, relstab.start(run, **DAEMON) as second:
        assert first.process is not None
        assert second.process is None
        assert second.is_running
    assert not second.is_running


def test_a_daemon_that_cannot_start_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "relstab")
    daemon = relstab.start(tmp_path / "empty", backend="tract")
    assert not daemon.is_running
    assert "code 2" in caplog.text
    daemon.stop()
