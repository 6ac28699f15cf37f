"""Images as tensors, crops and flips of whole batches, and a network's error on them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

import data as datasets

PAD = 4


class Tensors:
    """A data set on the device, normalised batch by batch."""

    def __init__(self, data: datasets.DataSet, device: str) -> None:
        self.data, self.device = data, device
        self.mean, self.std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (data.mean, data.std))
        self.train, self.test = (
            (torch.tensor(x).to(device), torch.tensor(y).to(device)) for x, y in (data.train, data.test)
        )

    def first(self, count: int | None) -> Tensors:
        """The same with so many of its training images, or all."""
        some = copy.copy(self)
        some.train = self.train[0][:count], self.train[1][:count]
        return some

    def normalised(self, images: Tensor) -> Tensor:
        return (images.float() / 255 - self.mean) / self.std


class Crops:
    """Training images, each moved by up to 4 pixels before black and flipped half the time."""

    def __init__(self, images: Tensor) -> None:
        side = images.shape[-1]
        padded = nn.functional.pad(images, (PAD, PAD, PAD, PAD))
        self.windows = padded.unfold(2, side, 1).unfold(3, side, 1)

    def __call__(self, chosen: Tensor) -> Tensor:
        top, left = torch.randint(2 * PAD + 1, (2, len(chosen)))
        moved: Tensor = self.windows[chosen, :, top, left]
        is_flipped = torch.rand(len(chosen), 1, 1, 1) < 0.5
        return torch.where(is_flipped, moved.flip(-1), moved)


@torch.no_grad()
def error(network: nn.Module, tensors: Tensors, count: int) -> float:
    """Share of the first `count` test images that are misclassified."""
    network.eval()
    images, labels = tensors.test[0][:count], tensors.test[1][:count]
    wrong = sum(
        int((network(tensors.normalised(x)).argmax(1) != y).sum().item())
        for x, y in zip(torch.split(images, 500), torch.split(labels, 500), strict=True)
    )
    network.train()
    return wrong / len(labels)
