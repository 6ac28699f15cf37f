"""Networks of a table with their known errors, and the line that predicts an error from 1 - EI."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).parent
LEVEL = 0.9
# Networks that count once: these are others of the table again, with a ReLU behind the output, or in 8 bits.
COPIES = {"eran_relu_9_200", "tiny_resnet8_int8_float_io", "tiny_resnet8_int8_tflite"}

Row = dict[str, str]
Floats = npt.NDArray[np.float64]


def quantile(degrees: float, level: float = LEVEL) -> float:
    """Half the width of Student's interval: Cornish-Fisher's series, to three digits from 4 degrees on."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )


@dataclass(frozen=True)
class Line:
    """Normal-inverse-gamma, as src/predict/linear.rs has it."""

    precision: Floats
    moments: Floats
    squares: float
    degrees: float

    @classmethod
    def vague(cls) -> Line:
        return cls(np.zeros((2, 2)), np.zeros(2), 0.0, -2.0)

    def updated(self, x: Floats, y: Floats) -> Line:
        rows = np.stack([np.ones_like(x), x], 1)
        return Line(
            self.precision + rows.T @ rows,
            self.moments + rows.T @ y,
            self.squares + float(y @ y),
            self.degrees + len(x),
        )

    @property
    def coefficients(self) -> Floats:
        return np.linalg.solve(self.precision, self.moments)

    @property
    def noise(self) -> float:
        return float(np.sqrt((self.squares - self.coefficients @ self.moments) / self.degrees))

    def predict(self, x: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
        """Log errors and half-widths of the intervals of new networks."""
        rows = np.stack([np.ones_like(x), x], 1)
        inflation = 1 + np.einsum("ij,jk,ik->i", rows, np.linalg.inv(self.precision), rows)
        return rows @ self.coefficients, quantile(self.degrees, level) * self.noise * np.sqrt(inflation)


@dataclass(frozen=True)
class Points:
    """Networks of one table, or of a part of it."""

    rows: list[Row]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def x(self) -> Floats:
        return np.log([1 - float(row["invariance_deformed"]) for row in self.rows])

    @property
    def y(self) -> Floats:
        # Of a count of few, half of one more: it may be none.
        counted = [(wrong(row) + 0.5) / (int(row["images"]) + 1) for row in self.rows]
        known = [float(row["error"]) for row in self.rows]
        return np.log([few if is_part(row) else all_ for row, few, all_ in zip(self.rows, counted, known, strict=True)])

    @property
    def counted(self) -> Floats:
        """Variances of log errors that were counted on the images of a part; 0 of those known from a whole test set."""
        return np.array([1 / (wrong(row) + 0.5) if is_part(row) else 0.0 for row in self.rows])

    @property
    def spread(self) -> float:
        """Standard deviation of log (1 - EI) over images, root mean square over networks."""
        ends = np.array([[float(row[f"invariance_deformed_{end}"]) for end in ("low", "high")] for row in self.rows])
        logs = np.log(1 - ends)
        return float(np.sqrt(np.mean(((logs[:, 0] - logs[:, 1]) / (2 * NormalDist().inv_cdf(0.975))) ** 2)))

    @property
    def range(self) -> tuple[float, float]:
        return rounded(math.exp(self.x.min()), math.floor), rounded(math.exp(self.x.max()), math.ceil)

    def parts(self, key: Callable[[Row], str]) -> dict[str, Points]:
        names = sorted({key(row) for row in self.rows})
        return {name: Points([row for row in self.rows if key(row) == name]) for name in names}

    def without(self, other: Points) -> Points:
        return Points([row for row in self.rows if row not in other.rows])

    def with_all(self, others: Points) -> Points:
        return Points(self.rows + others.rows)

    def line(self) -> Line:
        return Line.vague().updated(self.x, self.y)


def rounded(value: float, towards: Callable[[float], int]) -> float:
    scale = 10 ** (3 - math.floor(math.log10(value)))
    return towards(value * scale) / scale


def data_set(row: Row) -> str:
    """Networks that have an error in common: of one data set, and of one kind of copies of its images."""
    return row["data_set"] if row["pixels"] == "original" else f"{row['data_set']}, {row['pixels']}"


def repository(row: Row) -> str:
    """Whose network it is."""
    return row["repository"]


def is_part(row: Row) -> bool:
    """Whether it was measured on a part of a data set (groups.py)."""
    return "/" in row["data_set"]


def is_half(row: Row) -> bool:
    """Whether that part is all images at half their side."""
    return row["data_set"].endswith("/half")


def whole(row: Row) -> str:
    """The data set that a part is of."""
    return data_set({**row, "data_set": row["data_set"].split("/")[0]})


def wrong(row: Row) -> int:
    """Images that the network gets wrong."""
    return round(float(row["error"]) * int(row["images"]))


def read(path: Path) -> list[Row]:
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["invariance_deformed"] and row.get("name") not in COPIES]
    return [row for row in rows if is_part(row) or float(row["error"]) > 0]
