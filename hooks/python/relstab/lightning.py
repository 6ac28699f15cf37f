"""Lightning: a callback for `lightning.pytorch.Trainer`.

trainer = Trainer(callbacks=[relstab.lightning.Callback("runs/today", probe=test_images, stop={"patience": 5})])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lightning.pytorch as lightning
from torch import Tensor

from .config import Rule, prepare
from .torch import Monitor


class Callback(lightning.Callback):
    """Exports the module after every `every` epochs, logs `relstab/r_f` and `relstab/predicted_error` to the trainer's
    loggers, and ends the training when a rule says so.

    `val_error`: the name of a logged metric that is an error (a fraction), or a function of all of them, such as
    `lambda metrics: 1 - metrics["val_acc"]`. Other settings are those of [`relstab.torch.Monitor`]; they are written into
    the run's directory at once, so that `relstab.start` may follow.
    """

    def __init__(
        self,
        run_dir: Any,
        *,
        val_error: str | Callable[[Mapping[str, Tensor]], float | Tensor] | None = None,
        every: int = 1,
        probe: object = None,
        example: object = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        law: str | None = None,
        stop: Rule | Sequence[Rule] = (),
    ) -> None:
        prepare(run_dir, probe=probe, mean=mean, std=std, law=law, stop=stop)
        self._run_dir, self._every, self._val_error = run_dir, every, val_error
        self._example = example if example is not None else (probe[0] if isinstance(probe, tuple) else probe)
        self.monitor: Monitor | None = None

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if stage != "fit" or self.monitor is not None:
            return

        def log(values: dict[str, float], step: int) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(values, step=step)

        self.monitor = Monitor(self._run_dir, example=self._example, every=self._every, logger=log)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.monitor is None:
            return
        epoch = trainer.current_epoch + 1
        error = self._known_error(trainer.callback_metrics)
        self.monitor.checkpoint(pl_module, step=trainer.global_step, epoch=epoch, val_error=error)
        trainer.should_stop = trainer.should_stop or self.monitor.should_stop()

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if self.monitor is not None and stage == "fit":
            self.monitor.close()

    def _known_error(self, metrics: Mapping[str, Tensor]) -> float | None:
        if callable(self._val_error):
            return float(self._val_error(metrics))
        if self._val_error is None or self._val_error not in metrics:
            return None
        return float(metrics[self._val_error])
