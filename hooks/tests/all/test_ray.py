"""Workers of a daemon, and measuring without one, on the nodes of a real Ray cluster; nodes and daemons are killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import ray
import relstab
import relstab.ray
from buckets import BUCKET, Bucket, Proxy
from daemons import history
from ray.cluster_utils import Cluster
from relstab.files import metadata_props, write_atomically
from serving import BUNDLED, CHECKPOINTS, bundled_run, eventually

SETTINGS: dict[str, Any] = {"images": 60, "draws": 2, "backend": "tract"}
SEED = int(os.environ.get("RELSTAB_RAY_SEED", "0"))


def node(cpus: int) -> dict[str, Any]:
    """Settings of a node: with ports that are known it need not wait for its agents, which start slowly."""
    agents = ["metrics_agent_port", "runtime_env_agent_port", "dashboard_agent_listen_port", "metrics_export_port"]
    return {"num_cpus": cpus, "object_store_memory": 100_000_000, "include_dashboard": False} | {
        name: free_port() for name in agents
    }


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Nodes:
    """A head that computes nothing, and nodes of one CPU each."""

    def __init__(self, count: int) -> None:
        self.cluster = Cluster(initialize_head=True, head_node_args=node(0))
        self.nodes = [self.cluster.add_node(wait=False, **node(1)) for _ in range(count)]
        self.cluster.wait_for_nodes()
        self.address = self.cluster.address

    def kill(self) -> None:
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)

    def stop(self) -> None:
        ray.shutdown()
        self.cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    bucket = Bucket()
    proxy = Proxy(bucket)
    # Nodes and their workers know the store as the daemon does.
    for name, value in proxy.environment().items():
        monkeypatch.setenv(name, value)
    yield bucket
    proxy.stop()
    bucket.stop()


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch, bucket: Bucket) -> Iterator[Nodes]:
    # Ray's workers are nice to all else that this machine does; the tests would wait for it.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    nodes = Nodes(3)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    yield nodes
    nodes.stop()


def checkpoints(count: int) -> dict[str, bytes]:
    """So many contents, by name: the bundled networks, each said to be of several steps."""
    networks = [path.read_bytes() for path in CHECKPOINTS]
    names = {step: f"step={step:06}.onnx" for step in range(1, count + 1)}
    return {name: networks[step % len(networks)] + metadata_props({"step": step}) for step, name in names.items()}


class Daemon:
    """`relstab watch` with workers on the cluster; it can be killed and started again."""

    def __init__(self, run: str, log: Path, workers: int = 3, worker: str = "", idle: str = "2s") -> None:
        self.run, self.log = run, log
        self.flags = [f"--workers={workers}", f"--worker-idle={idle}"]
        self.flags += [f"--worker-command={sys.executable} -m relstab.ray {worker}"]
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "relstab", "watch", self.run, *self.flags]
        command += ["--list-every=500ms"] if "://" in self.run else []
        command += [f"--{name}={value}" for name, value in SETTINGS.items()]
        with self.log.open("a") as log:
            environment = os.environ | {"RELSTAB_LOG": "info"}
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log)

    def end(self, signal: signal.Signals) -> None:
        self.process.send_signal(signal)
        self.process.wait(60)

    def done(self) -> int:
        try:
            return sum(entry["state"] != "pending" for entry in history(self.run))
        except subprocess.CalledProcessError:
            # No journal knows the run yet.
            return 0


def numbers(measurement: dict[str, Any]) -> list[float]:
    return [measurement[name]["value"] for name in ("r_f", "d_f", "g_f")]


@pytest.mark.parametrize("place", ["bucket", "directory"])
def test_two_of_three_nodes_and_the_daemon_die_and_each_content_has_one_outcome(
    nodes: Nodes, bucket: Bucket, tmp_path: Path, place: str
) -> None:
    contents, here = checkpoints(60 if place == "bucket" else 20), bundled_run(tmp_path / "here")
    for name, content in contents.items():
        write_atomically(here / name, content)
    run = f"s3://{BUCKET}/run" if place == "bucket" else str(shutil.copytree(here, tmp_path / "run"))
    for file in here.iterdir() if place == "bucket" else ():
        bucket.put(f"run/{file.name}", file.read_bytes())
    daemon = Daemon(run, tmp_path / "log")
    try:
        survived(nodes, daemon, contents)
    finally:
        daemon.end(signal.SIGKILL)
    with relstab.start(here, **SETTINGS, workers=2):
        subprocess.run(
            [sys.executable, "-m", "relstab", "wait", str(here), "--timeout=10m"], check=True, capture_output=True
        )
    elsewhere = {entry["step"]: numbers(entry["measurement"]) for entry in history(run)}
    local = {entry["step"]: numbers(entry["measurement"]) for entry in history(here)}
    assert elsewhere.keys() == local.keys() == set(range(1, len(contents) + 1))
    for step, values in local.items():
        assert elsewhere[step] == pytest.approx(values, rel=1e-6), step
    # What was started for a daemon or on a node that died is gone.
    eventually(lambda: not workers_of(nodes))


def survived(nodes: Nodes, daemon: Daemon, contents: dict[str, bytes]) -> None:
    """All contents were measured once each, while nodes and the daemon were killed."""
    run, chance = daemon.run, random.Random(SEED)
    # A node and the daemon at two moments each, no two of which are the same.
    moments = sorted(chance.sample(range(2, len(contents) - 8), 4))
    for count, what in zip(moments, chance.sample(["node", "node", "daemon", "daemon"], 4), strict=True):
        waited(daemon, count)
        time.sleep(chance.random() / 2)
        if what == "node":
            nodes.kill()
        else:
            daemon.end(signal.SIGKILL)
            daemon.start()
    waited(daemon, len(contents))
    # An event of our own comes after all others.
    client, outcomes = relstab.Client.of(run), Counter[str]()
    client.annotate(run, step=1, val_error=0.5)
    for event in client.events([run], since=0):
        if event["type"] == "annotated":
            break
        if event["type"] != "checkpoint_seen":
            assert event["type"] == "measured", event
            outcomes[Path(event["measurement"]["model"]["path"]).name] += 1
    assert outcomes == dict.fromkeys(contents, 1)
    daemon.end(signal.SIGTERM)


def waited(daemon: Daemon, count: int) -> None:
    end = time.monotonic() + 300
    while daemon.done() < count:
        assert time.monotonic() < end, daemon.log.read_text()[-4000:]
        time.sleep(0.2)


def workers_of(nodes: Nodes, command: str = "worker") -> list[str]:
    """The GPUs that each process of this command sees whose cluster is this one; nothing for none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_text(errors="replace").split("\0")
            environment = (process / "environ").read_text(errors="replace")
        except OSError:
            continue
        if line[1:2] == [command] and nodes.address in environment:
            variables = dict(variable.partition("=")[::2] for variable in environment.split("\0"))
            found.append(variables.get("CUDA_VISIBLE_DEVICES", ""))
    return found


