"""The monitor in a PyTorch loop: everything measured, weights replaced, and a training that nothing hurts."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy
import onnx
import pytest
import relstab
import relstab.torch
import torch
from commands import run
from daemons import history
from relstab.exporter import difference
from relstab.torch import Exporter, Monitor
from test_measure import r_f, torch_forward
from torch import nn
from training import Digits, known_error, network, train

DAEMON: dict[str, Any] = {"images": 120, "draws": 2, "backend": "tract", "nice": 5}


@pytest.fixture(scope="module")
def undisturbed(digits: Digits) -> list[str]:
    """The losses of a training without relstab."""
    return train(digits, 6, lambda *_: False)


def exports_of(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """Networks that are traced from now on."""
    exports: list[nn.Module] = []
    export = relstab.torch._export

    def counted(module: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
        exports.append(module)
        return export(module, example)

    monkeypatch.setattr(relstab.torch, "_export", counted)
    return exports


def test_every_checkpoint_comes_back_and_a_rule_stops(digits: Digits, tmp_path: Path) -> None:
    run, models = tmp_path / "run", {}
    logged: list[tuple[dict[str, float], int]] = []
    rule = {"monitor": "val_error", "patience": 2, "min_delta": 0.02}
    monitor = Monitor(run, probe=digits.probe, stop=rule, logger=lambda *line: logged.append(line))
    with relstab.start(run, **DAEMON) as daemon:
        assert daemon.is_running

        def after_epoch(model: nn.Module, step: int, epoch: int, val_error: float) -> bool:
            path = monitor.checkpoint(model, step=step, epoch=epoch, val_error=val_error, train_size=1200)
            assert path is not None
            models[str(path)] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            assert monitor.wait(60)
            return monitor.should_stop()

        train(digits, 40, after_epoch)
        assert monitor.should_stop()
        assert 3 <= len(models) < 40
        assert monitor.best is not None
        assert "did not improve" in (monitor.stop_reason or "")
        entries = history(run)
        assert [entry["state"] for entry in entries] == ["measured"] * len(models)
        assert len(logged) == len(models)
        monitor.close()

    # The numbers in the journal are those of PyTorch's own passes.
    perturbed = relstab.perturb(*digits.probe, images=120, draws=2)
    for entry in entries:
        model = network()
        model.load_state_dict(models[entry["path"]])
        measured = entry["measurement"]["r_f"]["value"]
        assert r_f(torch_forward(model), perturbed) == pytest.approx(measured, rel=1e-3)
        metadata = entry["measurement"]["metadata"]
        assert metadata["val_error"] == pytest.approx(known_error(model, digits))
        assert (metadata["train_size"], metadata["epoch"]) == (1200, metadata["step"] / 20)


def test_nothing_that_happens_to_the_daemon_reaches_the_training(
    digits: Digits, tmp_path: Path, undisturbed: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "relstab")
    absent = Monitor(tmp_path / "absent", probe=digits.probe)
    assert train(digits, 6, lambda model, step, *_: not absent.checkpoint(model, step=step)) == undisturbed
    absent.close()
    assert len(list((tmp_path / "absent").glob("step=*.onnx"))) == 6

    run = tmp_path / "killed"
    monitor = Monitor(run, probe=digits.probe)
    daemons = [relstab.start(run, **DAEMON)]

    def after_epoch(model: nn.Module, step: int, epoch: int, val_error: float) -> bool:
        monitor.checkpoint(model, step=step, epoch=epoch, val_error=val_error)
        if epoch in (2, 4):
            process = daemons[-1].process
            assert process is not None
            process.send_signal(signal.SIGKILL)
            process.wait()
        if epoch == 4:
            daemons.append(relstab.start(run, **DAEMON))
        return monitor.should_stop()

    def killed_twice(model: nn.Module, step: int, epoch: int, val_error: float) -> bool:
        if epoch == 3:
            daemons.append(relstab.start(run, **DAEMON))
        return after_epoch(model, step, epoch, val_error)

    assert train(digits, 6, killed_twice) == undisturbed
    assert monitor.wait(60), "the last daemon measures what the others left"
    monitor.close()
    for daemon in daemons:
        daemon.stop()
    # Of a daemon that is not there, if that lasts, and of a disk that is slower than this training.
    expected = ("no daemon listens for", "checkpoints come faster than they can be written")
    told = [record.getMessage() for record in caplog.records if record.name == "relstab"]
    # Besides what it finds doubtful of these networks.
    messages = [message for message in told if not message.startswith("doubt, ")]
    assert not [message for message in messages if not message.startswith(expected)]
    assert len(messages) <= 2 * len(expected), "each monitor says it once"


def test_a_full_disk_is_one_warning(tmp_path: Path, undisturbed: list[str]) -> None:
    """A tmpfs of 400 kB, in a namespace of its own: the probe images fit, the checkpoints soon do not."""
    full = tmp_path / "full"
    full.mkdir()
    script = 'mount -t tmpfs -o size=400k tmpfs "$1" && shift && exec "$@"'
    training = [sys.executable, Path(__file__).with_name("training.py"), full]
    done = run(
        "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", full, *training, timeout=240
    )
    if "not permitted" in done.stderr or "denied" in done.stderr:
        pytest.skip(f"namespaces are forbidden here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == undisturbed
    assert done.stderr.count("No space left on device") == 1, done.stderr


def test_weights_are_replaced_in_one_trace(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    exports = exports_of(monkeypatch)
    exporter, model = Exporter(digits.images), network()
    made = []

    def after_epoch(model: nn.Module, *_: object) -> bool:
        made.append((exporter.snapshot(model), {name: value.clone() for name, value in model.state_dict().items()}))
        return False

    train(digits, 3, after_epoch)
    assert len(exports) == 1
    for make, state in made:
        tensors = {tensor.name: tensor for tensor in onnx.load_from_string(make()).graph.initializer}
        for name, value in state.items():
            if name != "1.num_batches_tracked":
                assert numpy.array_equal(onnx.numpy_helper.to_array(tensors[name]), value.numpy()), name
    # Another layer, other shapes: a new trace.
    exporter.snapshot(model)()
    exporter.snapshot(network(width=8))()
    assert len(exports) == 2


def test_a_graph_that_folds_its_weights_is_exported_whole(
    digits: Digits, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def optimised(module: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
        shapes = ({0: torch.export.Dim("batch", min=1)},)
        program = torch.onnx.export(module, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False)
        assert program is not None
        return program.model_proto

    monkeypatch.setattr(relstab.torch, "_export", optimised)
    exporter, model = Exporter(digits.images), network()
    for _ in range(2):
        make = exporter.snapshot(model)
        network_bytes = make()
        assert relstab.measure(network_bytes, digits.images[:60], images=60, draws=1).r_f is not None
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
    assert "whole export" in caplog.text
    expected = relstab.measure(model, digits.images[:60], images=60, draws=1).r_f
    again = relstab.measure(exporter.snapshot(model)(), digits.images[:60], images=60, draws=1).r_f
    assert expected is not None
    assert again is not None
    assert again.value == pytest.approx(expected.value, rel=1e-3)


def test_an_export_that_fails_is_one_warning(
    digits: Digits,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: list[str],
) -> None:
    class Unexportable(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.sum(dim=(1, 2, 3)).unsqueeze(1) if images.sum().item() > 0 else images[:, 0, 0]

    exports = exports_of(monkeypatch)
    monitor = Monitor(tmp_path / "run", probe=digits.probe)
    model = Unexportable().train()
    assert [monitor.checkpoint(model, step=step) for step in range(3)] == [None] * 3
    assert len(exports) == 1, "a try takes long, and ends alike"
    assert model.training
    assert sum("no export" in record.message for record in caplog.records) == 1
    assert train(digits, 6, lambda *_: bool(monitor.checkpoint(model, step=9))) == undisturbed
    monitor.close()


def test_a_graph_that_is_not_the_network_is_traced_once(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    exports = []
    export = relstab.torch._export

    def another(module: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
        exports.append(module)
        return export(nn.Sequential(module, nn.Softsign()).eval(), example)

    monkeypatch.setattr(relstab.torch, "_export", another)
    exporter, model = Exporter(digits.images), network()
    with pytest.raises(ValueError, match="differ"):
        exporter.snapshot(model)()
    with pytest.raises(RuntimeError, match="differ"):
        exporter.snapshot(model)
    assert len(exports) == 1


def test_memory_that_was_short_may_be_there_again(digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    export = relstab.torch._export

    def short(module: nn.Module, example: torch.Tensor) -> onnx.ModelProto:
        try:
            raise torch.OutOfMemoryError("out of memory")
        except torch.OutOfMemoryError as error:
            raise RuntimeError("the exporter failed") from error

    exporter, model = Exporter(digits.images), network()
    monkeypatch.setattr(relstab.torch, "_export", short)
    with pytest.raises(RuntimeError, match="exporter failed"):
        exporter.snapshot(model)
    monkeypatch.setattr(relstab.torch, "_export", export)
    assert exporter.snapshot(model)()


class Adapted(nn.Linear):
    """As LoRA's: in evaluation the adapter is a part of the weight."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.down = nn.Parameter(torch.randn(2, inputs) / 3)
        self.up = nn.Parameter(torch.zeros(outputs, 2))
        self.is_merged = False

    def train(self, mode: bool = True) -> Adapted:
        super().train(mode)
        if self.is_merged == mode:
            self.weight.data += (-1 if mode else 1) * self.up.data @ self.down.data
            self.is_merged = not mode
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        adapter = 0 if self.is_merged else nn.functional.linear(images, self.up @ self.down)
        return super().forward(images) + adapter


