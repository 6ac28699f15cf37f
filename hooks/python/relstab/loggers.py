"""Where results go: TensorBoard, Weights & Biases, MLflow, Aim, Trackio, Lightning's loggers, Flax's, or a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Sink = Callable[[dict[str, float], int], None]


def sink(logger: Any) -> Sink:
    """How `logger` takes named values at a step; results come late, when the loop has gone on.

    Raises `TypeError` for something that is no logger.
    """
    # torch.utils.tensorboard.SummaryWriter, flax.metrics.tensorboard.SummaryWriter
    add_scalar = getattr(logger, "add_scalar", None) or getattr(logger, "scalar", None)
    if add_scalar is not None:

        def add_scalars(values: dict[str, float], step: int) -> None:
            for name, value in values.items():
                add_scalar(name, value, step)

        return add_scalars
    if hasattr(logger, "define_metric"):  # a wandb run: its own step only goes forward
        logger.define_metric("relstab/step", hidden=True)
        logger.define_metric("relstab/*", step_metric="relstab/step")
        return lambda values, step: logger.log({**values, "relstab/step": step})
    if hasattr(logger, "log_metrics"):  # the mlflow module, a Lightning logger
        return lambda values, step: logger.log_metrics(values, step=step)
    if hasattr(logger, "track"):  # an aim run

        def track(values: dict[str, float], step: int) -> None:
            for name, value in values.items():
                logger.track(value, name=name, step=step)

        return track
    if hasattr(logger, "log_system"):  # the trackio module, a run of it
        return lambda values, step: logger.log(values, step=step)
    if callable(logger):
        return lambda values, step: logger(values, step)
    raise TypeError(
        f"expected a TensorBoard, W&B, MLflow, Aim, Trackio, Lightning or Flax logger or a function, found {type(logger)}"
    )
