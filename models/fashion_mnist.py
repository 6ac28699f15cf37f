"""Trains everything in models/ on Fashion-MNIST: the bundled run, its probe set, and the networks its law is fitted on.

    pip install -r models/requirements.txt
    python models/fashion_mnist.py            # resumes: a training that is done is not done again
    python models/fit_law.py                  # then measures the networks and fits the law

The bundled run uses seed 0; the law's networks use seed 1 and, mostly, other architectures.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

import onnx_file

HERE = Path(__file__).parent
MEAN, STD = 0.2860, 0.3530  # of the 60,000 training images, pixels in [0, 1]
BATCH = 100


def read_idx(path: Path) -> np.ndarray:
    """An unsigned-byte IDX file, gzipped."""
    data = gzip.decompress(path.read_bytes())
    rank = struct.unpack(">HBB", data[:4])[2]
    sizes = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(sizes)


def load(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, 28, 28] and labels [n] of `train` or `t10k`."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    return images, read_idx(folder / f"{part}-labels-idx1-ubyte.gz")


def normalised(images: np.ndarray) -> Tensor:
    """[n, 28, 28] bytes to [n, 1, 28, 28] floats as the networks see them."""
    return ((torch.from_numpy(images.copy()).float() / 255 - MEAN) / STD).unsqueeze(1)


def conv(inputs: int, outputs: int, stride: int = 1, norm: bool = False) -> nn.Sequential:
    """A 3 x 3 convolution with ReLU, and batch norm between them if wanted."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU())


class Residual(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv(inputs, outputs, stride, norm=True)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


def cnn(width: int) -> nn.Module:
    """Three convolutions and a linear read-out."""
    body = (conv(1, width), conv(width, 2 * width, 2), conv(2 * width, 3 * width, 2))
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(3 * width * 49, 10))


def lenet() -> nn.Module:
    """LeNet-5 with ReLU and max pooling."""
    first = (nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
    last = (nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    return nn.Sequential(*first, nn.Flatten(), *last)


def vgg() -> nn.Module:
    """A small VGG with batch norm."""
    first = (conv(1, 16, norm=True), conv(16, 16, norm=True), nn.MaxPool2d(2), conv(16, 32, norm=True), nn.MaxPool2d(2))
    return nn.Sequential(*first, conv(32, 64, norm=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def resnet() -> nn.Module:
    """A small residual network."""
    blocks = (Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2))
    return nn.Sequential(conv(1, 16, 2, norm=True), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mlp(depth: int) -> nn.Module:
    """Fully connected, `depth` hidden layers of 128."""
    sizes = [784] + [128] * depth
    hidden = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(128, 10))


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "cnn": lambda: cnn(16),
    "cnn-wide": lambda: cnn(32),
    "lenet": lenet,
    "vgg-small": vgg,
    "resnet-small": resnet,
    "mlp2": lambda: mlp(2),
    "mlp4": lambda: mlp(4),
}


@torch.no_grad()
def error(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that are misclassified."""
    network.eval()
    wrong = sum(
        int((network(x).argmax(1) != y).sum().item())
        for x, y in zip(torch.split(images, 500), torch.split(labels, 500), strict=True)
    )
    network.train()
    return wrong / len(labels)


def export(network: nn.Module, path: Path, properties: dict[str, object]) -> None:
    """Writes the network with its metadata; the file appears whole or not at all."""
    network.eval()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        onnx_file.export(network, torch.zeros(2, 1, 28, 28), file)
        model = onnx_file.without_notes(onnx.load(file))
    network.train()
    onnx.helper.set_model_props(model, {f"relstab.{key}": str(value) for key, value in properties.items()})
    temporary = path.with_suffix(".tmp")
    onnx.save(model, temporary)
    temporary.rename(path)


def train(
    architecture: str,
    seed: int,
    size: int,
    epochs: int,
    checkpoints: int,
    folder: Path,
    mark: Path,
    data: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    """Trains one network with Adam and a cosine schedule; exports at step 0 and at log-spaced steps up to the last."""
    if mark.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    images, labels = data["train"]
    chosen = rng.permutation(len(labels))[:size]
    x, y = normalised(images[chosen]), torch.from_numpy(labels[chosen].astype(np.int64))
    test_x, test_y = normalised(data["t10k"][0]), torch.from_numpy(data["t10k"][1].astype(np.int64))
    network = ARCHITECTURES[architecture]()
    total = epochs * (size // BATCH)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total)
    exports = {0, *(int(step) for step in np.geomspace(30, total, checkpoints - 1).round())}
    started = time.time()
    order = np.empty(0, np.int64)
    for step in range(total + 1):
        if step in exports:
            known = error(network, test_x, test_y)
            properties = {
                "step": step,
                "epoch": round(step * BATCH / size, 3),
                "val_error": known,
                "train_size": size,
                "mean": MEAN,
                "std": STD,
                "architecture": architecture,
                "seed": seed,
                "data_set": "fashionmnist",
            }
            export(network, folder / f"step={step:06}.onnx", properties)
            print(f"{folder.name} step {step}: error {known:.4f}, {time.time() - started:.0f} s", flush=True)
        if len(order) < BATCH:
            order = rng.permutation(size)
        batch, order = torch.from_numpy(order[:BATCH].copy()), order[BATCH:]
        loss = nn.functional.cross_entropy(network(x[batch]), y[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step < total:
            schedule.step()
    mark.touch()


def write_probe(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """500 test images, 50 of each class, with labels."""
    rng = np.random.default_rng(0)
    chosen = np.concatenate([rng.permutation(np.flatnonzero(labels == k))[:50] for k in range(10)])
    chosen = rng.permutation(chosen)
    np.savez_compressed(path, images=images[chosen], labels=labels[chosen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="folder of the IDX files"
    )
    parser.add_argument("--out", type=Path, default=HERE / "build", help="folder for the law's networks")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    data = {part: load(arguments.data, part) for part in ("train", "t10k")}
    bundled = HERE / "fashion-mnist-cnn"
    arguments.out.mkdir(exist_ok=True)
    train("cnn", 0, 60_000, 10, 11, bundled, arguments.out / "bundled.done", data)
    write_probe(bundled / "probe.npz", *data["t10k"])
    for architecture in ARCHITECTURES:
        for size, epochs in ((3_000, 60), (15_000, 16), (60_000, 5)):
            folder = arguments.out / f"{architecture}-{size}"
            train(architecture, 1, size, epochs, 6, folder, folder / "done", data)


if __name__ == "__main__":
    main()