def test_without_a_daemon_order_is_kept_and_a_bad_network_costs_itself(nodes: Nodes, tmp_path: Path) -> None:
    probe = numpy.load(BUNDLED / "probe.npz")
    bad, told = tmp_path / "bad.onnx", list[tuple[int, int]]()
    bad.write_bytes(b"not a network")
    models = [CHECKPOINTS[-1], bad, CHECKPOINTS[3].read_bytes(), object(), CHECKPOINTS[5]]
    results = relstab.ray.measure(
        models, probe=(probe["images"], probe["labels"]), progress=lambda *of: told.append(of), **SETTINGS
    )
    assert told == [(done, 5) for done in range(1, 6)]
    good = [relstab.measure(model, probe["images"], probe["labels"], **SETTINGS) for model in models[::2]]
    for result, local in zip(results[::2], good, strict=True):
        assert isinstance(result, relstab.Measurement)
        assert (result.r_f, result.probe_error) == (local.r_f, local.probe_error)
    refused, none = results[1::2]
    assert isinstance(refused, relstab.RelstabError)
    assert refused.code == 4
    assert isinstance(none, relstab.RelstabError)
    assert "expected an ONNX file" in str(none)


def test_networks_on_nodes_that_die_are_measured_elsewhere(nodes: Nodes) -> None:
    def kill(done: int, total: int) -> None:
        if done in (2, 4):
            nodes.kill()

    models = [*CHECKPOINTS[1:7]] * 2
    results = relstab.ray.measure(models, probe=BUNDLED / "probe.npz", progress=kill, **SETTINGS)
    values = [result.r_f.value for result in results if isinstance(result, relstab.Measurement) and result.r_f]
    assert len(values) == 12
    assert values[:6] == values[6:]


