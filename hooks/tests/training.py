"""A training on scikit-learn's digits that says every loss to the last bit; also a program, for what must run alone."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

TRAINED = 1200


class Digits:
    """1,797 images of 8 x 8 pixels: the first 1,200 to train on."""

    def __init__(self) -> None:
        data = load_digits()
        self.images = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
        self.labels = torch.tensor(data.target)

    @property
    def probe(self) -> tuple[Tensor, Tensor]:
        return self.images[TRAINED:], self.labels[TRAINED:]


class Arrays:
    """The same for those who take arrays with channels last."""

    def __init__(self, digits: Digits) -> None:
        self.images = numpy.ascontiguousarray(digits.images.numpy().transpose(0, 2, 3, 1))
        self.labels = digits.labels.numpy()
        self.probe = self.images[TRAINED:], self.labels[TRAINED:]


def network(width: int = 16) -> nn.Module:
    """Convolutions with and without bias, batch normalisation, dropout."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(2 * width * 16, 10),
    )


AfterEpoch = Callable[[nn.Module, int, int, float], bool]


def train(digits: Digits, epochs: int, after_epoch: AfterEpoch, seed: int = 0) -> list[str]:
    """Every loss in hexadecimal; `after_epoch(network, step, epoch, val_error)` says whether to stop."""
    torch.manual_seed(seed)
    numpy.random.seed(seed)
    random.seed(seed)
    model = network()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses, step = [], 0
    for epoch in range(1, epochs + 1):
        model.train()
        # All three sources of random numbers count.
        order = torch.randperm(TRAINED)[numpy.random.permutation(TRAINED)].tolist()
        random.shuffle(order)
        for first in range(0, TRAINED, 60):
            batch = order[first : first + 60]
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(digits.images[batch]), digits.labels[batch])
            loss.backward()
            optimiser.step()
            losses.append(float(loss.item()).hex())
            step += 1
        stops = after_epoch(model, step, epoch, known_error(model, digits))
        assert model.training, "the mode is restored"
        if stops:
            break
    return losses


def known_error(model: nn.Module, digits: Digits) -> float:
    images, labels = digits.probe
    model.eval()
    with torch.no_grad():
        error = float((model(images).argmax(1) != labels).float().mean())
    model.train()
    return error


if __name__ == "__main__":
    import relstab.torch

    digits, folder = Digits(), Path(sys.argv[1])
    monitor = relstab.torch.Monitor(folder, probe=digits.probe)

    def checkpoint(model: nn.Module, step: int, epoch: int, val_error: float) -> bool:
        monitor.checkpoint(model, step=step, epoch=epoch, val_error=val_error)
        return monitor.should_stop()

    print(*train(digits, 6, checkpoint), sep="\n")
    monitor.close()
