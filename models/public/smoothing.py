"""What label smoothing does to EI: a small convolutional network on scikit-learn's digits, enlarged to 28 pixels, trained with several
strengths of it and measured.

    python models/public/smoothing.py --relstab target/release/relstab

A table in Markdown. The error is that on the digits that training left out, which are the probe images too.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from measure import measured
from sklearn.datasets import load_digits
from torch import nn

STRENGTHS = (0.0, 0.1, 0.3)
SEEDS, EPOCHS, TRAINED_ON = 2, 15, 900


def trained(images: torch.Tensor, labels: torch.Tensor, strength: float, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    convolutions = (nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 5, stride=2), nn.ReLU())
    network = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16 * 16, 10))
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    loss = nn.CrossEntropyLoss(label_smoothing=strength)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(50):
            optimiser.zero_grad()
            loss(network(images[batch]), labels[batch]).backward()
            optimiser.step()
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relstab", default="relstab", help="the command")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    images, labels = nn.functional.interpolate(images, size=28, mode="bilinear"), torch.tensor(digits.target)
    order = torch.randperm(len(images))
    train, test = order[:TRAINED_ON], order[TRAINED_ON:]
    print("| label smoothing | seed | error | R_f | confidence | 1 - EI |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        probe, model = Path(folder) / "digits.npz", Path(folder) / "digits" / "model.onnx"
        model.parent.mkdir()
        shown = (images[test].numpy().transpose(0, 2, 3, 1) * 255).round().astype(np.uint8)
        np.savez(probe, images=shown, labels=labels[test].numpy())
        for strength in STRENGTHS:
            for seed in range(SEEDS):
                network = trained(images[train], labels[train], strength, seed)
                error = (network(images[test]).argmax(1) != labels[test]).float().mean().item()
                torch.onnx.export(
                    network, (images[:2],), model, dynamo=False, dynamic_axes={"x": {0: "n"}}, input_names=["x"]
                )
                found = measured(arguments.relstab, model, probe, ["--mean", "0", "--std", "1"])
                if "refused" in found:
                    raise SystemExit(str(found["refused"]))
                r_f, sure, invariance = (
                    float(str(found[key])) for key in ("r_f", "confidence_clean", "invariance_deformed")
                )
                print(
                    f"| {strength} | {seed} | {error:.3f} | {r_f:.3f} | {sure:.3f} | {1 - invariance:.3f} |", flush=True
                )


if __name__ == "__main__":
    main()
