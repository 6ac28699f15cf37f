"""The public way to measure R_f: each image deformed by itself on the CPU, batches forward in PyTorch."""

from __future__ import annotations

import numpy
import torch
from numpy.typing import NDArray
from torch import nn

Images = NDArray[numpy.float32]


def field(side: int, cutoff: int, rng: numpy.random.Generator) -> NDArray[numpy.float64]:
    """A scalar field of maximum entropy on the grid, unscaled (Petrini et al., arXiv:2105.02468)."""
    i = numpy.arange(1, cutoff + 1)
    radii = numpy.sqrt(i[:, None] ** 2 + i[None, :] ** 2)
    spectrum = (radii < cutoff + 0.5) * rng.normal(size=radii.shape) / radii
    sines = numpy.sin(numpy.pi * numpy.linspace(0, 1, side)[:, None] * i)
    return numpy.einsum("ij,yi,xj->yx", spectrum, sines, sines)


def deformed(image: Images, cutoff: int, delta: float, rng: numpy.random.Generator) -> Images:
    """One image `[channel, y, x]`, read at displaced positions by its four neighbours."""
    side = image.shape[-1]
    scale = numpy.sqrt(4 * delta**2 / (numpy.pi * side**2 * numpy.log(cutoff))) * side
    y, x = numpy.meshgrid(numpy.arange(side), numpy.arange(side), indexing="ij")
    places = [
        numpy.clip(place - scale * field(side, cutoff, rng), 0, side - 1).astype(numpy.float32) for place in (y, x)
    ]
    top, left = (numpy.minimum(place.astype(int), side - 2) for place in places)
    down, right = places[0] - top, places[1] - left
    upper = image[:, top, left] * (1 - right) + image[:, top, left + 1] * right
    lower = image[:, top + 1, left] * (1 - right) + image[:, top + 1, left + 1] * right
    return numpy.asarray(upper * (1 - down) + lower * down, numpy.float32)


def r_f(network: nn.Module, images: Images, draws: int, batch: int, device: str) -> float:
    """The ratio of median squared changes, summed over outputs."""
    rng = numpy.random.default_rng(0)
    network = network.to(device)

    def forward(inputs: Images) -> torch.Tensor:
        with torch.no_grad():
            parts = [network(torch.from_numpy(inputs[k : k + batch]).to(device)) for k in range(0, len(inputs), batch)]
        return torch.cat(parts)

    clean = forward(images)
    changes: list[list[torch.Tensor]] = [[], []]
    for _ in range(draws):
        moved = numpy.stack([deformed(image, 3, 1.0, rng) for image in images])
        noise = rng.normal(size=images.shape).astype(numpy.float32)
        lengths = [numpy.sqrt((part**2).sum((1, 2, 3), keepdims=True)) for part in (moved - images, noise)]
        for kind, inputs in enumerate((moved, images + noise * (lengths[0] / lengths[1]))):
            changes[kind].append((forward(inputs) - clean) ** 2)
    medians = [torch.cat(kind).median(0).values.sum() for kind in changes]
    return float(medians[0] / medians[1])
