"""Measures the networks that fashion_mnist.py trained and fits the bundled run's law to them.

    python models/fit_law.py --relstab target/release/relstab

Writes fashion-mnist-law.csv (every network) and prints the [law] table for fashion-mnist-cnn/relstab.toml.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
FIELDS = ["architecture", "seed", "train_size", "step", "epoch", "error", "r_f", "low", "high", "d_f", "g_f"]
# The bundled run is a plain strided convolutional network. Networks that pool, normalise batches or are fully connected
# follow no common law with it while they train (README.md has the numbers), so the law is that of its own kind.
FAMILY = ("cnn", "cnn-wide")


def measured(relstab: str, model: Path, probe: Path) -> dict[str, object]:
    """One row of the table."""
    command = [relstab, "measure", str(model), "--probe", str(probe), "--format", "json"]
    record = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    about, r_f = record["metadata"], record["r_f"]
    return {
        **{key: about[key] for key in FIELDS[:5]},
        "error": about["val_error"],
        "r_f": r_f["value"],
        "low": r_f["low"],
        "high": r_f["high"],
        "d_f": record["d_f"]["value"],
        "g_f": record["g_f"]["value"],
    }


def near_initial(row: dict[str, object]) -> bool:
    """Whether a network is left out of the fit: it is untrained, or its R_f cannot be told from 1. (relstab itself predicts by other rules:
    it refuses a network that answers like an untrained one.)"""
    low, value, high = (float(str(row[key])) for key in ("low", "r_f", "high"))
    return row["step"] == 0 or abs(np.log(value)) <= np.log(1.25) or low <= 1 <= high


def fit(rows: list[dict[str, object]]) -> tuple[float, float, float, float]:
    """a, b, sd and r of `log error = log a + b log R_f`."""
    x, y = (np.log([float(str(row[key])) for row in rows]) for key in ("r_f", "error"))
    b, log_a = np.polyfit(x, y, 1)
    residuals = y - log_a - b * x
    return (
        float(np.exp(log_a)),
        float(b),
        float(np.sqrt((residuals**2).sum() / (len(x) - 2))),
        float(np.corrcoef(x, y)[0, 1]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relstab", default="relstab", help="the command")
    parser.add_argument("--networks", type=Path, default=HERE / "build")
    arguments = parser.parse_args()
    models = sorted(arguments.networks.glob("*/*.onnx"))
    rows = [measured(arguments.relstab, model, HERE / "fashion-mnist-cnn" / "probe.npz") for model in models]
    with open(HERE / "fashion-mnist-law.csv", "w", newline="") as file:
        table = csv.DictWriter(file, FIELDS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)

    trained = [row for row in rows if not near_initial(row)]
    for name, family in (
        ("strided convolutional", FAMILY),
        ("all", None),
        *((name, (name,)) for name in sorted({str(r["architecture"]) for r in rows})),
    ):
        chosen = [row for row in trained if family is None or row["architecture"] in family]
        if len(chosen) > 2:
            a, b, sd, r = fit(chosen)
            print(
                f"# {name}: {len(chosen)} networks, error = {a:.3f} R_f^{b:.3f}, sd(log) {sd:.3f}, r(log, log) {r:.3f}"
            )
    chosen = [row for row in trained if row["architecture"] in FAMILY]
    a, b, sd, _ = fit(chosen)
    stabilities = [float(str(row["r_f"])) for row in chosen]
    print(f"a = {a:.4f}\nb = {b:.4f}\nsd_log = {sd:.4f}\npoints = {len(chosen)}")
    print(f"r_f_min = {min(stabilities):.4f}\nr_f_max = {max(stabilities):.4f}")


if __name__ == "__main__":
    main()
