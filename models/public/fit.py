"""Fits laws `error = a (1 - EI)^b` to tables that measure.py wrote, and tries each on networks that it was not fitted on.

    python models/public/fit.py                                           # tables in Markdown
    python models/public/fit.py --laws src/predict/invariance.json        # and the laws, which relstab ships

Tables of our own networks (--zoo) give a law to data sets that have none yet; they do not count in the law over data sets. There the
networks of one architecture have in common what those of one repository have elsewhere.

In a law of one data set the error is proportional to 1 - EI. Slopes fitted to each data set lie about one standard error from 1
(they are printed), and predict networks that were left out less well. The height has a random effect of the repository: what
one group of people trains has more in common than what several do, and a new network is of another group. Both variances are
estimated by restricted maximum likelihood; the interval counts their sum, with Satterthwaite's degrees of freedom.

The law over data sets is a hierarchical line: each set has a height and a slope of its own, normal about common ones. How far sets
lie from each other is unknown: standard deviations with half-normal priors, of scale PRIOR_HEIGHT in log error at 1 - EI = CENTRE
and of scale PRIOR_SLOPE in the slope. It is integrated over a grid; what a set that was not seen has is then summed up as the
Bayesian line of relstab (normal-inverse-gamma, DEGREES degrees of freedom) of the same mean and covariance, so that known errors
update it.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

HERE = Path(__file__).parent
CENTRE = 0.3
PRIOR_HEIGHT = 0.7  # data sets lie within a factor of 2 of each other, or so
PRIOR_SLOPE = 0.25
DEGREES = 10.0
SLOPE = 1.0  # of a law of one data set
LEVEL = 0.9
FEWEST = 6  # networks of a data set that has a law of its own
FEWEST_CLASSES = 2  # of a part of a data set on which the law over data sets was tried, and held (grouped.py)
KNOWN, REPETITIONS = 4, 1000

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
class Spread:
    """A law of one data set, as relstab applies it to a network of a repository that is not among those it was fitted on."""

    coefficients: Floats
    noise: float
    degrees: float

    @classmethod
    def of(cls, points: Points) -> Spread:
        """Restricted maximum likelihood over the ratio of the variance between repositories to that within."""
        parts = [part.y - SLOPE * part.x for part in points.parts(repository).values()]
        count, groups = len(points), len(parts)
        found = []
        for ratio in np.concatenate([[0.0], np.geomspace(0.01, 100, 200)] if groups < count else [[0.0]]):
            weights = [1 / (1 + ratio * len(y)) for y in parts]
            sums = [(weight * len(y), weight * y.sum()) for weight, y in zip(weights, parts, strict=True)]
            precision, moment = map(sum, zip(*sums, strict=True))
            height = moment / precision
            squares = sum(y @ y - ratio * weight * y.sum() ** 2 for weight, y in zip(weights, parts, strict=True))
            within = float(squares - height * moment) / (count - 1)
            fit = (count - 1) * math.log(within) - sum(map(math.log, weights)) + math.log(precision)
            found.append((fit, ratio, within, height))
        _, ratio, within, height = min(found)
        between = ratio * within
        degrees = float(count - 1)
        if between > 0:
            uncertain = between**2 / (groups - 1) + within**2 / max(count - groups, 1)
            degrees = min(degrees, (between + within) ** 2 / uncertain)
        return cls(np.array([height, SLOPE]), math.sqrt(between + within), degrees)

    def predict(self, x: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
        """As src/predict/law.rs does without a posterior."""
        width = quantile(self.degrees, level) * self.noise * math.sqrt(1 + 1 / (self.degrees + 2))
        return self.coefficients[0] + self.coefficients[1] * x, np.full_like(x, width)


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
        return np.log([float(row["error"]) for row in self.rows])

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


def hierarchical(points: Points) -> Line:
    """What is known of a data set that is not among these."""
    tau, omega, sigma = (
        axis.ravel()
        for axis in np.meshgrid(
            np.linspace(0.02, 3, 60) * PRIOR_HEIGHT,
            np.linspace(0.02, 3, 24) * PRIOR_SLOPE,
            np.exp(np.linspace(math.log(0.05), math.log(0.8), 40)),
            indexing="ij",
        )
    )
    centre = math.log(CENTRE)
    between = np.zeros((len(tau), 2, 2))
    between[:, 0, 0], between[:, 1, 1] = tau**2, omega**2
    precision, moments = np.zeros((len(tau), 2, 2)), np.zeros((len(tau), 2))
    # Of the priors: half-normal, and 1 / sigma, which the grid's even steps in log sigma are.
    log_weight = -0.5 * (tau / PRIOR_HEIGHT) ** 2 - 0.5 * (omega / PRIOR_SLOPE) ** 2
    for mine in points.parts(data_set).values():
        rows, y = np.stack([np.ones(len(mine)), mine.x - centre], 1), mine.y
        a, v, q, noise = rows.T @ rows, rows.T @ y, float(y @ y), sigma[:, None, None] ** 2
        m = between @ np.linalg.inv(noise * np.eye(2) + a @ between)
        precision += (a - a @ m @ a) / noise
        moments += (v - (a @ m) @ v) / sigma[:, None] ** 2
        log_weight -= 0.5 * (q - np.einsum("i,gij,j->g", v, m, v)) / sigma**2 + len(mine) * np.log(sigma)
        log_weight -= 0.5 * np.linalg.slogdet(np.eye(2) + between @ a / noise)[1]
    common = np.linalg.inv(precision)
    means = np.einsum("gij,gj->gi", common, moments)
    log_weight += 0.5 * np.einsum("gi,gi->g", means, moments) - 0.5 * np.linalg.slogdet(precision)[1]
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = weight @ means
    off = means - mean
    covariance = np.einsum("g,gij->ij", weight, common + between) + np.einsum("g,gi,gj->ij", weight, off, off)
    variance = float(weight @ sigma**2)
    # Back from 1 - EI = CENTRE to 1 - EI = 1.
    shift = np.array([[1.0, -centre], [0.0, 1.0]])
    mean, covariance = shift @ mean, shift @ covariance @ shift.T
    line = variance * np.linalg.inv(covariance)
    squares = float(mean @ line @ mean) + (DEGREES - 2) * variance
    return Line(line, line @ mean, squares, DEGREES)


@dataclass(frozen=True)
class Tried:
    """How networks were predicted that a line was not fitted on."""

    off: Floats
    half_width: Floats

    @classmethod
    def of(cls, line: Line | Spread, points: Points) -> Tried:
        predicted, half_width = line.predict(points.x)
        return cls(points.y - predicted, half_width)

    @classmethod
    def all(cls, tried: list[Tried]) -> Tried:
        return cls(np.concatenate([one.off for one in tried]), np.concatenate([one.half_width for one in tried]))

    def __str__(self) -> str:
        holds = np.abs(self.off) <= self.half_width
        return f"{len(self.off)} | {np.abs(self.off).mean():.3f} | {holds.mean():.0%} | {np.exp(self.half_width.mean()):.2f}"


def left_out(points: Points, key: Callable[[Row], str], fit: Callable[[Points], Spread]) -> Tried:
    return Tried.all([Tried.of(fit(points.without(part)), part) for part in points.parts(key).values()])


def ranked(x: Floats, y: Floats) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (x, y)]
    return float(np.corrcoef(*ranks)[0, 1])


def calibrated(prior: Line, points: Points, seed: int = 0) -> tuple[Tried, float]:
    """All others of a data set, from a few known ones drawn at random; and how far off least squares is on the same."""
    random = np.random.default_rng(seed)
    tried, least_squares = [], []
    for _ in range(REPETITIONS):
        known = Points([points.rows[index] for index in random.permutation(len(points))[:KNOWN]])
        others = points.without(known)
        tried.append(Tried.of(prior.updated(known.x, known.y), others))
        least_squares.append(np.abs(others.y - known.line().predict(others.x)[0]).mean())
    return Tried.all(tried), float(np.mean(least_squares))


def law(name: str, line: Line | Spread, points: Points, about: str) -> dict[str, Any]:
    a, b = line.coefficients
    kinds = Counter(row["kind"] for row in points.rows)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return {
        "name": name,
        "terms": ["invariance_deformed"],
        "a": rounded(math.exp(a), round),
        "b": rounded(b, round),
        "sd_log": rounded(line.noise, round),
        "points": len(points),
        **({"degrees": rounded(line.degrees, round)} if isinstance(line, Spread) else {}),
        "range": points.range,
        "sd_measured": rounded(points.spread, round),
        "classes": 10,
        "cutoff": 3,
        "delta": 1.0,
        "interpolation": "bilinear",
        "estimator": "coordinate_median",
        "side": float(points.rows[0]["side"]),
        "source": f"{about} (models/public); by training: {told}",
    }


def laws(points: Points, zoo: Points) -> list[dict[str, Any]]:
    """Those of single data sets, then the one over all."""
    made: dict[str, dict[str, Any]] = {}
    kinds = (
        (points, "public networks of {} repositories for {}, by others"),
        (zoo, "checkpoints of {} architectures of our training zoo (models/zoo --fashion) for {}"),
    )
    for networks, told in kinds:
        for mine in networks.parts(data_set).values():
            data, pixels = mine.rows[0]["data_set"], mine.rows[0]["pixels"]
            name = f"{data}-invariance" if pixels == "original" else f"{data}-{pixels}-invariance"
            if len(mine) >= FEWEST and name not in made:
                of = told.format(len(mine.parts(repository)), data)
                made[name] = law(name, Spread.of(mine), mine, f"{len(mine)} {of}, measured on {pixels} images")
    line = hierarchical(points)
    sets = points.parts(data_set)
    told = ", ".join(f"{len(mine)} for {name}" for name, mine in sets.items())
    over = law(
        "invariance", line, points, f"public networks by others, {told}: a line for each, and how far these lie apart"
    )
    sides = [float(row["side"]) for row in points.rows]
    over["sets"] = {
        "names": list(sets),
        "prior": PRIOR_HEIGHT,
        "classes": [FEWEST_CLASSES, max(int(row["classes"]) for row in points.rows)],
        "sides": [min(sides), max(sides)],
    }
    over["posterior"] = {
        "precision": line.precision.tolist(),
        "moments": line.moments.tolist(),
        "squares": line.squares,
        "degrees": line.degrees,
    }
    return [*made.values(), over]


def table(title: str, header: str, lines: list[str]) -> None:
    print(f"## {title}\n\n| {header} |\n|{'---|' * len(header.split('|'))}")
    for line in lines:
        print(f"| {line} |")
    print()


def report(points: Points) -> None:
    sets = points.parts(data_set)
    own, few, over, slopes = [], [], [], []
    columns = "networks | mean absolute log error | 90% intervals that hold | their factor"
    for name, mine in sets.items():
        rest = points.without(mine)
        if rest.rows:
            over.append((name, Tried.of(hierarchical(rest), mine)))
        if len(mine) < FEWEST:
            continue
        by = {"repository": repository, "network": lambda row: row["name"]}
        line = mine.line()
        error = line.noise * math.sqrt(np.linalg.inv(line.precision)[1, 1])
        slopes.append(f"{name} | {len(mine)} | {line.coefficients[1]:.2f} | {error:.2f}")
        rank = f"{ranked(mine.x, mine.y):.2f}"
        for what, key in by.items():
            if len(mine) - max(len(part) for part in mine.parts(key).values()) >= FEWEST - 1:
                own.append(f"{name} | {what} | {left_out(mine, key, Spread.of)} | {rank}")
        if rest.rows:
            tried, least_squares = calibrated(hierarchical(rest), mine)
            few.append(f"{name} | {tried} | {least_squares:.3f}")
    table("A slope for each data set, by least squares", "data set | networks | slope | standard error", slopes)
    table("Each data set's law, on networks left out", f"data set | by | {columns} | rank correlation", own)
    table(
        "The law over data sets, on a set left out",
        f"data set | {columns}",
        [f"{name} | {tried}" for name, tried in over],
    )
    if over:
        print(f"All of them: {Tried.all([tried for _, tried in over])}\n")
    table(
        f"From the law over the other data sets, with {KNOWN} known networks at random ({REPETITIONS:,} times)",
        f"data set | {columns} | least squares alone",
        few,
    )


def read(path: Path) -> list[Row]:
    with open(path, newline="") as file:
        return [row for row in csv.DictReader(file) if row["invariance_deformed"] and float(row["error"]) > 0]


def read_zoo(path: Path) -> list[Row]:
    """The trained checkpoints of a table of models/zoo."""
    about = {"pixels": "original", "kind": "plain, six epochs at most", "side": "28", "classes": "10"}
    return [{**row, **about, "repository": row["architecture"]} for row in read(path) if int(row["step"]) > 0]


def tried_zoo(zoo: Points, points: Points) -> None:
    """A law of our own networks on architectures left out, and on what others trained."""
    lines = []
    for name, mine in zoo.parts(data_set).items():
        lines.append(f"{name} | one architecture | {left_out(mine, repository, Spread.of)}")
        others = Points([row for row in points.rows if data_set(row) == name])
        if others.rows:
            lines.append(f"{name} | all of them, on public networks | {Tried.of(Spread.of(mine), others)}")
    columns = "networks | mean absolute log error | 90% intervals that hold | their factor"
    table("Laws of our own networks", f"data set | left out | {columns}", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="*", default=[HERE / "networks.csv"])
    parser.add_argument(
        "--zoo",
        type=Path,
        nargs="*",
        default=[HERE.parent / "zoo" / "fashionmnist.csv"],
        help="tables of our own networks",
    )
    parser.add_argument("--laws", type=Path, metavar="FILE", help="write the laws that relstab ships")
    arguments = parser.parse_args()
    points = Points(list(itertools.chain.from_iterable(read(path) for path in arguments.tables)))
    zoo = Points(list(itertools.chain.from_iterable(read_zoo(path) for path in arguments.zoo)))
    report(points)
    tried_zoo(zoo, points)
    found = laws(points, zoo)
    for one in found:
        print(
            f"{one['name']}: {one['a']} (1 - EI)^{one['b']}, sd {one['sd_log']}, n {one['points']}, {one['range']}: {one['source']}"
        )
    if arguments.laws:
        arguments.laws.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
