"""The stored results of the training zoo, as claims need them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from families import family
from fit import ELSEWHERE, Row, grouped, training

HERE = Path(__file__).parent
ZOO, RESULTS = HERE.parent / "zoo", HERE / "results"
DATA_SETS = {"cifar10": "CIFAR-10", "fashionmnist": "Fashion-MNIST"}
CUTOFFS = ("3", "5", "15")
QUANTITIES = {"r_f": "R_f", "d_f_coordinate_median": "D_f", "g_f_coordinate_median": "G_f"}
# Laws from elsewhere at c = 3, delta = 1: the paper's, and the fit to its authors' published numbers.
LAWS = {data_set: (a, b) for data_set, cutoff, a, b in ELSEWHERE if cutoff == "3"}
LARGEST = "16000"
Floats = npt.NDArray[np.float64]


def read(path: Path) -> list[Row]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def column(rows: Iterable[Row], key: str) -> Floats:
    return np.array([float(row[key]) for row in rows])


def families(rows: Iterable[Row]) -> list[str]:
    """Of each network; those of one family have too much in common to be left out, or resampled, one by one."""
    return [family(row) for row in rows]


def small(cutoff: str = "3") -> list[Row]:
    """Every measurement of the size that was run, at one cutoff."""
    return [row for row in read(ZOO / "results.csv") if row["size"] == "small" and row["cutoff"] == cutoff]


def of(rows: Iterable[Row], **wanted: str) -> list[Row]:
    """Rows with these values, ordered by step."""
    mine = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return sorted(mine, key=lambda row: int(row["step"]))


def first(rows: Iterable[Row]) -> list[Row]:
    """Networks before training; training sets share them, so one each."""
    return [row for row in rows if row["step"] == "0" and row["train_size"] == LARGEST]


def final(rows: Iterable[Row], train_size: str | None = LARGEST) -> list[Row]:
    """The last checkpoint of each training, of one training-set size or of all."""
    last = [max(mine, key=lambda row: int(row["step"])) for mine in grouped(rows, training).values()]
    return [row for row in last if train_size in (None, row["train_size"])]


__all__ = ["Row", "grouped", "training"]
