"""The Transformers callback in real trainers: a vision transformer and a ConvNeXt, made from their configurations."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy
import pytest
import relstab
import torch
from daemons import SETTINGS, Unlucky, assert_measured, history
from relstab.transformers import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from training import TRAINED, Digits
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    EvalPrediction,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)


def vit() -> PreTrainedModel:
    config = ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        hidden_dropout_prob=0.1,
    )
    config.num_labels = 10
    return ViTForImageClassification(config)


def convnext() -> PreTrainedModel:
    config = ConvNextConfig(num_channels=1, patch_size=2, hidden_sizes=[16, 32], depths=[1, 1], num_stages=2)
    config.num_labels = 10
    return ConvNextForImageClassification(config)


class Recorded(Trainer):
    """Keeps every loss to the last bit."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.losses: list[str] = []

    def training_step(self, *arguments: Any, **settings: Any) -> Tensor:
        loss: Tensor = super().training_step(*arguments, **settings)
        self.losses.append(float(loss.item()).hex())
        return loss


def trainer(digits: Digits, folder: Path, make: Any = vit, **settings: Any) -> Recorded:
    torch.manual_seed(0)
    data = [{"pixel_values": image, "labels": label} for image, label in zip(digits.images, digits.labels, strict=True)]
    defaults: dict[str, Any] = {"num_train_epochs": 6, "eval_strategy": "epoch", "report_to": [], "learning_rate": 2e-3}
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        use_cpu=True,
        per_device_train_batch_size=60,
        per_device_eval_batch_size=600,
        save_strategy="no",
        disable_tqdm=True,
        **(defaults | settings),
    )
    return Recorded(
        make(), arguments, train_dataset=data[:TRAINED], eval_dataset=data[TRAINED:], compute_metrics=accuracy
    )


def accuracy(outputs: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((numpy.argmax(outputs.predictions, 1) == outputs.label_ids).mean())}


def error(metrics: Any) -> float:
    return 1 - float(metrics["eval_accuracy"])


def passes(model: nn.Module) -> Any:
    network = copy.deepcopy(model).eval()

    def forward(images: Any) -> Any:
        with torch.no_grad():
            return network(torch.from_numpy(images)).logits.numpy()

    return forward


class Kept(TrainerCallback):
    """The networks as they were, each measured before the training goes on: real ones take longer than this one."""

    def __init__(self, callback: Callback) -> None:
        self.callback, self.passes = callback, dict[int, Any]()

    def on_evaluate(self, args: Any, state: Any, control: Any, **settings: Any) -> None:
        self.passes[state.global_step] = passes(settings["model"])
        assert self.callback.monitor is not None
        assert self.callback.monitor.wait(60)


@pytest.mark.parametrize("make", [vit, convnext])
def test_every_checkpoint_is_measured_and_a_rule_stops(
    make: Any, digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    run = tmp_path / "run"
    # Nothing can improve by this much: stopped at the first checkpoint that is judged after the best.
    rule = {"monitor": "r_f", "patience": 1, "min_delta": 1000.0}
    training = trainer(digits, tmp_path, make, report_to=["tensorboard"])
    callback = Callback(training, run, probe=digits.probe, val_error=error, stop=rule)
    kept = Kept(callback)
    training.add_callback(callback)
    training.add_callback(kept)
    with relstab.start(run, **SETTINGS):
        training.train()
    # Told with the second checkpoint or soon after.
    assert 40 <= training.state.global_step < 120
    steps = list(kept.passes)
    assert steps[:2] == [20, 40]
    assert_measured(run, kept.passes, relstab.perturb(*digits.probe, **SETTINGS))
    evaluated = {line["step"]: line for line in training.state.log_history if "eval_accuracy" in line}
    for entry in history(run):
        metadata = entry["measurement"]["metadata"]
        assert metadata["val_error"] == pytest.approx(1 - evaluated[entry["step"]]["eval_accuracy"])
        assert metadata["epoch"] == entry["step"] / 20
    logged = [line["step"] for line in training.state.log_history if "relstab/r_f" in line]
    assert logged == steps
    events = EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/relstab/r_f")] == steps


def test_the_word_on_the_last_checkpoint_is_heard_before_the_end(digits: Digits, tmp_path: Path) -> None:
    run = tmp_path / "run"
    training = trainer(digits, tmp_path)
    errors = iter([0.1] * 5 + [0.9])
    rule = {"divergence_threshold": 0.5}
    callback = Callback(training, run, probe=digits.probe, val_error=lambda _: next(errors), stop=rule)
    heard = []

    class End(TrainerCallback):
        def on_train_end(self, *_: Any, **__: Any) -> None:
            assert callback.monitor is not None
            heard.append(callback.monitor.stop_reason)

    # Asked before the callback's own end of the training.
    training.add_callback(End)
    training.add_callback(callback)
    with relstab.start(run, **SETTINGS):
        training.train()
    assert heard == ["val_error is 0.9000, beyond the divergence threshold 0.5"]
    assert [line["step"] for line in training.state.log_history if "relstab/r_f" in line][-1] == 120


def test_killing_the_daemon_changes_no_loss(digits: Digits, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    undisturbed = trainer(digits, tmp_path)
    undisturbed.train()

    run = tmp_path / "run"
    training = trainer(digits, tmp_path)
    callback = Callback(training, run, probe=digits.probe, val_error=error)
    unlucky = Unlucky(run, **SETTINGS)

    class Killed(TrainerCallback):
        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            unlucky.checkpoint(state.global_step // 20)

        def on_train_end(self, *_: Any, **__: Any) -> None:
            assert callback.monitor is not None
            assert callback.monitor.wait(60), "the last daemon measures what the others left"

    training.add_callback(Killed)
    training.add_callback(callback)
    training.train()
    unlucky.stop()
    assert training.losses == undisturbed.losses
    assert [entry["state"] for entry in history(run)] == ["measured"] * 6
    assert not [record for record in caplog.records if record.name == "relstab" and "export" in record.message]


def test_without_evaluation_epochs_count_and_whatever_fails_is_a_warning(
    digits: Digits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "relstab")
    training = trainer(digits, tmp_path, eval_strategy="no", num_train_epochs=3)
    callback = Callback(training, tmp_path / "run", example=digits.images, every=2)
    training.add_callback(callback)
    training.train()
    assert [path.name for path in sorted((tmp_path / "run").glob("*.onnx"))] == ["step=000020.onnx", "step=000060.onnx"]
    # After the training an evaluation is none of its checkpoints.
    training.evaluate()
    assert len(list((tmp_path / "run").glob("*.onnx"))) == 2

    again = trainer(digits, tmp_path, num_train_epochs=3)
    again.add_callback(Callback(again, tmp_path / "other", val_error=lambda metrics: metrics["eval_accuracy"] / 0))
    again.train()
    warnings = [record.message for record in caplog.records if record.name == "relstab"]
    assert sum("no export of step 20: ValueError: expected example images" in message for message in warnings) == 1
    assert sum("val_error raised ZeroDivisionError" in message for message in warnings) == 1


def test_mixed_precision_and_steps(digits: Digits, tmp_path: Path) -> None:
    run = tmp_path / "run"
    training = trainer(digits, tmp_path, bf16=True, eval_strategy="steps", eval_steps=15, max_steps=30)
    callback = Callback(training, run, probe=digits.probe)
    training.add_callback(callback)
    kept = Kept(callback)
    with relstab.start(run, **SETTINGS):
        training.add_callback(kept)
        training.train()
    assert list(kept.passes) == [15, 30]
    assert [entry["state"] for entry in history(run)] == ["measured"] * 2
