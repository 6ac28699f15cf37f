"""R_f of untrained networks, as narrow as the zoo's and as wide as the originals, by two initialisations."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import networks
from export import Exporter
from tool import Setup, Values

ARCHITECTURES = ("fc4", "lenet", "alexnet", "vgg11", "vgg11_bn", "resnet18", "efficientnet_b0")
WIDTHS = {"an eighth": 1 / 8, "the original's": 1.0}
SEEDS = (0, 1, 2)


def measured(setup: Setup) -> Iterator[Values]:
    """CIFAR-10, c = 3, delta = 1, one draw; He-normal weights without biases as in the zoo, or PyTorch's defaults."""
    data = setup.data["cifar10"]
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (data.mean, data.std))
    example = (torch.tensor(data.test[0][:4]).float() / 255 - mean) / std
    normalisation = {"mean": ",".join(map(str, data.mean)), "std": ",".join(map(str, data.std))}
    for architecture in ARCHITECTURES:
        for (width, factor), seed, is_he in [(w, s, h) for w in WIDTHS.items() for s in SEEDS for h in (True, False)]:
            torch.manual_seed(seed)
            make = functools.partial(networks.make, architecture) if is_he else networks.ARCHITECTURES[architecture]
            network = make(3, 32, factor)
            with TemporaryDirectory() as folder:
                file = Path(folder) / "step=0.onnx"
                Exporter(network, example, Path(folder)).write(network, file, {"step": 0, **normalisation})
                record, _ = setup.measure(file, "cifar10", "--draws", "1")
            # Undefined where noise does not move the output.
            r_f = record["r_f"] or {}
            yield {
                "architecture": architecture,
                "width": width,
                "weights": "He" if is_he else "PyTorch's",
                "seed": seed,
                "r_f": r_f.get("value", ""),
                "low": r_f.get("low", ""),
                "high": r_f.get("high", ""),
            }
            print(f"{architecture} {width} {seed}: {r_f.get('value')}", flush=True)
