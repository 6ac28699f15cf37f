"""Fits laws `error = a R_f^b` to numbers that the paper's authors published: `relstab`'s presets DATASET-cC.

    python models/published.py FILE

FILE is a CSV table of single networks with columns file, network, data_set, train_size, cutoff, interpolation, trained, delta,
r_f and error. The fits are over training sets of all sizes (files `*-df-p` and `res-net-df`, bilinear), without EfficientNetB0 at
50,000 images: there R_f rises on all three data sets while the error falls, so these points come from another protocol. The
networks measured at c = 3 and delta 1 are held against the paper's own law.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable

import numpy as np

NETWORKS = {"both": ("resnet18", "efficientnet_b0"), "resnet18": ("resnet18",), "efficientnetb0": ("efficientnet_b0",)}
Row = dict[str, str]


def fit(rows: list[Row]) -> str:
    x, y = (np.log([float(row[key]) for row in rows]) for key in ("r_f", "error"))
    b, log_a = np.polyfit(x, y, 1)
    sd = np.sqrt(((y - log_a - b * x) ** 2).sum() / (len(x) - 2))
    r = np.corrcoef(x, y)[0, 1]
    return (
        f"{len(x)} | {np.exp(log_a):.3f} | {b:.3f} | {sd:.3f} | {r:.3f} | {np.exp(x.min()):.3f}-{np.exp(x.max()):.1f}"
    )


def is_of_another_protocol(row: Row) -> bool:
    return row["network"] == "efficientnet_b0" and row["train_size"] == "50000"


def checked(rows: Iterable[Row]) -> str:
    """How far off 0.2 sqrt(R_f) is."""
    off = np.array([np.log(float(row["error"])) - np.log(0.2 * float(row["r_f"]) ** 0.5) for row in rows])
    return f"{len(off)} networks: log error - log law {off.mean():+.3f}, sd {off.std(ddof=1):.3f}"


def main() -> None:
    with open(sys.argv[1], newline="") as file:
        every = [row for row in csv.DictReader(file) if row["trained"] == "1" and row["interpolation"] == "bilinear"]
    print("| data set | c | networks | n | a | b | sd | r | R_f |\n|---|---|---|---|---|---|---|---|---|")
    swept = [row for row in every if row["file"].endswith("df-p") or row["file"] == "res-net-df"]
    swept = [row for row in swept if not is_of_another_protocol(row)]
    for data_set, cutoff in (("cifar10", "5"), ("fashionmnist", "3"), ("mnist", "3")):
        for name, networks in NETWORKS.items():
            rows = [row for row in swept if row["data_set"] == data_set and row["network"] in networks]
            print(f"| {data_set} | {cutoff} | {name} | {fit([row for row in rows if row['cutoff'] == cutoff])} |")
    at_3 = [row for row in every if row["data_set"] == "cifar10" and row["cutoff"] == "3" and row["delta"] == "1.0"]
    print(f"\nCIFAR-10, c = 3, delta 1, against 0.2 sqrt(R_f): {checked(at_3)}")


if __name__ == "__main__":
    main()
