"""The monitor in JAX loops: Flax modules old and new, two processes; test_alone.py runs this."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import equinox
import jax
import numpy
import optax
import pytest
import relstab
import relstab.jax
from daemons import DAEMON, SETTINGS, Unlucky, assert_measured, history
from flax import linen, nnx
from jax.experimental import multihost_utils
from relstab.jax import Exporter, Monitor
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_client import free_port
from test_exporters import channels_last
from test_measure import Array, r_f
from training import TRAINED, Arrays, Digits


@jax.jit
def activation(values: jax.Array) -> jax.Array:
    """Jitted: what an exporter's trace left in its cache, the training would call."""
    return jax.numpy.where(values > 0, values, jax.numpy.expm1(values))


class Network(nnx.Module):
    """Convolutions, batch normalisation, max pooling with and without overlap, exact gelu, dropout."""

    def __init__(self, rngs: nnx.Rngs, width: int = 8) -> None:
        self.first = nnx.Conv(1, width, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.second = nnx.Conv(width, 16, (3, 3), rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images: Any) -> Any:
        values = nnx.max_pool(activation(self.norm(self.first(images))), (3, 3), strides=(2, 2), padding="SAME")
        values = nnx.max_pool(nnx.gelu(self.second(values), approximate=False), (2, 2), strides=(2, 2))
        return self.head(self.dropout(values.reshape(values.shape[0], -1)))


AfterEpoch = Callable[[Network, int, int, float], bool]


def train(data: Arrays, epochs: int, after_epoch: AfterEpoch) -> list[str]:
    """Every loss in hexadecimal; `after_epoch(network, step, epoch, val_error)` says whether to stop."""
    network: Any = Network(nnx.Rngs(0))
    optimiser = nnx.Optimizer(network, optax.adam(2e-3), wrt=nnx.Param)
    numpy.random.seed(0)

    @nnx.jit
    def step(network: Network, optimiser: nnx.Optimizer[Network], images: Array, labels: Array) -> Any:
        def loss_of(network: Network) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(network(images), labels).mean()

        loss, gradients = nnx.value_and_grad(loss_of)(network)
        optimiser.update(network, gradients)
        return loss

    losses, steps = [], 0
    for epoch in range(1, epochs + 1):
        network.train()
        # Batches of another size at last: traced again, after the first export.
        size = 60 if epoch < 3 else 100
        for batch in numpy.random.permutation(TRAINED).reshape(-1, size):
            losses.append(float(step(network, optimiser, data.images[batch], data.labels[batch])).hex())
            steps += 1
        images, labels = data.probe
        error = float((passes(network)(images.transpose(0, 3, 1, 2)).argmax(1) != labels).mean())
        network.train()
        stops = after_epoch(network, steps, epoch, error)
        assert not network.dropout.deterministic, "the mode is restored"
        if stops:
            break
    return losses


def passes(network: nnx.Module) -> Callable[[Array], Array]:
    copied = nnx.clone(network)
    copied.eval()
    return lambda images: numpy.asarray(copied(channels_last(images)))


@pytest.fixture(scope="module")
def undisturbed(data: Arrays) -> list[str]:
    """The losses of a training without relstab; nothing of it is left in JAX's caches."""
    losses = train(data, 6, lambda *_: False)
    jax.clear_caches()
    return losses


def test_every_checkpoint_is_measured_and_a_rule_stops(digits: Digits, data: Arrays, tmp_path: Path) -> None:
    run, kept = tmp_path / "run", dict[int, Any]()
    # Its writer needs TensorFlow, which `./test.sh --all` installs and which must come after PyTorch.
    writer: Any = None
    if find_spec("tensorflow") is not None:
        writer = import_module("flax.metrics.tensorboard").SummaryWriter(tmp_path / "board")
    rule = {"monitor": "r_f", "patience": 1, "min_delta": 1000.0}
    monitor = Monitor(run, probe=data.probe, stop=rule, logger=writer)

    def after_epoch(network: Network, step: int, epoch: int, val_error: float) -> bool:
        monitor.checkpoint(network, step=step, epoch=epoch, val_error=val_error)
        kept[step] = passes(network)
        assert monitor.wait(60)
        return monitor.should_stop()

    with relstab.start(run, **DAEMON), monitor:
        train(data, 6, after_epoch)
    if writer is not None:
        writer.close()
        events = EventAccumulator(str(tmp_path / "board"))
        events.Reload()
        assert [event.step for event in events.Tensors("relstab/r_f")] == list(kept)
    # Told with the second checkpoint or soon after.
    assert 2 <= len(kept) < 6
    assert_measured(run, kept, relstab.perturb(*digits.probe, **SETTINGS))
    assert [entry["measurement"]["metadata"]["epoch"] for entry in history(run)] == [*range(1, len(kept) + 1)]


def test_killing_the_daemon_changes_no_loss(
    data: Arrays, tmp_path: Path, undisturbed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "relstab")
    run = tmp_path / "run"
    monitor, unlucky = Monitor(run, probe=data.probe), Unlucky(run)

    def after_epoch(network: Network, step: int, epoch: int, val_error: float) -> bool:
        unlucky.checkpoint(epoch)
        monitor.checkpoint(network, step=step, epoch=epoch, val_error=val_error)
        return monitor.should_stop()

    assert train(data, 6, after_epoch) == undisturbed
    assert monitor.wait(60), "the last daemon measures what the others left"
    monitor.close()
    unlucky.stop()
    assert [entry["state"] for entry in history(run)] == ["measured"] * 6
    assert not [record.message for record in caplog.records if "export" in record.message]


class Linen(linen.Module):
    @linen.compact
    def __call__(self, images: jax.Array, is_training: bool = False) -> Any:
        values = linen.Conv(8, (3, 3), strides=2)(images)
        values = linen.avg_pool(linen.BatchNorm(use_running_average=not is_training)(values), (2, 2), strides=(2, 2))
        values = linen.SelfAttention(2)(values.reshape((len(values), -1, 8)))
        return linen.Dense(10)(values.reshape((len(values), -1)))


def test_weights_of_any_function_go_into_one_trace(
    data: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    traces = []
    export = relstab.jax._export

    def counted(function: Any, *rest: Any) -> Any:
        traces.append(function)
        return export(function, *rest)

    monkeypatch.setattr(relstab.jax, "_export", counted)
    linen_module = Linen()
    exporter = Exporter(data.images, linen_module.apply)
    images = data.images[TRAINED : TRAINED + 60]
    perturbed = relstab.perturb(images, **SETTINGS)
    for seed in range(2):
        weights = linen_module.init(jax.random.key(seed), images[:1])
        path = tmp_path / f"{seed}.onnx"
        path.write_bytes(exporter.snapshot(weights)())
        expected = r_f(lambda shown, of=weights: numpy.asarray(linen_module.apply(of, channels_last(shown))), perturbed)
        for backend in ("onnxruntime", "tract"):
            measured = relstab.measure(path, images, backend=backend, **SETTINGS).r_f
            assert measured is not None
            assert measured.value == pytest.approx(expected, rel=1e-3), backend
    assert len(traces) == 1
    # Weights and layers in one, an image at a time, channels first.
    layers: list[Any] = [
        equinox.nn.Conv2d(1, 8, 3, key=jax.random.key(0)),
        equinox.nn.MaxPool2d(2),
        equinox.nn.Lambda(jax.numpy.ravel),
    ]
    sequence = equinox.nn.Sequential([*layers, equinox.nn.Linear(200, 10, key=jax.random.key(1))])
    shown = numpy.ascontiguousarray(images.transpose(0, 3, 1, 2))
    written = Exporter(shown, lambda net, images: jax.vmap(net)(images)).snapshot(sequence)()
    expected = r_f(lambda images: numpy.asarray(jax.vmap(sequence)(images)), perturbed)
    for backend in ("onnxruntime", "tract"):
        measured = relstab.measure(written, shown, backend=backend, **SETTINGS).r_f
        assert measured is not None
        assert measured.value == pytest.approx(expected, rel=1e-3), backend
    # Other shapes: a new trace.
    modules = Exporter(data.images)
    for width in (8, 4):
        modules.snapshot(Network(nnx.Rngs(0), width))()
    assert len(traces) == 4

    # What cannot be exported is told once, and no file is left.
    caplog.set_level(logging.WARNING, "relstab")
    with Monitor(tmp_path / "run", probe=data.probe) as monitor:
        assert [monitor.checkpoint({"weights": images}, step=step) for step in range(3)] == [None] * 3
    assert sum("forward=" in record.message for record in caplog.records) == 1

    def forgetful(weights: Any, images: jax.Array) -> Any:
        """Another function of as many images as an export is tried on."""
        scale = 2.0 if images.shape[0] == 4 else 1.0
        logits: Any = linen_module.apply(weights, images)
        return logits * scale + scale

    with Monitor(tmp_path / "run", probe=data.probe, forward=forgetful) as monitor:
        monitor.checkpoint(weights, step=1)
    assert sum("outputs differ from JAX's" in record.message for record in caplog.records) == 1
    assert not list((tmp_path / "run").glob("*.onnx"))


def test_what_cannot_be_exported_is_tried_once(
    data: Arrays, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def refused(*_: object) -> Any:
        tries.append(1)
        raise NotImplementedError("no such operator")

    monkeypatch.setattr(relstab.jax, "_export", refused)
    forward = lambda weights, images: images.reshape(images.shape[0], -1) @ weights
    with Monitor(tmp_path / "run", probe=data.probe, forward=forward) as monitor:
        for step in range(3):
            assert monitor.checkpoint(numpy.ones((64, 10), numpy.float32), step=step) is None
        assert len(tries) == 1
        # Another network may do better.
        monitor.checkpoint(numpy.ones((64, 9), numpy.float32), step=3)
        assert len(tries) == 2
    assert caplog.text.count("no such operator") == 1


def test_two_processes_stop_at_one_step(tmp_path: Path) -> None:
    environment = {**os.environ, "RUN": str(tmp_path / "run"), "COORDINATOR": f"127.0.0.1:{free_port()}"}
    command = [sys.executable, str(Path(__file__))]
    ranks = [
        subprocess.Popen([*command, str(rank)], env=environment, stderr=subprocess.PIPE, text=True) for rank in range(2)
    ]
    printed = [rank.communicate(timeout=240)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], printed
    first, second = (int((tmp_path / "run" / f"stopped.{rank}").read_text()) for rank in range(2))
    assert first == second
    # One export a checkpoint.
    assert len(list((tmp_path / "run").glob("step=*.onnx"))) == first


def one_of_two(rank: int) -> None:
    """A process of a training of two."""
    jax.distributed.initialize(os.environ["COORDINATOR"], num_processes=2, process_id=rank)
    run, data, network = Path(os.environ["RUN"]), Arrays(Digits()), Network(nnx.Rngs(0))
    # Collectives of CPUs wait for 30 s, and the first export may take as long on a busy machine.
    exporter = Exporter(data.images)
    exporter.snapshot(network)()
    multihost_utils.sync_global_devices("traced")
    monitor = Monitor(run, exporter=exporter, probe=data.probe, stop={"monitor": "val_error", "patience": 2})
    if rank == 0:
        relstab.start(run, **DAEMON)
    step = 0
    for step in range(1, 21):
        # An error that never improves.
        monitor.checkpoint(network, step=step, val_error=0.5)
        assert monitor.wait(60)
        if monitor.should_stop():
            break
    (run / f"stopped.{rank}").write_text(str(step))
    monitor.close()


if __name__ == "__main__":
    one_of_two(int(sys.argv[1]))