def test_shards_of_a_probe_set_merge_to_the_whole(nodes: Nodes, tmp_path: Path) -> None:
    model, probe = CHECKPOINTS[-1], BUNDLED / "probe.npz"
    merged, missing = relstab.ray.measure([model, tmp_path / "none.onnx"], probe=probe, shards=3, **SETTINGS)
    assert isinstance(merged, relstab.Measurement)
    whole = relstab.measure(model, probe, **SETTINGS)
    assert numbers(merged.raw) == pytest.approx(numbers(whole.raw), rel=1e-6)
    assert merged.probe_error == whole.probe_error
    assert isinstance(missing, relstab.RelstabError)


def test_a_gpu_is_shared_by_as_many_as_are_asked_for(nodes: Nodes, tmp_path: Path) -> None:
    # Ray believes what a node says of its GPUs, and counts.
    nodes.cluster.add_node(num_gpus=1, **node(4))
    models, most = CHECKPOINTS[1:7] * 2, list[list[str]]()
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.02):
            most.append(workers_of(nodes, "measure"))

    looking = threading.Thread(target=look)
    looking.start()
    settings = {**SETTINGS, "draws": 8, "threads": 1}
    results = relstab.ray.measure(models, probe=BUNDLED / "probe.npz", workers_per_gpu=2, **settings)
    is_over.set()
    looking.join()
    assert all(isinstance(result, relstab.Measurement) for result in results)
    assert max(most, key=len) == ["0", "0"]

    run = bundled_run(tmp_path / "run")
    for name, content in checkpoints(4).items():
        write_atomically(run / name, content)
    daemon = Daemon(str(run), tmp_path / "log", workers=2, worker="--workers-per-gpu 2", idle="1m")
    try:
        waited(daemon, 4)
        assert workers_of(nodes) == ["0", "0"]
    finally:
        daemon.end(signal.SIGTERM)


def test_a_sweep_by_points_is_the_sweep(nodes: Nodes, tmp_path: Path) -> None:
    model, probe = CHECKPOINTS[-1], BUNDLED / "probe.npz"
    for sizes in ({"deltas": (0.5, 2.0)}, {"temperatures": 2}):
        whole = relstab.ray.sweep(model, probe, cutoffs=(3, 5), **sizes, **SETTINGS)
        flags = [f"--{name}={value}" for name, value in {**SETTINGS, "cutoffs": "3,5"}.items()]
        flags += [f"--{name}={str(value).strip('()').replace(' ', '')}" for name, value in sizes.items()]
        command = [sys.executable, "-m", "relstab", "sweep", str(model), f"--probe={probe}", "--format=json", *flags]
        printed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        assert untimed(whole) == untimed(printed)
    with pytest.raises(relstab.RelstabError):
        relstab.ray.sweep(tmp_path / "none.onnx", probe, **SETTINGS)


def untimed(record: Any) -> Any:
    """Without what differs between two runs of a command."""
    if isinstance(record, list):
        return [untimed(value) for value in record]
    if isinstance(record, dict):
        return {name: untimed(value) for name, value in record.items() if name not in ("timing", "time", "seconds")}
    return record
