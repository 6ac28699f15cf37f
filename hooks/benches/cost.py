"""What the hook costs a training: the time of epochs after a checkpoint over that of epochs without one, in one loop.

The two kinds of epochs alternate as A B B A, so that a machine whose speed drifts slows both. The setup and the first
checkpoint, which traces the network, count among the former. `python hooks/benches/cost.py`, or `--full` (10 minutes).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import relstab
import relstab.torch
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn


def network() -> nn.Module:
    """10 MB of weights."""
    layers: list[nn.Module] = []
    for narrow, wide in ((1, 64), (64, 128), (128, 256), (256, 512)):
        layers += [nn.Conv2d(narrow, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 4, 480), nn.ReLU(), nn.Linear(480, 10))


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(images: Tensor, labels: Tensor, run: Path, with_daemon: bool, rounds: int, repeats: int) -> None:
    """Trains 4 x `rounds` epochs, each of `repeats` passes over the images, half of them after a checkpoint."""
    torch.manual_seed(0)
    model = network()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)

    def epoch() -> None:
        for _ in range(repeats):
            for batch in torch.randperm(len(images)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
                optimiser.step()

    epoch()
    began = time.perf_counter()
    monitor = relstab.torch.Monitor(run, probe=images[:500])
    daemon = relstab.start(run, nice=19) if with_daemon else None
    setup = time.perf_counter() - began
    calls: list[float] = []
    hooked: list[float] = []
    plain: list[float] = []
    for _ in range(rounds):
        for has_checkpoint in (True, False, False, True):
            if not has_checkpoint:
                plain.append(timed(epoch))
                continue
            calls.append(timed(lambda: monitor.checkpoint(model, step=len(calls))))
            hooked.append(calls[-1] + timed(epoch))
    ratio = (setup + sum(hooked)) / sum(plain)
    pairs = median(a / b for a, b in zip(hooked[1:], plain[1:], strict=True))
    print(
        f"{'hook and daemon' if with_daemon else 'hook alone':<16} {ratio:.3f} of the time without"
        f" ({len(plain)} epochs of {median(plain):.1f} s); median epoch {pairs:.3f};"
        f" setup {setup:.2f} s, first checkpoint {calls[0]:.2f} s, later ones {1000 * median(calls[1:]):.1f} ms"
    )
    monitor.close()
    if daemon:
        daemon.stop()


def main(rounds: int, repeats: int) -> None:
    digits = load_digits()
    images = nn.functional.interpolate(torch.tensor(digits.images / 16, dtype=torch.float32)[:, None], size=32)
    labels = torch.tensor(digits.target)
    megabytes = sum(tensor.numel() for tensor in network().state_dict().values()) * 4 / 1e6
    print(f"{megabytes:.1f} MB of weights, a checkpoint each epoch, {torch.get_num_threads()} cores")
    with tempfile.TemporaryDirectory() as folder:
        for with_daemon in (False, True):
            measure(images, labels, Path(folder) / str(with_daemon), with_daemon, rounds, repeats)


if __name__ == "__main__":
    main(*((6, 4) if "--full" in sys.argv else (1, 1)))
