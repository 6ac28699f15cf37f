"""The 15 architectures of the paper's CIFAR-10 figure, in their usual CIFAR form, with a width multiplier.

Pools round up, so that 28-pixel images pass the five of a VGG; everything else is the same for both data sets.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

CLASSES = 10


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size, but for its stride."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)


def pool() -> nn.Module:
    return nn.MaxPool2d(2, ceil_mode=True)


def channels(count: int, width: float) -> int:
    """`count` at this width, at least 4."""
    return max(4, round(count * width))


def fully_connected(layers: int, inputs: int, side: int, width: float) -> nn.Module:
    """Hidden layers of 512 and a linear read-out."""
    hidden = channels(512, width)
    sizes = [inputs * side * side] + [hidden] * layers
    body = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *body, nn.Linear(hidden, CLASSES))


def lenet(inputs: int, side: int, width: float) -> nn.Module:
    """LeNet-5 with ReLU and max pooling; as small as it is, it has one width."""
    del width
    features = side // 4 - 3
    first = (conv(inputs, 6, 5, bias=True), nn.ReLU(), pool(), nn.Conv2d(6, 16, 5), nn.ReLU(), pool())
    left = (side // 2 - 4 + 1) // 2
    assert left in (features, features + 1)
    last = (nn.Linear(16 * left * left, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES))
    return nn.Sequential(*first, nn.Flatten(), *last)


def alexnet(inputs: int, side: int, width: float) -> nn.Module:
    """Five convolutions, three pools, three linear layers with dropout."""
    del side
    a, b, c, d = (channels(count, width) for count in (64, 192, 384, 256))
    hidden = channels(1024, width)
    body = (
        *(conv(inputs, a, 3, 2, bias=True), nn.ReLU(), pool()),
        *(conv(a, b, 3, bias=True), nn.ReLU(), pool()),
        *(conv(b, c, 3, bias=True), nn.ReLU(), conv(c, d, 3, bias=True), nn.ReLU()),
        *(conv(d, d, 3, bias=True), nn.ReLU(), pool(), nn.Flatten()),
    )
    head = (nn.Dropout(), nn.Linear(4 * d, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU())
    return nn.Sequential(*body, *head, nn.Linear(hidden, CLASSES))


# Channels of each convolution; 0 is a pool.
VGG = {
    11: (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0),
    16: (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0),
    19: (64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4, 0),
}


def vgg(depth: int, norm: bool, inputs: int, side: int, width: float) -> nn.Module:
    """Convolutions and pools, and a linear read-out."""
    del side
    layers: list[nn.Module] = []
    before = inputs
    for count in VGG[depth]:
        if count == 0:
            layers.append(pool())
            continue
        after = channels(count, width)
        layers.append(conv(before, after, 3, bias=not norm))
        layers.extend([nn.BatchNorm2d(after)] if norm else [])
        layers.append(nn.ReLU())
        before = after
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before, CLASSES))


class Residual(nn.Module):
    """Convolutions beside a shortcut: two of 3 x 3, or a bottleneck of 1, 3 and 1."""

    def __init__(self, inputs: int, inner: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * inner if bottleneck else inner
        if bottleneck:
            shapes = [(inputs, inner, 1, 1), (inner, inner, 3, stride), (inner, outputs, 1, 1)]
        else:
            shapes = [(inputs, inner, 3, stride), (inner, outputs, 3, 1)]
        layers = [layer for shape in shapes for layer in (conv(*shape), nn.BatchNorm2d(shape[1]), nn.ReLU())]
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet(blocks: tuple[int, ...], bottleneck: bool, inputs: int, side: int, width: float) -> nn.Module:
    """A 3 x 3 stem, four stages that double the channels and halve the size, average pooling."""
    del side
    before = channels(64, width)
    layers: list[nn.Module] = [conv(inputs, before, 3), nn.BatchNorm2d(before), nn.ReLU()]
    for stage, count in enumerate(blocks):
        inner = channels(64 << stage, width)
        for block in range(count):
            layers.append(Residual(before, inner, 2 if block == 0 and stage > 0 else 1, bottleneck))
            before = 4 * inner if bottleneck else inner
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, CLASSES))


class Inverted(nn.Module):
    """EfficientNet's block: expand, convolve each channel, weigh channels, project; with a shortcut where shapes agree."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner, squeezed = inputs * expansion, max(1, inputs // 4)
        expand = (conv(inputs, inner, 1), nn.BatchNorm2d(inner), nn.SiLU()) if expansion > 1 else ()
        self.spread = nn.Sequential(
            *expand, conv(inner, inner, kernel, stride, inner), nn.BatchNorm2d(inner), nn.SiLU()
        )
        gates = (conv(inner, squeezed, 1, bias=True), nn.SiLU(), conv(squeezed, inner, 1, bias=True), nn.Sigmoid())
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(1), *gates)
        self.project = nn.Sequential(conv(inner, outputs, 1), nn.BatchNorm2d(outputs))
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        inner = self.spread(x)
        out: Tensor = self.project(inner * self.weigh(inner))
        return out + x if self.is_residual else out


# Expansion, channels, blocks, kernel, stride.
EFFICIENTNET_B0 = (
    *((1, 16, 1, 3, 1), (6, 24, 2, 3, 2), (6, 40, 2, 5, 2), (6, 80, 3, 3, 2)),
    *((6, 112, 3, 5, 1), (6, 192, 4, 5, 2), (6, 320, 1, 3, 1)),
)


def efficientnet_b0(inputs: int, side: int, width: float) -> nn.Module:
    """EfficientNet-B0 with a stem that keeps the size, as is usual for 32 pixels."""
    del side
    before = channels(32, width)
    layers: list[nn.Module] = [conv(inputs, before, 3), nn.BatchNorm2d(before), nn.SiLU()]
    for expansion, count, blocks, kernel, stride in EFFICIENTNET_B0:
        for block in range(blocks):
            after = channels(count, width)
            layers.append(Inverted(before, after, expansion, kernel, stride if block == 0 else 1))
            before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, CLASSES))


Maker = Callable[[int, int, float], nn.Module]

ARCHITECTURES: dict[str, Maker] = {
    **{f"fc{n}": functools.partial(fully_connected, n) for n in (2, 4, 6)},
    "lenet": lenet,
    "alexnet": alexnet,
    **{f"vgg{n}{'_bn' if norm else ''}": functools.partial(vgg, n, norm) for n in VGG for norm in (False, True)},
    "resnet18": functools.partial(resnet, (2, 2, 2, 2), False),
    "resnet34": functools.partial(resnet, (3, 4, 6, 3), False),
    "resnet50": functools.partial(resnet, (3, 4, 6, 3), True),
    "efficientnet_b0": efficientnet_b0,
}


def make(name: str, inputs: int, side: int, width: float) -> nn.Module:
    """An architecture at its start."""
    return initialised(ARCHITECTURES[name](inputs, side, width))


def initialised(network: nn.Module) -> nn.Module:
    """He-normal weights and no biases, so that the deep ones without batch norm train at all."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network
