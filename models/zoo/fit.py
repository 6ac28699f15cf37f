"""Fits laws `error = a R_f^b` to the zoo's results.csv, and tests laws from elsewhere on it, 0.2 sqrt(R_f) first.

    python models/zoo/fit.py                      # tables in Markdown
    python models/zoo/fit.py --laws src/predict/zoo.json     # and the laws over all architectures, which relstab ships

A law's spread is told three ways: about the line; about the mean error, which needs no R_f at all; and for architectures (or
trainings) that the line was not fitted on. `explained` compares the last with what the mean gives there: the share of the
variance of log error that R_f accounts for in networks not seen, 0 or less where it says nothing. relstab says so with every
prediction of a law that explains less than half.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from families import family

HERE = Path(__file__).parent
CLASSES = 10
CHANCE = 1 - 1 / CLASSES
SIDES = {"cifar10": 32.0, "fashionmnist": 28.0}
ESTIMATORS = ("coordinate_median", "median", "mean")
# The paper's law, and fits to the numbers that its authors published (ResNet18 and EfficientNetB0): cutoff, a, b.
ELSEWHERE = (("cifar10", "3", 0.2, 0.5), ("cifar10", "5", 0.393, 0.499), ("fashionmnist", "3", 0.230, 0.408))
FEWEST = 5  # points that a line is fitted to

Row = dict[str, str]
Floats = npt.NDArray[np.float64]


def training(row: Row) -> str:
    return "-".join(row[key] for key in ("size", "data_set", "architecture", "train_size", "seed"))


@dataclass(frozen=True)
class Fit:
    """`log error = log a + b log R_f`, and how far the points lie from it."""

    points: int
    a: float
    b: float
    sd: float
    sd_of_mean: float
    held_out: float
    held_out_of_mean: float
    r: float
    least: float
    largest: float

    @property
    def explained(self) -> float:
        """Share of the variance of log error, in groups that were left out."""
        return 1 - (self.held_out / self.held_out_of_mean) ** 2


def coefficients(x: Floats, y: Floats, degree: int) -> Floats:
    """A line's slope and height, or a height alone."""
    return np.asarray(np.polyfit(x, y, degree), np.float64)


def left_out(x: Floats, y: Floats, groups: list[str], degree: int) -> float:
    """Root mean square error for the points of each group, fitted on the others."""
    names = np.array(groups)
    wrong = []
    for name in sorted(set(groups)):
        mine = names == name
        wrong.append(y[mine] - np.polyval(coefficients(x[~mine], y[~mine], degree), x[mine]))
    return float(np.sqrt(np.mean(np.concatenate(wrong) ** 2)))


def fit(rows: list[Row], group: Callable[[Row], str], r_f: str = "r_f") -> Fit | None:
    """None where there are too few points, or too few groups to leave one out."""
    rows = [row for row in rows if row[r_f]]
    groups = [group(row) for row in rows]
    if len(rows) < FEWEST or len(set(groups)) < 3:
        return None
    x, y = (np.log([float(row[key]) for row in rows]) for key in (r_f, "error"))
    b, log_a = coefficients(x, y, 1)
    residuals = y - log_a - b * x
    return Fit(
        len(rows),
        float(np.exp(log_a)),
        float(b),
        float(np.sqrt((residuals**2).sum() / (len(x) - 2))),
        float(np.std(y, ddof=1)),
        left_out(x, y, groups, 1),
        left_out(x, y, groups, 0),
        float(np.corrcoef(x, y)[0, 1]),
        float(np.exp(x.min())),
        float(np.exp(x.max())),
    )


def is_predicted(row: Row) -> bool:
    """Whether relstab gives a prediction: after step 0, and R_f not about 1."""
    return row["near_initial"] == "0"


def selections(rows: list[Row]) -> dict[str, list[Row]]:
    """The last checkpoint of each training; those of one training-set size, as in the paper's figure; those that relstab would
    predict; and every checkpoint that it would predict."""
    last = {name: max(int(row["step"]) for row in mine) for name, mine in grouped(rows, training).items()}
    final = [row for row in rows if int(row["step"]) == last[training(row)]]
    sizes = sorted({int(row["train_size"]) for row in final})
    return {
        "final": final,
        **{f"final, {size:,} images": [row for row in final if row["train_size"] == str(size)] for size in sizes},
        "final, predicted": [row for row in final if is_predicted(row)],
        "predicted": [row for row in rows if is_predicted(row)],
    }


