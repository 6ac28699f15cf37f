"""The client against a real daemon, over both kinds of sockets."""

from __future__ import annotations

import gzip
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import pytest
import relstab
import torch
from daemons import DAEMON, history
from relstab.config import prepare
from relstab.files import metadata_props, opened_atomically, write_atomically
from relstab.torch import Exporter
from relstab.torch import Monitor as MonitorOfTorch
from training import Digits, network


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
    address, secret, file = f"127.0.0.1:{free_port()}", "a secret of some length", run.parent / "token"
    file.write_text(secret + "\n")
    with relstab.start(run, tcp=address, tcp_token=str(file), **DAEMON):
        with pytest.raises(ValueError, match="--tcp-token"):
            relstab.Client(address, token="another secret, as long").hello()
        for client in (relstab.Client.of(run), relstab.Client(address, token=secret)):
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


def test_a_training_that_begins_again_is_not_stopped_by_what_was_said_of_the_one_before(
    run: Path, digits: Digits
) -> None:
    def trained(*errors: float) -> bool:
        with relstab.Monitor(run, exporter=Exporter(digits.images)) as monitor:
            for step, error in enumerate(errors, start=1):
                monitor.checkpoint(network(), step=step, val_error=error)
                stops = monitor.should_stop()
                assert monitor.wait(60)
            return stops or monitor.should_stop()

    with relstab.start(run, **DAEMON):
        # The checkpoint that is there is of a training before.
        next(relstab.Client.of(run).events([run], since=0))
        assert trained(0.5, 0.6)
        assert relstab.Client.of(run).decision(run)["stop"]
        assert not trained(0.5)
        assert relstab.Client.of(run).status()["runs"][0]["attempt"] == 3
        assert trained(0.5, 0.6)
        relstab.Client.of(run).resume(run)
        assert not relstab.Client.of(run).decision(run)["stop"]


def test_an_error_told_just_before_the_end_is_kept(run: Path) -> None:
    others = set(threading.enumerate())
    with relstab.start(run, **DAEMON):
        monitor = relstab.Monitor(run)
        for error in (0.5, 0.25, 0.125):
            monitor.annotate(step=1, val_error=error)
        monitor.close()
        assert set(threading.enumerate()) <= others
        next(event for event in relstab.Client.of(run).events([run], since=0) if event["type"] == "measured")
    (entry,) = history(run)
    assert entry["measurement"]["metadata"]["val_error"] == 0.125


def test_closing_does_not_wait_long_for_a_daemon_that_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = set(threading.enumerate())
    monitor = relstab.Monitor(tmp_path / "run")
    monitor.annotate(step=1, val_error=0.5)
    begun = time.monotonic()
    monitor.close()
    assert time.monotonic() - begun < 15
    assert set(threading.enumerate()) <= others
    monitor.annotate(step=2, val_error=0.5)
    assert ["are lost" in caplog.text, "is lost" in caplog.text] == [True, True]


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


