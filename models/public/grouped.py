"""Tries the law over data sets on parts of a data set left out (groups.py), and such parts as further groups of that law.

    python models/public/grouped.py

Each data set has a height of its own, normal about a common one. Each group in it (the whole set, some of its classes, its images at half
the side) has a height and a slope of its own, normal about those of its set. The standard deviations have half-normal priors, as in
fit.py. An error that was counted on few images has the variance of that count. What it gave is in docs/laws.md; the law that ships has no
groups, and its classes are those of the parts on which its intervals held.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import fit
from fit import CENTRE, DEGREES, PRIOR_HEIGHT, PRIOR_SLOPE, Floats, Line, Row, Tried

PRIOR_GROUP = 0.35  # groups of one data set, half as far as data sets
COLUMNS = "networks | mean absolute log error | 90% intervals that hold | their factor"


def is_group(row: Row) -> bool:
    """Whether it is of a part of a data set."""
    return "/" in row["data_set"]


def wrong(row: Row) -> int:
    """Images that the network gets wrong."""
    return round(float(row["error"]) * int(row["images"]))


def parent(row: Row) -> str:
    """The data set that a group is of."""
    return fit.data_set(row).split("/")[0]


class Groups(fit.Points):
    """Networks on data sets and on parts of them."""

    @property
    def y(self) -> Floats:
        # Of a count of few, half of one more: it may be none.
        counted = [(wrong(row) + 0.5) / (int(row["images"]) + 1) for row in self.rows]
        known = [float(row["error"]) for row in self.rows]
        return np.log(
            [few if is_group(row) else all_ for row, few, all_ in zip(self.rows, counted, known, strict=True)]
        )

    @property
    def counted(self) -> Floats:
        """Variances of log errors that were counted on the images of a group; 0 of those known from a whole test set."""
        return np.array([1 / (wrong(row) + 0.5) if is_group(row) else 0.0 for row in self.rows])


@dataclass
class Known:
    """What rows tell of a height and a slope, at each point of a grid: exp(-b'Ab / 2 + v'b + weight), b the two."""

    precision: Floats
    moments: Floats
    weight: Floats

    @classmethod
    def of(cls, points: Groups, sigma: Floats) -> Known:
        rows, y = np.stack([np.ones(len(points)), points.x - math.log(CENTRE)], 1), points.y
        variance = sigma[:, None] ** 2 + points.counted
        precision = np.einsum("gn,ni,nj->gij", 1 / variance, rows, rows)
        moments = np.einsum("gn,ni,n->gi", 1 / variance, rows, y)
        return cls(precision, moments, -0.5 * (np.log(variance) + y**2 / variance).sum(1))

    @classmethod
    def all(cls, known: list[Known]) -> Known:
        return cls(*(sum(parts[1:], parts[0]) for parts in zip(*(vars(one).values() for one in known), strict=True)))

    def about(self, spread: Floats) -> Known:
        """What they tell of the mean of what they tell of now, which lies about it with the covariance `spread`."""
        a, v = self.precision, self.moments
        scaled = np.eye(2) + a @ spread
        m = spread @ np.linalg.inv(scaled)
        weight = self.weight - 0.5 * np.linalg.slogdet(scaled)[1] + 0.5 * np.einsum("gi,gij,gj->g", v, m, v)
        return Known(a - a @ m @ a, v - np.einsum("gij,gjk,gk->gi", a, m, v), weight)


def hierarchical(points: Groups) -> Line:
    """What is known of a data set that is not among these."""
    sets, groups, slopes, sigma = (
        axis.ravel()
        for axis in np.meshgrid(
            np.linspace(0.02, 3, 30) * PRIOR_HEIGHT,
            np.linspace(0.02, 3, 16) * PRIOR_GROUP,
            np.linspace(0.02, 3, 12) * PRIOR_SLOPE,
            np.exp(np.linspace(math.log(0.05), math.log(0.8), 30)),
            indexing="ij",
        )
    )

    def spread(height: Floats, slope: Floats) -> Floats:
        found = np.zeros((len(height), 2, 2))
        found[:, 0, 0], found[:, 1, 1] = height**2, slope**2
        return found

    between, within = spread(sets, 0 * slopes), spread(groups, slopes)
    known = Known.all(
        [
            Known.all([Known.of(group, sigma).about(within) for group in parted(mine, fit.data_set)]).about(between)
            for mine in parted(points, parent)
        ]
    )
    common = np.linalg.inv(known.precision)
    means = np.einsum("gij,gj->gi", common, known.moments)
    log_weight = known.weight + 0.5 * np.einsum("gi,gi->g", means, known.moments)
    log_weight -= 0.5 * np.linalg.slogdet(known.precision)[1]
    # Of the priors: half-normal, and 1 / sigma, which the grid's even steps in log sigma are.
    for deviation, scale in ((sets, PRIOR_HEIGHT), (groups, PRIOR_GROUP), (slopes, PRIOR_SLOPE)):
        log_weight -= 0.5 * (deviation / scale) ** 2
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = weight @ means
    off = means - mean
    covariance = np.einsum("g,gij->ij", weight, common + between + within) + np.einsum("g,gi,gj->ij", weight, off, off)
    variance = float(weight @ sigma**2)
    # Back from 1 - EI = CENTRE to 1 - EI = 1.
    shift = np.array([[1.0, -math.log(CENTRE)], [0.0, 1.0]])
    mean, covariance = shift @ mean, shift @ covariance @ shift.T
    line = variance * np.linalg.inv(covariance)
    squares = float(mean @ line @ mean) + (DEGREES - 2) * variance
    return Line(line, line @ mean, squares, DEGREES)


def parted(points: Groups, key: Callable[[Row], str]) -> list[Groups]:
    return [Groups(part.rows) for part in points.parts(key).values()]


def read(*names: str) -> list[Row]:
    rows: list[Row] = []
    for name in names:
        with open(fit.HERE / name, newline="") as file:
            rows += [row for row in csv.DictReader(file) if row["invariance_deformed"]]
    return rows


def is_half(row: Row) -> bool:
    """Whether its images have half the side."""
    return row["data_set"].endswith("/half")


def tried_on_parts(whole: list[Row], parts: list[Row]) -> None:
    """The law as it ships, fitted on whole data sets, on the parts of one that it was not fitted on."""
    kinds = {
        "2 classes": lambda row: row["classes"] == "2",
        "4 to 6 classes": lambda row: row["classes"] != "2" and not is_half(row),
        "half the side": is_half,
    }
    lines = []
    for told, is_kind in kinds.items():
        tried = []
        for name in sorted({parent(row) for row in parts}):
            line = fit.hierarchical(fit.Points([row for row in whole if parent(row) != name]))
            mine = Groups([row for row in parts if parent(row) == name and is_kind(row)])
            found = Tried.of(line, mine)
            # The count of errors in a part is uncertain, too.
            counted = fit.quantile(DEGREES) * np.sqrt(mine.counted)
            tried.append(Tried(found.off, np.hypot(found.half_width, counted)))
            lines.append(f"{told} | {name} | {tried[-1]}")
        lines.append(f"{told} | all of them | {Tried.all(tried)}")
    fit.table("The law over whole data sets, on parts of one left out", f"parts | data set | {COLUMNS}", lines)


def main() -> None:
    whole = [row for row in read("networks.csv") if float(row["error"]) > 0]
    parts = read("groups.csv")
    tried_on_parts(whole, parts)
    lines = []
    for told, more in (
        ("none", []),
        ("some classes", [row for row in parts if not is_half(row)]),
        ("some classes, half the side", parts),
    ):
        tried = []
        for name in sorted({parent(row) for row in whole}):
            line = hierarchical(Groups([row for row in whole + more if parent(row) != name]))
            mine = fit.Points([row for row in whole if parent(row) == name])
            tried.append(Tried.of(line, mine))
            lines.append(f"{told} | {name} | {tried[-1]}")
            if len(mine) >= fit.FEWEST:
                lines.append(f"{told} | {name}, {fit.KNOWN} known at random | {fit.calibrated(line, mine)[0]}")
        lines.append(f"{told} | all of them | {Tried.all(tried)}")
    fit.table("The law over data sets with parts of them as groups", f"groups | data set | {COLUMNS}", lines)


if __name__ == "__main__":
    main()