def test_modules_that_do_more_than_change_their_mode_are_as_they_were(digits: Digits) -> None:
    torch.manual_seed(0)
    trained, frozen = Adapted(64, 10), Adapted(10, 10)
    model = nn.Sequential(nn.Flatten(), trained, nn.Sequential(nn.Dropout(), frozen)).train()
    exporter = Exporter(digits.images)
    for _ in range(2):
        # The adapter is nothing at first, and then something: it counts.
        frozen.eval()
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        exported = exporter.snapshot(model)()
        assert [part.training for part in model.modules()] == [True, True, True, True, True, False]
        assert [trained.is_merged, frozen.is_merged] == [False, True]
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
        model.eval()
        with torch.no_grad():
            logits = model(digits.images[:4]).numpy()
        assert difference(exported, digits.images[:4].numpy(), logits, layout="nchw") < 1e-3
        model.train()
        for part in (trained, frozen):
            part.up.data.normal_()


def test_only_every_so_many_checkpoints(tmp_path: Path, digits: Digits) -> None:
    run = tmp_path / "run"
    monitor = Monitor(run, probe=digits.probe, every=3)
    paths = [monitor.checkpoint(network(), step=step) for step in range(5)]
    assert [path is not None for path in paths] == [True, False, False, True, False]
    monitor.close()
    with pytest.raises(ValueError, match="every"):
        Monitor(run, every=0)
    with pytest.raises(TypeError, match="logger"):
        Monitor(run, logger=7)


