"""What the hook costs a training: whole-loop time with a checkpoint after each epoch over the time without.

`python hooks/benches/cost.py` (a minute) or `--full` (about 20 minutes); on all cores, daemon niced on the same.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import relstab
import relstab.torch
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

AfterEpoch = Callable[[nn.Module, int], object]


def network() -> nn.Module:
    """10 MB of weights."""
    layers: list[nn.Module] = []
    for narrow, wide in ((1, 64), (64, 128), (128, 256), (256, 512)):
        layers += [nn.Conv2d(narrow, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 4, 480), nn.ReLU(), nn.Linear(480, 10))


def train(images: Tensor, labels: Tensor, epochs: int, repeats: int, after_epoch: AfterEpoch) -> float:
    """Seconds for all epochs, each of `repeats` passes over the images."""
    torch.manual_seed(0)
    model = network()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    began = time.perf_counter()
    for epoch in range(1, epochs + 1):
        for _ in range(repeats):
            for batch in torch.randperm(len(images)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
                optimiser.step()
        after_epoch(model, epoch)
    return time.perf_counter() - began


def hooked(images: Tensor, labels: Tensor, run: Path, kind: str, epochs: int, repeats: int) -> float:
    """The same with the hook, its setup included."""
    began = time.perf_counter()
    monitor = relstab.torch.Monitor(run, probe=images[1200:])
    daemon = relstab.start(run, nice=19) if kind == "hook and daemon" else None
    setup = time.perf_counter() - began

    def checkpoint(model: nn.Module, epoch: int) -> None:
        monitor.checkpoint(model, step=epoch)

    seconds = setup + train(images[:1200], labels[:1200], epochs, repeats, checkpoint)
    monitor.close()
    if daemon:
        daemon.stop()
    return seconds


def main(epochs: int, repeats: int, rounds: int) -> None:
    digits = load_digits()
    images = nn.functional.interpolate(torch.tensor(digits.images / 16, dtype=torch.float32)[:, None], size=32)
    labels = torch.tensor(digits.target)
    megabytes = sum(tensor.numel() for tensor in network().state_dict().values()) * 4 / 1e6
    times: dict[str, list[float]] = {"without": [], "hook alone": [], "hook and daemon": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            times["without"].append(train(images[:1200], labels[:1200], epochs, repeats, lambda *_: None))
            for kind in ("hook alone", "hook and daemon"):
                times[kind].append(hooked(images, labels, Path(folder) / f"{kind} {number}", kind, epochs, repeats))
    base = min(times["without"])
    print(
        f"{megabytes:.1f} MB of weights, {epochs} epochs of {base / epochs:.1f} s, best of {rounds}, {torch.get_num_threads()} cores"
    )
    for kind, taken in times.items():
        print(f"{kind:<16} {min(taken):7.1f} s  {min(taken) / base:.3f}")


if __name__ == "__main__":
    if "--full" in sys.argv:
        main(epochs=8, repeats=5, rounds=2)
    else:
        main(epochs=3, repeats=1, rounds=1)
