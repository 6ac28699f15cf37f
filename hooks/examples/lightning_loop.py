"""The same with Lightning, logged to TensorBoard.

pip install './hooks[lightning,cpu]' scikit-learn tensorboard && python hooks/examples/lightning_loop.py
"""

import lightning.pytorch as lightning
import relstab
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from relstab.lightning import Callback
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

digits = load_digits()
images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
labels = torch.tensor(digits.target)


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 10))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor]) -> None:
        self.log("val_error", (self(batch[0]).argmax(1) != batch[1]).float().mean())

    def on_train_epoch_end(self) -> None:
        # Epochs of this example are shorter than a measurement; those of a real training need no waiting.
        assert callback.monitor is not None
        callback.monitor.wait(30)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


callback = Callback(
    "runs/lightning", probe=images[1200:], val_error="val_error", stop={"monitor": "val_error", "patience": 3}
)
daemon = relstab.start("runs/lightning", nice=10)
trainer = lightning.Trainer(max_epochs=40, callbacks=[callback], logger=TensorBoardLogger("runs/logs"))
trainer.fit(
    Classifier(),
    DataLoader(TensorDataset(images[:1200], labels[:1200]), batch_size=60, shuffle=True),
    DataLoader(TensorDataset(images[1200:], labels[1200:]), batch_size=600),
)
found = relstab.Client.of("runs/lightning").decision("runs/lightning")
latest = callback.monitor.latest if callback.monitor else None
print(f"last: R_f {latest.r_f.value if latest and latest.r_f else float('nan'):.3f}")
print(f"stopped: {found['reason'] or 'after the last epoch'}")
print(f"best: error {found['best']['value']:.3f} at step {found['best']['step']}, {found['best']['path']}")