def test_a_journal_that_went_back_is_said_and_heard_from_its_first_event(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = relstab.Client.of(run)
    closed = threading.Event()
    heard: list[tuple[int, str]] = []
    # Should nothing come, then not for ever.
    timer = threading.Timer(60, closed.set)
    timer.start()
    with relstab.start(run, **DAEMON):
        events = client.events([run], since=0, closed=closed)
        heard.extend((event["seq"], event["type"]) for event in islice(events, 2))
        client.annotate(run, step=1, val_error=0.5)
        heard.append((next(events)["seq"], "annotated"))
    for journal in Path(os.environ["XDG_STATE_HOME"], "relstab").glob("*/journal.sqlite*"):
        journal.unlink()
    with relstab.start(run, **DAEMON):
        next(event for event in client.events(since=0) if event["type"] == "measured")
        # It was at the third of one, and comes back to another of two.
        heard.extend((event["seq"], event["type"]) for event in islice(events, 2))
        assert caplog.text.count("went back, from event 3 to 2") == 1
        command = ["node", str(Path(__file__).parents[2] / "docs" / "client.mjs"), client.address]
        node = subprocess.Popen(
            command, env=os.environ | {"SINCE": "3"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert node.stdout is not None
        assert node.stdout.readline().startswith("step 1: R_f ")
        node.kill()
        assert "went back, from event 3 to 2" in node.communicate()[1]
    timer.cancel()
    assert heard == [(1, "checkpoint_seen"), (2, "measured"), (3, "annotated"), (1, "checkpoint_seen"), (2, "measured")]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([{"type": "hello", "protocol": 2}], "protocol 2"),
        ([{"type": "hello", "protocol": 1}, {"type": "error", "reason": "no such run"}], "no such run"),
    ],
)
def test_a_refusal_is_no_lost_connection(lines: list[dict[str, Any]], complaint: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        connections = []

        def serve() -> None:
            # The first connection is lost, which is no refusal.
            listener.accept()[0].close()
            connection, _ = listener.accept()
            connection.sendall("".join(json.dumps(line) + "\n" for line in lines).encode())
            connections.append(connection)

        daemon = threading.Thread(target=serve)
        daemon.start()
        closed = threading.Event()
        # Should it try for ever, then not here.
        timer = threading.Timer(10, closed.set)
        timer.start()
        with pytest.raises(ValueError, match=complaint):
            next(relstab.Client(f"127.0.0.1:{listener.getsockname()[1]}").events(closed=closed))
        timer.cancel()
        daemon.join(10)
        connections[0].close()


@pytest.mark.parametrize("zipped", ["", ".gz"])
def test_labels_beside_a_probe_go_with_it(zipped: str, tmp_path: Path, digits: Digits) -> None:
    def idx(name: str, values: Any) -> Path:
        sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
        content = bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()
        path = tmp_path / (name + zipped)
        path.write_bytes(gzip.compress(content) if zipped else content)
        return path

    images = (digits.images[:60, 0].numpy() * 255).astype(numpy.uint8)
    labels = idx("t10k-labels.idx1-ubyte", digits.labels[:60].numpy().astype(numpy.uint8))
    probe, run = idx("t10k-images.idx3-ubyte", images), tmp_path / "run"
    model = Exporter(digits.images).snapshot(network())()

    def prepared(given: Path) -> tuple[Path, float | None]:
        prepare(run, probe=given)
        (line,) = (run / "relstab.toml").read_text().splitlines()[1:]
        copy = run / json.loads(line.removeprefix("probe = "))
        return copy, relstab.measure(model, copy, images=60, draws=1, backend="tract").probe_error

    expected = relstab.measure(model, probe, images=60, draws=1, backend="tract").probe_error
    assert expected is not None
    copy, error = prepared(probe)
    assert error == expected
    assert prepared(copy) == (copy, expected)
    assert len(list(run.iterdir())) == 3
    # Without labels those of before do not count.
    labels.unlink()
    assert prepared(probe)[1] is None


@pytest.mark.skipif(os.name != "posix", reason="permissions as of POSIX")
def test_files_have_ordinary_permissions_and_names_of_their_own(tmp_path: Path) -> None:
    path, ordinary = tmp_path / "file", tmp_path / "ordinary"
    ordinary.touch()
    with opened_atomically(path) as first, opened_atomically(path) as second:
        first.write(b"first")
        second.write(b"second")
        assert first.name != second.name
        assert all(Path(file.name).name.startswith(".") and file.name.endswith(".tmp") for file in (first, second))
    assert path.read_bytes() == b"first"
    assert path.stat().st_mode == ordinary.stat().st_mode
    with pytest.raises(KeyError), opened_atomically(path):
        raise KeyError
    assert not list(tmp_path.glob(".*"))


def test_flags_that_are_wrong_raise_and_a_directory_that_is_none_warns(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for options in ({"nicee": 10}, {"nice": "very"}, {"law": "cifr10"}, {"stop": "patince=5"}, {"probe": "/no/file"}):
        with pytest.raises(ValueError, match="nice|cifr10|patince|/no/file"):
            relstab.start(run, **options)
    assert not caplog.records
    relstab.Monitor(run / "step=1.onnx" / "run", mean=0.5).close()
    assert [record.message for record in caplog.records if "cannot be prepared" in record.message]


def test_ranks_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    """Each process writes under a name of its own, whatever it writes, and leaves nothing."""
    given = tmp_path / "given.npz"
    numpy.savez(given, images=numpy.zeros((400, 1, 32, 32), numpy.float32))
    write = (
        "import sys, numpy; from relstab.config import prepare\n"
        "for k in range(40): prepare(sys.argv[1], probe=sys.argv[2] if k % 2 else numpy.zeros((400, 1, 32, 32)), mean=[0.5])"
    )
    command = [sys.executable, "-c", write, str(tmp_path / "run"), str(given)]
    ranks = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [rank.communicate(timeout=60)[1] for rank in ranks] == ["", ""]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"relstab.toml", "relstab-probe.npz"}


def test_a_second_start_uses_the_daemon_that_runs(run: Path) -> None:
    with relstab.start(run, **DAEMON) as first, relstab.start(run, **DAEMON) as second:
        assert first.process is not None
        assert second.process is None
        assert second.is_running
    assert not second.is_running


def test_a_daemon_that_is_killed_is_one_warning_and_may_come_back(
    run: Path, digits: Digits, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relstab.listener.PATIENCE_S", 0.5)
    exporter, number = Exporter(digits.images), 1
    with relstab.Monitor(run, exporter=exporter) as monitor:

        def measures_another() -> bool:
            nonlocal number
            number += 1
            monitor.checkpoint(network(), step=number)
            return monitor.wait(60) and monitor.latest is not None and monitor.latest.step == number

        for outage in (1, 2):
            with relstab.start(run, **DAEMON) as daemon:
                assert measures_another()
                assert monitor.is_watched
                assert daemon.process is not None
                daemon.process.kill()
                begun = time.monotonic()
                assert not measures_another()
                assert time.monotonic() - begun < 20, "nobody waits for what is not there"
                assert not monitor.is_watched
                time.sleep(1)
            assert caplog.text.count("no daemon listens") == outage
        caplog.clear()
        with relstab.start(run, restart=True, **DAEMON) as daemon:
            assert measures_another()
            killed = daemon.process
            assert killed is not None
            killed.kill()
            assert measures_another()
            assert daemon.process is not killed
        assert not daemon.is_running
    # Besides what it finds doubtful of these networks.
    told = [record.message for record in caplog.records if record.name == "relstab"]
    assert [message for message in told if not message.startswith("doubt, ")] == [
        f"the daemon of {run} ended with code -9: it is started again"
    ]


FORKED = """
import os, signal, sys, time, relstab
signal.signal(signal.SIGINT, lambda *_: None)
daemon = relstab.start(sys.argv[1], images=60, draws=1, backend="tract")
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
print(child, flush=True)
os.killpg(0, signal.SIGINT)
time.sleep(1)
assert daemon.is_running
if sys.argv[2] == "crash":
    os._exit(3)
process, begun = daemon.process, time.monotonic()
daemon.stop()
print(process.returncode, time.monotonic() - begun < 5, flush=True)
"""


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_a_daemon_outlives_an_interrupt_and_ends_though_a_forked_process_lives(run: Path, end: str) -> None:
    """Ctrl-C reaches all that the terminal started; processes that load data are forks of the training."""
    command = [sys.executable, "-c", FORKED, str(run), end]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as training:
        assert training.stdout is not None
        child = int(training.stdout.readline())
        try:
            if end == "stop":
                assert training.stdout.readline() == "0 True\n"
            assert training.wait(60) == (0 if end == "stop" else 3)
            finish = time.monotonic() + 10
            while relstab.daemon._greeting(relstab.Client.of(run)) and time.monotonic() < finish:
                time.sleep(0.1)
            assert relstab.daemon._greeting(relstab.Client.of(run)) is None
        finally:
            os.kill(child, signal.SIGKILL)


def test_images_of_another_size_are_named(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    larger = torch.zeros(60, 1, 28, 28)
    with MonitorOfTorch(run, probe=larger) as monitor:
        assert monitor.checkpoint(network(), step=2) is None
    assert caplog.text.count("no export of step 2") == 1
    assert "[1, 28, 28]" in caplog.text
    # The daemon tells of networks that come as files.
    with relstab.start(run, **DAEMON), relstab.Monitor(run) as plain:
        plain.checkpoint(run / "step=1.onnx", step=3)
        assert plain.wait(60)
    (told,) = (record.message for record in caplog.records if "could not be measured" in record.message)
    assert "28" in told
    assert "8" in told


def test_a_daemon_that_cannot_start_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "relstab")
    daemon = relstab.start(tmp_path / "empty", backend="tract")
    assert not daemon.is_running
    assert "code 2" in caplog.text
    daemon.stop()
