"""Makes the networks that benches/ time, with random weights, in models/build.

pip install -r models/requirements.txt
python models/bench_networks.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "build"


class Block(nn.Module):
    """The basic residual block of He et al. (arXiv:1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        same = stride == 1 and inputs == outputs
        down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity() if same else down

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


def stages(widths: tuple[int, ...], blocks: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    inputs = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(Block(inputs, width, 2 if stage and not block else 1))
            inputs = width
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def resnet18() -> nn.Module:
    """ImageNet's ResNet-18: 224 pixels, 1,000 outputs."""
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, *stages((64, 128, 256, 512), 2), nn.Linear(512, 1000))


def resnet20() -> nn.Module:
    """CIFAR's ResNet-20: 32 pixels, 10 outputs."""
    stem = (nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(*stem, *stages((16, 32, 64), 3), nn.Linear(64, 10))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, network, side in (("resnet18_224", resnet18(), 224), ("resnet20_32", resnet20(), 32)):
        torch.manual_seed(0)
        torch.onnx.export(
            network.eval(),
            (torch.zeros(2, 3, side, side),),
            str(FOLDER / f"{name}.onnx"),
            input_names=["images"],
            output_names=["logits"],
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            verbose=False,
        )


if __name__ == "__main__":
    main()