def test_wrapped_networks_and_other_sources_of_onnx(digits: Digits, tmp_path: Path) -> None:
    compiled = torch.compile(network())
    monitor = Monitor(tmp_path / "wrapped", probe=digits.probe)
    path = monitor.checkpoint(compiled, step=1)
    assert path is not None
    monitor.close()
    assert relstab.measure(path, digits.images[:60], images=60, draws=1, backend="tract").step == 1

    # The probe images may be a file.
    from_file = Monitor(tmp_path / "file", probe=tmp_path / "wrapped" / "relstab-probe.npz")
    assert from_file.checkpoint(network(), step=1) is not None
    from_file.close()
    assert (tmp_path / "file" / "step=000001.onnx").exists()

    plain = relstab.Monitor(tmp_path / "plain", probe=digits.probe)
    second = plain.checkpoint(path.read_bytes(), step=7, epoch=1.5, val_error=0.25, mean=[0.5])
    assert plain.checkpoint(path, step=8) is not None
    assert second is not None
    plain.close()
    measured = relstab.measure(second, digits.images[:60], images=60, draws=1, backend="tract")
    # Of a key that is there twice the last one counts.
    assert (measured.step, measured.epoch, measured.val_error) == (7, 1.5, 0.25)


def two_processes(script: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RUN": str(folder), "OMP_NUM_THREADS": "1", **more}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    # Not the exit code: how Gloo's threads end, after both ranks are through, is not ours.
    return run(*command, Path(__file__).with_name(script), env=environment, timeout=240)


@pytest.mark.parametrize("how", ["fully_shard", "named", "flattened"])
def test_sharded_weights_are_gathered(how: str, digits: Digits, tmp_path: Path) -> None:
    done = two_processes("sharded.py", tmp_path / "run", SHARD=how)
    exported = sorted((tmp_path / "run").glob("*.onnx"))
    assert [path.stem for path in exported] == ["step=000001", "step=000003", "step=000005"], done.stderr
    images = digits.images[:60]
    for path in exported:
        model = network().eval()
        model.load_state_dict(torch.load(path.with_suffix(".pt")))
        with torch.no_grad():
            assert difference(path.read_bytes(), images.numpy(), model(images).numpy(), layout="nchw") < 1e-3


def test_two_processes_stop_at_one_step(tmp_path: Path) -> None:
    done = two_processes("distributed.py", tmp_path / "run")
    stopped = [tmp_path / "run" / f"stopped.{rank}" for rank in (0, 1)]
    assert all(path.exists() for path in stopped), done.stderr
    first, second = (int(path.read_text()) for path in stopped)
    assert first == second
    # One export a checkpoint.
    assert len(list((tmp_path / "run").glob("step=*.onnx"))) == first


def test_a_daemon_ends_with_its_program(tmp_path: Path, digits: Digits) -> None:
    Monitor(tmp_path / "run", probe=digits.probe).close()
    script = "import relstab, sys, os; d = relstab.start(sys.argv[1]); print(d.process.pid, flush=True); os.kill(os.getpid(), 9)"
    pid = int(run(sys.executable, "-c", script, tmp_path / "run").stdout)
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < end, "the daemon outlives the program"
        time.sleep(0.05)