def grouped(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def table(title: str, header: str, lines: Iterable[list[str]]) -> None:
    """Prints a Markdown table."""
    names = [name.strip() for name in header.split("|")]
    print(f"## {title}\n")
    for line in (names, ["---"] * len(names), *lines):
        print("|", " | ".join(line), "|")
    print()


def shown(found: Fit) -> list[str]:
    numbers = (found.a, found.b, found.sd, found.sd_of_mean, found.held_out, found.r)
    span = f"{found.least:.2f}-{found.largest:.2f}"
    return [str(found.points), *(f"{number:.3f}" for number in numbers), f"{found.explained:.2f}", span]


FIT_COLUMNS = "n | a | b | sd(log) | sd of mean | sd held out | r(log, log) | explained | R_f range"


def off(rows: list[Row], a: float, b: float) -> Iterable[list[str]]:
    """log(error / predicted) for a law from elsewhere, capped at chance as relstab does."""
    for which, chosen in selections(rows).items():
        for kind, mine in (("all", chosen), *sorted(grouped(chosen, family).items())):
            usable = [row for row in mine if row["r_f"]]
            if len(usable) < 2 or (kind != "all" and which != "final"):
                continue
            r_f, error = (np.array([float(row[key]) for row in usable]) for key in ("r_f", "error"))
            log_ratio = np.log(error / np.minimum(a * r_f**b, CHANCE))
            r = f"{np.corrcoef(np.log(r_f), np.log(error))[0, 1]:.3f}" if len(usable) >= FEWEST else "-"
            bias, sd = log_ratio.mean(), log_ratio.std(ddof=1)
            yield [which, kind, str(len(usable)), f"{bias:.3f}", f"{np.exp(bias):.2f}", f"{sd:.3f}", r]


def networks(rows: list[Row]) -> tuple[str, list[list[str]]]:
    """A header and a line for each architecture and data set: size, then error and R_f of each final network."""
    final = selections([row for row in rows if row["cutoff"] == "3"])["final"]
    sizes = sorted({(int(row["train_size"]), int(row["seed"])) for row in final})
    named = [f"{size:,} images" + (f", seed {seed}" if len({s for _, s in sizes}) > 1 else "") for size, seed in sizes]
    lines = []
    for mine in grouped(final, lambda row: f"{row['data_set']} {row['architecture']}").values():
        cells = {
            (int(row["train_size"]), int(row["seed"])): f"{float(row['error']):.1%}; {row['r_f'][:5]}" for row in mine
        }
        about = [mine[0]["architecture"], mine[0]["data_set"], f"{int(mine[0]['parameters']):,}"]
        lines.append([*about, *(cells.get(size, "-") for size in sizes)])
    return " | ".join(["architecture | data set | weights", *named]), lines


def readings(rows: list[Row]) -> Iterable[list[str]]:
    """How each reading's D_f, G_f and R_f go with the error of final networks."""
    for estimator in ESTIMATORS:
        cells = []
        for quantity in ("d_f", "g_f", "r_f"):
            key = f"{quantity}_{estimator}"
            usable = [row for row in rows if row[key]]
            if len(usable) < FEWEST:
                return
            x, y = (np.log([float(row[name]) for row in usable]) for name in (key, "error"))
            cells.append(f"{np.corrcoef(x, y)[0, 1]:.2f}")
        yield [estimator, *cells]


def more_data(rows: list[Row]) -> tuple[int, int]:
    """Pairs of final networks that differ in training-set size only: how many, and where R_f fell as the error did."""
    pairs = agreeing = 0
    alike = grouped(rows, lambda row: "-".join((row["architecture"], row["seed"])))
    for mine in alike.values():
        for one, other in itertools.combinations(sorted(mine, key=lambda row: int(row["train_size"])), 2):
            if one["r_f"] and other["r_f"] and one["error"] != other["error"]:
                pairs += 1
                fell, better = float(other["r_f"]) < float(one["r_f"]), float(other["error"]) < float(one["error"])
                agreeing += fell == better
    return pairs, agreeing


def law(found: Fit, rows: list[Row]) -> dict[str, object]:
    """A law as relstab reads it, and beside it what a reader should know first."""
    size, data_set, cutoff, delta = (rows[0][key] for key in ("size", "data_set", "cutoff", "delta"))
    architectures = len(grouped(rows, lambda row: row["architecture"]))
    images = ", ".join(f"{count:,}" for count in sorted({int(row["train_size"]) for row in rows}))
    # The copies of CIFAR-10 that it is trained and measured on are JPEG.
    pixels = "JPEG copies" if data_set == "cifar10" else "original images"
    source = (
        f"our training zoo (models/zoo --{size}): {data_set}, {pixels}, {architectures} architectures, training sets of {images} images, "
        f"{found.points} checkpoints of {len(grouped(rows, training))} trainings"
    )
    return {
        "name": f"{data_set}-c{cutoff}-zoo" + ("" if size == "small" else f"-{size}"),
        "a": round(found.a, 4),
        "b": round(found.b, 4),
        "sd_log": round(found.sd, 4),
        "explained": round(found.explained, 4),
        "points": found.points,
        "r_f_min": round(found.least, 4),
        "r_f_max": round(found.largest, 4),
        "classes": CLASSES,
        "cutoff": int(cutoff),
        "delta": float(delta),
        "interpolation": rows[0]["interpolation"],
        "estimator": "coordinate_median",
        "side": SIDES[data_set],
        "source": source,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results.csv", help="the table")
    parser.add_argument("--laws", type=Path, help="file for the laws over all architectures")
    arguments = parser.parse_args()
    with open(arguments.results, newline="") as file:
        rows = list(csv.DictReader(file))
    laws = []
    for size, mine in grouped(rows, lambda row: row["size"]).items():
        print(f"# --{size}: {len(grouped(mine, training))} trainings, {len(mine)} measurements\n")
        table("Networks: test error and R_f (c = 3, delta = 1) after training", *networks(mine))
        columns = "networks | architectures | n | bias | factor | sd | r(log, log)"
        for data_set, cutoff, a, b in ELSEWHERE:
            measured = [row for row in mine if (row["data_set"], row["cutoff"]) == (data_set, cutoff)]
            table(f"{a} R_f^{b} on {data_set}, c = {cutoff}: log(error / predicted)", columns, off(measured, a, b))

        settings = grouped(mine, lambda row: f"{row['data_set']} | {row['cutoff']} | {row['delta']}")
        overall: list[list[str]] = []
        families: list[list[str]] = []
        correlations: list[list[str]] = []
        growth: list[list[str]] = []
        for setting, measured in settings.items():
            chosen = selections(measured)
            for which, some in chosen.items():
                found = fit(some, lambda row: row["architecture"])
                if found:
                    overall.append([setting, which, *shown(found)])
            found = fit(chosen["predicted"], lambda row: row["architecture"])
            if found:
                laws.append(law(found, chosen["predicted"]))
            for which in ("final", "predicted"):
                for kind, kin in sorted(grouped(chosen[which], family).items()):
                    found = fit(kin, training)
                    if found:
                        families.append([setting, which, kind, *shown(found)])
            correlations.extend([setting, *line] for line in readings(chosen["final"]))
            growth.append([setting, *map(str, more_data(chosen["final"]))])
        place = "data set | c | delta"
        table(
            "Laws, all architectures (held out: one architecture at a time)",
            f"{place} | networks | {FIT_COLUMNS}",
            overall,
        )
        table(
            "Laws by family (held out: one training at a time)",
            f"{place} | networks | family | {FIT_COLUMNS}",
            families,
        )
        table("r(log, log) with the error, final networks", f"{place} | reading | D_f | G_f | R_f", correlations)
        table("More training images: does R_f go the way of the error?", f"{place} | pairs | it does", growth)
    if arguments.laws:
        arguments.laws.write_text(json.dumps(laws, indent=2) + "\n")


if __name__ == "__main__":
    main()
