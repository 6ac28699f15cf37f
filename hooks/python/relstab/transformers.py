"""Hugging Face Transformers: a callback for `transformers.Trainer`, for networks that take images.

trainer.add_callback(relstab.transformers.Callback(
    trainer, "runs/today", probe=test_images, val_error=lambda metrics: 1 - metrics["eval_accuracy"], stop={"patience": 5}
))
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from . import exporter, torch
from .callback import Settings
from .gather import unwrapped
from .native import place_in
from .torch import Exporter, Monitor


class Callback(Settings, TrainerCallback):
    """Exports the network after every `every` evaluations, or epochs where the trainer does not evaluate, logs the
    [`Measurement.scalars`] where the trainer does, and ends the training when a rule says so.

    Settings are those of [`relstab.callback.Settings`]; `val_error` is asked for the metrics of an evaluation, such as
    `lambda metrics: 1 - metrics["eval_accuracy"]`.
    """

    def __init__(self, trainer: Trainer, run_dir: Any, **settings: Any) -> None:
        super().__init__(run_dir, **settings)
        self._trainer = trainer
        self._is_training = False
        self._exported = -1

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        exporter = _Exporter(self._example)
        self.monitor = Monitor(self._run_dir, exporter=exporter, every=self._every, logger=self._log)
        self._is_training, self._exported = True, -1
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **event: Any
    ) -> TrainerControl:
        return self._checkpoint(event["model"], state, control, event["metrics"])

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **event: Any
    ) -> TrainerControl:
        return self._checkpoint(event["model"], state, control, {}) if args.eval_strategy == "no" else control

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # The last time that the trainer's reporters listen is before the end of the training.
        if self.monitor is not None and self._is_training:
            self.monitor.log()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._is_training = False
        if self.monitor is not None:
            self.monitor.close()

    def _checkpoint(
        self, model: nn.Module, state: TrainerState, control: TrainerControl, metrics: Mapping[str, float]
    ) -> TrainerControl:
        if self.monitor is None or not self._is_training:
            return control
        error, step = self.known_error(metrics), state.global_step
        if step != self._exported:
            self.monitor.checkpoint(model, step=step, epoch=state.epoch, val_error=error)
            self._exported = step
        elif error is not None:
            # Evaluated on a second data set.
            self.monitor.annotate(step=step, val_error=error)
        control.should_training_stop = self.monitor.should_stop() or control.should_training_stop
        if control.should_training_stop or state.global_step >= state.max_steps:
            # The trainer's reporters hear nothing after the training.
            self.monitor.finish()
        return control

    def _log(self, values: dict[str, float], step: int) -> None:
        """As `Trainer.log`, at the step of the checkpoint."""
        if not self._is_training:
            return
        trainer, state = self._trainer, copy.copy(self._trainer.state)
        state.global_step = step
        trainer.state.log_history.append({**values, "step": step})
        trainer.callback_handler.on_log(trainer.args, state, TrainerControl(), dict(values))


def restored(
    network: nn.Module, checkpoint: Path, images: object
) -> tuple[exporter.Exporter, nn.Module, dict[str, object]]:
    """As [`torch.restored`]; a folder that has the network's configuration is read by Transformers itself."""
    if not (checkpoint / "config.json").is_file():
        _, network, place = torch.restored(network, checkpoint, images)
        return _Exporter(images), network, place
    kind: Any = type(network)
    return _Exporter(images), kind.from_pretrained(checkpoint), place_in(checkpoint)


class _Exporter(Exporter):
    """Leaves out the autocast that Accelerate wraps `forward` in: engines lack many an operator in half precision."""

    def snapshot(self, model: nn.Module) -> Callable[[], bytes]:
        module = unwrapped(model)
        wrapped, original = module.__dict__.get("forward"), module.__dict__.get("_original_forward")
        if wrapped is None or original is None:
            return super().snapshot(module)
        module.forward = original
        try:
            return super().snapshot(module)
        finally:
            module.forward = wrapped
