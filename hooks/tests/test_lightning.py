"""The Lightning callback."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import relstab
import relstab.torch
import torch
from daemons import DAEMON
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from relstab.lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from training import TRAINED, Digits, network

# A law for these settings is none that anybody fitted: it is only to be applied.
LAW: dict[str, Any] = {"law": "cifar10", "force_law": True}


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = network()
        self.losses: list[str] = []

    def forward(self, images: Tensor) -> Any:
        return self.network(images)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.losses.append(float(loss.item()).hex())
        return loss

    def validation_step(self, batch: list[Tensor]) -> None:
        self.log("val_error", (self(batch[0]).argmax(1) != batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def fit(digits: Digits, folder: Path, callbacks: list[lightning.Callback], loggers: Any = False) -> Classifier:
    lightning.seed_everything(0, verbose=False)
    model = Classifier()
    trainer = lightning.Trainer(
        max_epochs=6,
        accelerator="cpu",
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trained = TensorDataset(digits.images[:TRAINED], digits.labels[:TRAINED])
    trainer.fit(
        model,
        DataLoader(trained, batch_size=60, shuffle=True),
        DataLoader(TensorDataset(*digits.probe), batch_size=600),
    )
    return model


def test_the_callback_measures_logs_and_stops(digits: Digits, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Nothing can improve by this much: stopped at the first checkpoint that is judged after the best.
    rule: dict[str, str | float] = {"monitor": "r_f", "patience": 1, "min_delta": 1000.0}
    callback = Callback(run, probe=digits.probe, val_error="val_error", stop=rule)

    class Slow(lightning.Callback):
        """Trainings take longer than this one."""

        def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            assert callback.monitor is not None
            assert callback.monitor.wait(60)

    with relstab.start(run, **DAEMON, **LAW):
        board, table = TensorBoardLogger(tmp_path / "tensorboard"), CSVLogger(tmp_path / "csv")
        fit(digits, tmp_path, [callback, Slow()], [board, table])
    assert len(list(run.glob("step=*.onnx"))) == 3
    events = EventAccumulator(board.log_dir)
    events.Reload()
    assert [event.step for event in events.Scalars("relstab/r_f")] == [20, 40, 60]
    assert [event.step for event in events.Scalars("relstab/predicted_error")] == [20, 40, 60]
    assert "relstab/r_f" in (Path(table.log_dir) / "metrics.csv").read_text()


def test_without_a_daemon_the_losses_are_the_same(digits: Digits, tmp_path: Path) -> None:
    plain = fit(digits, tmp_path, [])
    hooked = fit(digits, tmp_path, [Callback(tmp_path / "run", probe=digits.probe, val_error=lambda _: 0.5)])
    assert plain.losses == hooked.losses
    assert len(list((tmp_path / "run").glob("step=*.onnx"))) == 6


def test_the_word_on_the_last_checkpoint_is_heard_before_the_end(digits: Digits, tmp_path: Path) -> None:
    run = tmp_path / "run"
    errors = iter([0.1] * 5 + [0.9])
    rule = {"divergence_threshold": 0.5}
    callback = Callback(run, probe=digits.probe, val_error=lambda _: next(errors), stop=rule)
    heard = []

    class End(lightning.Callback):
        def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            assert callback.monitor is not None
            heard.append(callback.monitor.stop_reason)

    table = CSVLogger(tmp_path / "csv")
    with relstab.start(run, **DAEMON):
        fit(digits, tmp_path, [callback, End()], [table])
    assert heard == ["val_error is 0.9000, beyond the divergence threshold 0.5"]
    with (Path(table.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["relstab/r_f"]][-1] == "120"


def test_every_rank_asks_whether_to_stop(digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def should_stop(_: object) -> bool:
        asked.append(1)
        return False

    monkeypatch.setattr(relstab.torch.Monitor, "should_stop", should_stop)

    class Stopped(lightning.Callback):
        """One rank's trainer may know of a reason before the others."""

        def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            trainer.should_stop = True

    fit(digits, tmp_path, [Stopped(), Callback(tmp_path / "run", probe=digits.probe)])
    assert len(asked) == 1
