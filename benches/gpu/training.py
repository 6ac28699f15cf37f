"""A training that owns the card, timed; checkpoints appear in a run's directory while it goes on."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from bench_networks import NETWORKS


def train(device: str, seconds: float, batch: int, run: Path, checkpoint: bytes) -> list[float]:
    """Times of the steps after the first few; a checkpoint a tenth of the time, each with a note of its own."""
    torch.manual_seed(0)
    network = NETWORKS["cifar_resnet18"][0]().to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    images, labels = torch.rand(batch, 3, 32, 32, device=device), torch.randint(0, 10, (batch,), device=device)
    times: list[float] = []
    began = last = time.perf_counter()
    written = 0
    while last - began < seconds:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        if last - began > seconds * written / 10:
            (run / "temporary").write_bytes(checkpoint + note(str(written)))
            os.replace(run / "temporary", run / f"step_{written:06}.onnx")
            written += 1
        now = time.perf_counter()
        times.append(now - last)
        last = now
    return times[min(10, len(times) // 2) :]


def note(text: str) -> bytes:
    """One more entry of metadata: protobuf messages merge when concatenated."""
    entry = b"\x0a\x04note\x12" + bytes([len(text)]) + text.encode()
    return b"\x72" + bytes([len(entry)]) + entry


if __name__ == "__main__":
    device, seconds, batch, checkpoint, run = sys.argv[1:]
    print(json.dumps(train(device, float(seconds), int(batch), Path(run), Path(checkpoint).read_bytes())))
