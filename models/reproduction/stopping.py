"""Early stopping on the zoo's long trainings: how monitors go with the error in a run, and what stop rules cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import stored
from correlate import bootstrap, mean, spearman
from page import Lines, table
from stored import DATA_SETS, Floats, Row, column, families, grouped

Verdict = dict[str, Any]
PATIENCES = (3, 5)
# Monitors that relstab has, and scores of its records that it does not monitor, judged here by the same rule.
RULES = {"val_error": "validation error, 2,000 images", "probe_error": "error on the 500 probe images", "r_f": "R_f"}
RULES |= {"d_f": "D_f", "g_f": "G_f"}
SCORES = {"confidence_clean": "1 - average confidence", "agreement_deformed": "1 - agreement under deformation"}
LABELS = {**RULES, **SCORES}
KEYS = {"r_f": "r_f", "d_f": "d_f_coordinate_median", "g_f": "g_f_coordinate_median", "val_error": "error"}
PREDICTED = {
    **{law: "predicted error, a law from elsewhere" for law in ("cifar10", "fashionmnist-c3")},
    "r_f": "predicted error, R_f calibrated on other architectures",
    "d_f_and_g_f": "predicted error, D_f and G_f calibrated on other architectures",
    "agreement_deformed": "predicted error, agreement calibrated on other architectures",
}


@dataclass(frozen=True)
class Run:
    """One training: its checkpoints in order, and the error on images that no monitor saw."""

    data_set: str
    architecture: str
    rows: list[Row]
    unseen: Floats

    @property
    def epochs(self) -> Floats:
        return column(self.rows, "epoch")

    def values(self, monitor: str) -> Floats:
        return values(self.rows, monitor)

    def index(self, step: int | None) -> int | None:
        return None if step is None else [int(row["step"]) for row in self.rows].index(step)


def runs() -> list[Run]:
    measured = stored.read(stored.ZOO / "long.csv")
    unseen = {
        (row["data_set"], row["architecture"], row["step"]): row for row in stored.read(stored.RESULTS / "unseen.csv")
    }
    found = []
    for rows in grouped(measured, stored.training).values():
        rows = sorted(rows, key=lambda row: int(row["step"]))
        errors = column([unseen[row["data_set"], row["architecture"], row["step"]] for row in rows], "error")
        found.append(Run(rows[0]["data_set"], rows[0]["architecture"], rows, errors))
    return found


def judge(values: Floats, patience: int, start: int) -> tuple[int | None, int]:
    """relstab's rule (src/stop.rs) with mode min and nothing else: where it stops, if it does, and the best checkpoint."""
    best, wait = start, 0
    for k in range(start + 1, len(values)):
        best, wait = (k, 0) if values[k] < values[best] else (best, wait + 1)
        if wait == patience:
            return k, best
    return None, best


def stops(run: Run) -> Iterator[tuple[str, int, int | None, int]]:
    """Name of each rule, patience, checkpoint of the stop and the best one."""
    verdicts: list[Verdict] = json.loads((stored.RESULTS / "stops.json").read_text())
    mine = [v for v in verdicts if (v["data_set"], v["architecture"]) == (run.data_set, run.architecture)]
    for verdict in mine:
        monitor, patience = verdict["monitor"], verdict["patience"]
        stop, best = run.index(verdict["stop_step"]), run.index(verdict["best_step"])
        if monitor in KEYS:
            again = judge(run.values(monitor), patience, 0 if monitor == "val_error" else 1)
            assert (stop, best) == again, (
                f"{run.architecture} on {run.data_set}, {monitor}: {again} here, relstab: {verdict}"
            )
        if best is not None:
            name = PREDICTED[verdict["law"]] if monitor == "predicted_error" else RULES[monitor]
            yield name, patience, stop, best
    for monitor, name in SCORES.items():
        for patience in PATIENCES:
            yield name, patience, *judge(run.values(monitor), patience, 1)


@dataclass(frozen=True)
class Cost:
    """What a rule cost a run."""

    stopped: bool
    at_stop: float
    kept: float
    saved: float


