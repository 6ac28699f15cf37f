"""Fits laws `error = a (1 - EI)^b` to tables that measure.py wrote, and tries each on networks that it was not fitted on.

    python models/public/fit.py                                           # tables in Markdown
    python models/public/fit.py --laws src/predict/invariance.json        # and the laws, which relstab ships

Tables of our own networks (--zoo) give a law to data sets that have none yet; they do not count in the law over data sets. There the
networks of one family of architectures have in common what those of one repository have elsewhere.

In a law of one data set the error is proportional to 1 - EI. Slopes fitted to each data set lie about one standard error from 1
(they are printed). The height has a random effect of the repository: what
one group of people trains has more in common than what several do, and a new network is of another group. Both variances are
estimated by restricted maximum likelihood; the interval counts their sum, with Satterthwaite's degrees of freedom.

The law over data sets is a hierarchical line (hierarchy.py). Parts of data sets (groups.py) are further groups of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hierarchy import PRIOR_HEIGHT, hierarchical
from points import HERE, LEVEL, Floats, Line, Points, Row, data_set, quantile, read, repository, rounded, whole

sys.path.append(str(HERE.parent / "zoo"))
from families import family

SLOPE = 1.0  # of a law of one data set
FEWEST = 6  # networks of a data set that has a law of its own
FEWEST_CLASSES = 2  # of a part of a data set on which the law over data sets was tried, and held (grouped.py)
KNOWN, REPETITIONS = 4, 1000
COLUMNS = "networks | mean absolute log error | 90% intervals that hold | their factor"


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


def calibrated(prior: Line, points: Points, seed: int = 0) -> dict[str, tuple[Tried, float]]:
    """From a few known networks of a data set drawn at random: others of their repositories, and those of other repositories; and
    how far off least squares is on the same."""
    random = np.random.default_rng(seed)
    tried: dict[str, list[tuple[Tried, Floats]]] = {"of the same repositories": [], "of other repositories": []}
    for _ in range(REPETITIONS):
        known = Points([points.rows[index] for index in random.permutation(len(points))[:KNOWN]])
        theirs = {repository(row) for row in known.rows}
        for is_theirs, found in zip((True, False), tried.values(), strict=True):
            others = Points([row for row in points.without(known).rows if (repository(row) in theirs) == is_theirs])
            if others.rows:
                off = np.abs(others.y - known.line().predict(others.x)[0])
                found.append((Tried.of(prior.updated(known.x, known.y), others), off))
    return {
        kind: (Tried.all([one for one, _ in found]), float(np.concatenate([off for _, off in found]).mean()))
        for kind, found in tried.items()
    }


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


def laws(points: Points, parts: Points, zoo: Points) -> list[dict[str, Any]]:
    """Those of single data sets, then the one over all."""
    made: dict[str, dict[str, Any]] = {}
    kinds = (
        (points, "public networks of {} repositories for {}, by others"),
        (zoo, "checkpoints of {} families of architectures of our training zoo (models/zoo) for {}"),
    )
    for networks, told in kinds:
        for mine in networks.parts(data_set).values():
            data, pixels = mine.rows[0]["data_set"], mine.rows[0]["pixels"]
            name = f"{data}-invariance" if pixels == "original" else f"{data}-{pixels}-invariance"
            if len(mine) >= FEWEST and name not in made:
                of = told.format(len(mine.parts(repository)), data)
                made[name] = law(name, Spread.of(mine), mine, f"{len(mine)} {of}, measured on {pixels} images")
    line = hierarchical(points.with_all(parts))
    sets = points.parts(data_set)
    told = ", ".join(f"{len(mine)} for {name}" for name, mine in sets.items())
    groups = len(parts.parts(data_set))
    about = f"public networks by others, {told}, and {groups} parts of these data sets, measured on original images: a line for each, and how far these lie apart"
    over = law("invariance", line, points, about)
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


def without(name: str, points: Points) -> Points:
    """Those that are neither of a data set nor of a part of it."""
    return Points([row for row in points.rows if whole(row) != name])


def report(points: Points, parts: Points) -> None:
    sets = points.parts(data_set)
    own, few, over, slopes = [], [], [], []
    for name, mine in sets.items():
        rest = without(name, points.with_all(parts))
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
            for kind, (tried, least_squares) in calibrated(hierarchical(rest), mine).items():
                few.append(f"{name} | {kind} | {tried} | {least_squares:.3f}")
    table("A slope for each data set, by least squares", "data set | networks | slope | standard error", slopes)
    table("Each data set's law, on networks left out", f"data set | by | {COLUMNS} | rank correlation", own)
    table(
        "The law over data sets, on a set left out",
        f"data set | {COLUMNS}",
        [f"{name} | {tried}" for name, tried in over],
    )
    if over:
        print(f"All of them: {Tried.all([tried for _, tried in over])}\n")
    table(
        f"From the law over the other data sets, with {KNOWN} known networks at random ({REPETITIONS:,} times)",
        f"data set | the rest | {COLUMNS} | least squares alone",
        few,
    )


# Of the data sets that our own networks are for.
OWN = {
    "fashionmnist": {"pixels": "original", "kind": "plain, six epochs at most", "side": "28"},
    "cifar10": {"pixels": "jpeg", "kind": "narrow, 50 epochs at most", "side": "32"},
}


def read_zoo(path: Path) -> list[Row]:
    """The checkpoints of a table of models/zoo that relstab predicts, at c = 3 on the kind of images that they were trained on."""
    trained = [row for row in read(path) if (row["near_initial"], row["cutoff"]) == ("0", "3")]
    return [
        {**row, **OWN[row["data_set"]], "classes": "10", "repository": family(row)}
        for row in trained
        if row.get("probe", "jpeg") == "jpeg"
    ]


def tried_zoo(zoo: Points, points: Points) -> None:
    """A law of our own networks on families left out, and on what others trained."""
    lines = []
    for name, mine in zoo.parts(data_set).items():
        lines.append(f"{name} | one family | {left_out(mine, repository, Spread.of)}")
        others = Points([row for row in points.rows if data_set(row) == name])
        if others.rows:
            lines.append(f"{name} | all of them, on public networks | {Tried.of(Spread.of(mine), others)}")
    table("Laws of our own networks", f"data set | left out | {COLUMNS}", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="*", default=[HERE / "networks.csv"])
    parser.add_argument(
        "--zoo",
        type=Path,
        nargs="*",
        default=[HERE.parent / "zoo" / name for name in ("fashionmnist.csv", "paper.csv")],
        help="tables of our own networks",
    )
    parser.add_argument(
        "--parts",
        type=Path,
        nargs="*",
        default=[HERE / "groups.csv"],
        help="tables of parts of the data sets (groups.py)",
    )
    parser.add_argument("--laws", type=Path, metavar="FILE", help="write the laws that relstab ships")
    arguments = parser.parse_args()
    points, parts = (
        Points(list(itertools.chain.from_iterable(map(read, paths)))) for paths in (arguments.tables, arguments.parts)
    )
    zoo = Points(list(itertools.chain.from_iterable(read_zoo(path) for path in arguments.zoo)))
    report(points, parts)
    tried_zoo(zoo, points)
    found = laws(points, parts, zoo)
    for one in found:
        print(
            f"{one['name']}: {one['a']} (1 - EI)^{one['b']}, sd {one['sd_log']}, n {one['points']}, {one['range']}: {one['source']}"
        )
    if arguments.laws:
        arguments.laws.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
