"""Lightning: a callback for `lightning.pytorch.Trainer`.

callback = relstab.lightning.Callback("runs/today", probe=test_images, val_error="val_error", stop={"patience": 5})
trainer = Trainer(callbacks=[callback])
"""

from __future__ import annotations

import lightning.pytorch as lightning

from .callback import Settings
from .torch import Monitor


class Callback(Settings, lightning.Callback):
    """Exports the module after every `every` epochs, logs the [`Measurement.scalars`] to the trainer's loggers,
    and ends the training when a rule says so.

    Settings are those of [`relstab.callback.Settings`].
    """

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if stage != "fit":
            return

        def log(values: dict[str, float], step: int) -> None:
            for logger in trainer.loggers:
                logger.log_metrics(values, step=step)

        self.monitor = Monitor(self._run_dir, example=self._example, every=self._every, logger=log)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.monitor is None:
            return
        epoch = trainer.current_epoch + 1
        error = self.known_error(trainer.callback_metrics)
        self.monitor.checkpoint(pl_module, step=trainer.global_step, epoch=epoch, val_error=error)
        # Asked on every rank, whatever the trainer knows there: the ranks answer together.
        trainer.should_stop = self.monitor.should_stop() or trainer.should_stop

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.monitor is not None:
            self.monitor.close()
