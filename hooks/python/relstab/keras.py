"""Keras 3: a callback for `Model.fit`, with JAX or PyTorch as its backend.

callback = relstab.keras.Callback(
    "runs/today", probe=test_images, val_error=lambda logs: 1 - logs["val_accuracy"], stop={"patience": 5}
)
model.fit(..., callbacks=[callback])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from .callback import Settings
from .exporter import Exporter
from .monitor import Monitor
from .native import orbax_tree


class Callback(Settings, keras.callbacks.Callback):  # type: ignore[misc] # Keras is untyped
    """Exports the model after every `every` epochs and ends the training when a rule says so.

    Into the logs of each epoch, where Keras's own callbacks after this one find them, go `relstab/r_f`, `relstab/invariance` and
    `relstab/predicted_error`, the last that are known, and `relstab/step`, the step that they belong to; NaN before there are any.
    Settings are those of [`relstab.callback.Settings`].
    """

    def __init__(self, run_dir: Any, **settings: Any) -> None:
        if (backend := keras.backend.backend()) not in ("jax", "torch"):
            raise ValueError(f"expected jax or torch as Keras's backend, found {backend}: set KERAS_BACKEND")
        super().__init__(run_dir, **settings)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        names = ("r_f", "invariance", "predicted_error", "step")
        self._latest = dict.fromkeys((f"relstab/{name}" for name in names), math.nan)
        settings = {"example": self._example, "every": self._every, "logger": self._note}
        self.monitor = _monitor(self.model, self._run_dir, **settings)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.monitor is None:
            return
        # A model with a train_step of its own may have none.
        optimizer = getattr(self.model, "optimizer", None)
        step = int(keras.ops.convert_to_numpy(optimizer.iterations)) if optimizer else epoch + 1
        error = self.known_error(logs or {})
        self.monitor.checkpoint(self.model, step=step, epoch=epoch + 1, val_error=error)
        self.model.stop_training = self.monitor.should_stop() or self.model.stop_training
        if logs is not None:
            logs.update(self._latest)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.monitor is not None:
            self.monitor.close()

    def _note(self, values: dict[str, float], step: int) -> None:
        # Keras's loggers take the names of the first epoch for those of all.
        known = {**values, "relstab/step": float(step)}
        self._latest |= {name: known[name] for name in self._latest if name in known}


def restored(model: Any, checkpoint: Path, images: object) -> tuple[Exporter, Any, dict[str, object]]:
    """A model with the weights of a checkpoint of Keras or of Orbax, how it is exported, and the step that the checkpoint tells."""
    if checkpoint.is_dir():
        state = orbax_tree(checkpoint)["pytree"]
        model.set_state_tree(
            {name: state[name] for name in ("trainable_variables", "non_trainable_variables") if name in state}
        )
    else:
        model.load_weights(checkpoint)
    return _exporter(model, images), model, {}


def _monitor(model: Any, run_dir: Any, *, example: object, **settings: Any) -> Monitor:
    """The monitor of Keras's backend: of several processes the one that exports is that backend's."""
    exporter = _exporter(model, example)
    if keras.backend.backend() == "jax":
        from . import jax

        return jax.Monitor(run_dir, exporter=exporter, **settings)
    from . import torch

    return torch.Monitor(run_dir, exporter=exporter, **settings)


def _exporter(model: Any, images: object) -> Exporter:
    """That of Keras's backend."""
    if keras.backend.backend() == "jax":
        from . import jax

        def forward(weights: Any, images: Any) -> Any:
            return model.stateless_call(*weights, images, training=False)[0]

        return _Exporter(jax.Exporter(images, forward), _weights)
    from . import torch

    return _Exporter(torch.Exporter(images, layout=None), _module)


class _Exporter:
    """The exporter of a backend, for what `part` takes of a Keras model."""

    def __init__(self, exporter: Exporter, part: Callable[[Any], Any]) -> None:
        self._exporter, self._part = exporter, part

    def snapshot(self, model: Any) -> Callable[[], bytes]:
        return self._exporter.snapshot(self._part(model))


def _weights(model: Any) -> tuple[list[Any], list[Any]]:
    """As `stateless_call` takes them."""
    return (
        [variable.value for variable in model.trainable_variables],
        [variable.value for variable in model.non_trainable_variables],
    )


def _module(model: Any) -> Any:
    """A PyTorch module that computes with its own tensors: Keras reads those of its variables, whatever the module holds."""
    from torch import nn

    class Stateless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            trained, others = _weights(model)
            self.trained = nn.ParameterList(trained)
            self.others = nn.ParameterList(nn.Parameter(value, requires_grad=False) for value in others)

        def forward(self, images: Any) -> Any:
            return model.stateless_call(list(self.trained), list(self.others), images, training=False)[0]

    return Stateless()
