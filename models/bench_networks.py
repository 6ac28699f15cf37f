"""Makes the networks that benches/ time, with random weights, in models/build.

pip install -r models/requirements.txt
python models/bench_networks.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import onnx_file

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


class Bottleneck(nn.Module):
    """The residual block of the deeper networks; its stride is that of the middle convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        width = outputs // 4
        self.layers = nn.Sequential(
            *(nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)),
        )
        same = stride == 1 and inputs == outputs
        down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity() if same else down

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layers(x) + self.shortcut(x))


def stages(
    inputs: int, widths: tuple[int, ...], blocks: tuple[int, ...], kind: Callable[[int, int, int], nn.Module] = Block
) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            layers.append(kind(inputs, width, 2 if stage and not block else 1))
            inputs = width
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def stem(width: int) -> list[nn.Module]:
    return [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]


def small_stem(width: int) -> list[nn.Module]:
    return [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]


def resnet18() -> nn.Module:
    """ImageNet's ResNet-18: 224 pixels, 1,000 outputs."""
    return nn.Sequential(*stem(64), *stages(64, (64, 128, 256, 512), (2, 2, 2, 2)), nn.Linear(512, 1000))


def resnet50() -> nn.Module:
    """ImageNet's ResNet-50: 224 pixels, 1,000 outputs."""
    body = stages(64, (256, 512, 1024, 2048), (3, 4, 6, 3), Bottleneck)
    return nn.Sequential(*stem(64), *body, nn.Linear(2048, 1000))


def cifar_resnet18() -> nn.Module:
    """ResNet-18 as it is used on CIFAR: 32 pixels, 10 outputs, no pooling at the beginning."""
    return nn.Sequential(*small_stem(64), *stages(64, (64, 128, 256, 512), (2, 2, 2, 2)), nn.Linear(512, 10))


def resnet20() -> nn.Module:
    """CIFAR's ResNet-20: 32 pixels, 10 outputs."""
    return nn.Sequential(*small_stem(16), *stages(16, (16, 32, 64), (3, 3, 3)), nn.Linear(64, 10))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18_224": (resnet18, 224),
    "resnet20_32": (resnet20, 32),
    "cifar_resnet18": (cifar_resnet18, 32),
    "resnet50_224": (resnet50, 224),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name][0]().eval()


def export(name: str, half: bool) -> Path:
    """The file of a network, made unless it is there; `half` for weights and images of 16 bits."""
    path = FOLDER / f"{name}{'_f16' if half else ''}.onnx"
    if path.exists():
        return path
    FOLDER.mkdir(exist_ok=True)
    kind = torch.float16 if half else torch.float32
    side = NETWORKS[name][1]
    onnx_file.export(made(name).to(kind), torch.zeros(2, 3, side, side, dtype=kind), path)
    return path


def main() -> None:
    for name in NETWORKS:
        export(name, half=False)


if __name__ == "__main__":
    main()
