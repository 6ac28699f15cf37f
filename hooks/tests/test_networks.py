"""Networks of many kinds: the weights of each can be replaced in its first trace."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable

import pytest
import relstab
import torch
from relstab.torch import Exporter
from torch import Tensor, nn

IMAGES = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Tied(nn.Module):
    """Two layers share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.second.weight = self.first.weight
        self.head = nn.Linear(768, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(torch.relu(self.first(images))).flatten(1))
        return logits


class Buffers(nn.Module):
    """A buffer that is not saved, a scalar one, a bare parameter; outputs in a dictionary."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(0.5))
        self.offset = nn.Parameter(torch.zeros(1, 768))
        self.head = nn.Linear(768, 10)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head((images * self.scale + self.shift).flatten(1) + self.offset)}


class Transformer(nn.Module):
    """Patches, positions, a class token, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, stride=4)
        self.positions = nn.Parameter(torch.randn(1, 17, 32))
        self.token = nn.Parameter(torch.randn(1, 1, 32))
        self.blocks = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2)
        self.head = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(patches), -1, -1), patches], 1) + self.positions
        logits: Tensor = self.head(self.blocks(tokens)[:, 0])
        return logits


def convolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 10))


def weight_norm() -> nn.Module:
    first = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3))
    return nn.Sequential(first, nn.GroupNorm(2, 8), nn.GELU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 10))


def frozen() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 10)).requires_grad_(False)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "tied": Tied,
    "buffers": Buffers,
    "transformer": Transformer,
    "weight_norm": weight_norm,
    "frozen": frozen,
    "bfloat16": lambda: convolution().to(torch.bfloat16),
    "double": lambda: convolution().double(),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_replaced_weights_are_those_of_a_new_export(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "relstab")
    torch.manual_seed(0)
    model = NETWORKS[name]()
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(torch.randn(parameter.shape).to(parameter.dtype) * 0.05)
    exporter = Exporter(IMAGES)
    first = exporter.snapshot(model)
    second = exporter.snapshot(changed)
    original, replaced = r_f(first()), r_f(second())
    assert replaced == pytest.approx(r_f(changed), rel=1e-4)
    assert replaced != pytest.approx(original, rel=1e-3)
    assert not [record for record in caplog.records if record.name == "relstab"]


def r_f(model: object) -> float:
    measured = relstab.measure(model, IMAGES, images=40, draws=1).r_f
    assert measured is not None
    return measured.value
