"""What was measured, by name, in the loggers that people have."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import relstab
import relstab.torch
import torch
import torch._dynamo  # before TensorFlow, which TensorBoard imports: in the other order Triton ends the process
import wandb
from daemons import DAEMON
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from training import Digits, network

Measure = Callable[[object], None]
#: By name and step: numbers of two networks, and what was found of one before them.
LOGGED = {
    "relstab/r_f": [10, 20],
    "relstab/d_f": [10, 20],
    "relstab/val_error": [5, 10, 20],
    "relstab/finding/one_class": [5, 10, 20],
}


def constant() -> nn.Module:
    """Answers with one class whatever it is shown: that is found."""
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


@pytest.fixture
def measure(digits: Digits, tmp_path: Path) -> Measure:
    """Hands checkpoints to a daemon, with a logger."""

    def run(logger: object) -> None:
        folder = tmp_path / "run"
        # Untrained networks with other seeds may give one class, too.
        torch.manual_seed(3)
        models = {10: network(), 20: network()}
        monitor = relstab.torch.Monitor(folder, probe=digits.probe, logger=logger)
        with relstab.start(folder, **DAEMON), monitor:
            for step, model in {5: constant(), **models}.items():
                monitor.checkpoint(model, step=step, val_error=0.5)
                assert monitor.wait(60)

    return run


def test_a_function_takes_numbers_by_name(measure: Measure) -> None:
    lines: list[tuple[dict[str, float], int]] = []
    measure(lambda *line: lines.append(line))
    assert {name: [step for values, step in lines if name in values] for name in LOGGED} == LOGGED
    # What is found no more is 0.
    assert [values["relstab/finding/one_class"] for values, _ in lines] == [1, 0, 0]
    values = lines[-1][0]
    assert values["relstab/r_f_low"] <= values["relstab/r_f"] <= values["relstab/r_f_high"]
    assert all(isinstance(value, float) for value in values.values())


def test_tensorboard_takes_scalars(measure: Measure, tmp_path: Path) -> None:
    with SummaryWriter(tmp_path / "board") as writer:
        measure(writer)
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert {name: [event.step for event in events.Scalars(name)] for name in LOGGED} == LOGGED


def test_mlflow_takes_metrics(measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    with mlflow.start_run() as active:
        measure(mlflow)
    client, run = mlflow.MlflowClient(), active.info.run_id
    assert {name: [metric.step for metric in client.get_metric_history(run, name)] for name in LOGGED} == LOGGED


def test_wandb_takes_late_results(
    measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with wandb.init(mode="offline", dir=tmp_path, project="relstab") as run:
        # The loop's own step is far ahead of the results.
        run.log({"loss": 1.0}, step=1000)
        measure(run)
        assert run.summary["relstab/r_f"] > 0
        assert run.summary["relstab/finding/one_class"] == 0
        assert run.summary["relstab/step"] == 20
    assert "refused" not in caplog.text