def cost_of(errors: Floats, epochs: Floats, stop: int | None, best: int) -> Cost:
    """Errors above the least of the whole run, at the stop and at the checkpoint kept; epochs saved of all."""
    last = len(errors) - 1 if stop is None else stop
    least = errors.min()
    return Cost(
        stop is not None, float(errors[last] - least), float(errors[best] - least), float(epochs[-1] - epochs[last])
    )


def cost(run: Run, stop: int | None, best: int) -> Cost:
    return cost_of(run.unseen, run.epochs, stop, best)


def costs(chosen: list[Run]) -> dict[tuple[str, int], list[Cost]]:
    found: dict[tuple[str, int], list[Cost]] = {}
    for run in chosen:
        for name, patience, stop, best in stops(run):
            found.setdefault((name, patience), []).append(cost(run, stop, best))
    return found


def points(above: Floats, groups: Sequence[str] | None = None) -> str:
    """Mean and interval in percentage points."""
    found = bootstrap(mean, 100 * above, groups=groups)
    return f"{found.value:.1f} [{found.low:.1f}, {found.high:.1f}]"


def told(costs: list[Cost]) -> list[object]:
    """How many runs, how many were stopped, and the errors at the stop and of the checkpoint kept."""
    at_stop, kept = (np.array([getattr(each, key) for each in costs]) for key in ("at_stop", "kept"))
    return [
        len(costs),
        sum(each.stopped for each in costs),
        points(at_stop),
        f"{100 * at_stop.max():.1f}",
        points(kept),
    ]


@table(
    "rule on | patience | runs | stopped | error at the stop above the best, points | worst | error kept above the best | epochs saved of 24"
)
def rules() -> Lines:
    everything = runs()
    to_the_end = [cost(run, None, len(run.rows) - 1) for run in everything]
    ends = np.array([each.at_stop for each in to_the_end])
    yield ["train to the end", "-", len(ends), "-", points(ends), f"{100 * ends.max():.1f}", points(ends), "0.0"]
    for (name, patience), mine in costs(everything).items():
        yield [name, patience, *told(mine), f"{np.mean([each.saved for each in mine]):.1f}"]


@table("data set | monitor | median | positive | each run")
def monitors() -> Lines:
    """Rank correlation with the unseen error inside each run, from the first epoch on."""
    for data_set, title in DATA_SETS.items():
        mine = [run for run in runs() if run.data_set == data_set]
        for key, name in {**{k: RULES[k] for k in KEYS}, **SCORES}.items():
            found = np.array([float(spearman(run.values(key)[1:], run.unseen[1:])) for run in mine])
            each = ", ".join(f"{run.architecture} {value:.2f}" for run, value in zip(mine, found, strict=True))
            yield [title, name, f"{np.median(found):.2f}", f"{(found > 0).sum()} of {len(found)}", each]


@table("data set | trainings | chosen by | its error above the least, points | worst | the least was chosen")
def choices() -> Lines:
    """The checkpoint that each monitor holds best in the zoo's trainings of five exports, as `relstab best` would."""
    for data_set, title in DATA_SETS.items():
        trained = [row for row in stored.of(stored.small(), data_set=data_set) if row["step"] != "0"]
        trainings = list(grouped(trained, stored.training).values())
        groups = families(rows[0] for rows in trainings)
        above = {"the last checkpoint": np.array([regret(rows, len(rows) - 1) for rows in trainings])}
        for key, name in {**{key: RULES[key] for key in ("r_f", "d_f", "g_f")}, **SCORES}.items():
            chosen = [int(np.argmin(values(rows, key))) for rows in trainings]
            above[name] = np.array([regret(rows, k) for rows, k in zip(trainings, chosen, strict=True)])
        for name, found in above.items():
            least = int((found == 0).sum())
            yield [
                title,
                len(found),
                name,
                points(found, groups),
                f"{100 * found.max():.1f}",
                f"{least} of {len(found)}",
            ]


def values(rows: list[Row], key: str) -> Floats:
    """A monitor's values, less being better."""
    return 1 - column(rows, key) if key in SCORES else column(rows, KEYS[key])


def regret(rows: list[Row], k: int) -> float:
    """How far the error of one checkpoint lies above the least of its training."""
    errors = column(rows, "error")
    return float(errors[k] - errors.min())


FRAGMENTS = {"choices": choices, "monitors": monitors, "rules": rules}
