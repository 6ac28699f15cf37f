"""The paper's claims on networks that were trained as the paper's were: tables from models/zoo/paper.csv."""

from __future__ import annotations

import itertools

import numpy as np

import depth
import stored
from claims import STARTS, span, starts, way
from correlate import Estimate, bootstrap, rank, spearman
from families import family
from page import Lines, markdown, table
from peers import Peer, alone, by_law, less, of, standing
from stopping import cost_of, judge, told
from stored import Floats, Row, column, families, grouped

PROBES = {"jpeg": "JPEG", "original": "originals"}
CUTOFFS = ("3", "5")
AUGMENTED, PLAIN = "crop-flip", "none"
EXPORTS = 9  # of a training, at times that are fixed before it
PATIENCES = (1, 2)
# Each is to grow with the error.
PEERS = tuple(
    Peer(what, score, labels, "", predicted)
    for what, score, labels, predicted in (
        ("R_f", of("r_f"), "no", by_law),
        ("D_f", of("d_f_coordinate_median"), "no", None),
        ("G_f", of("g_f_coordinate_median"), "no", None),
        ("1 - EI", less("invariance_deformed"), "no", None),
        ("1 - agreement under deformation", less("agreement_deformed"), "no", None),
        ("1 - average confidence", less("confidence_clean"), "no", less("confidence_clean")),
        ("error on the 500 probe images", of("probe_error"), "500, held out", of("probe_error")),
    )
)
SCORES = {peer.name: peer.score for peer in PEERS}


def rows(probe: str = "jpeg", cutoff: str = "3", augmentation: str | None = AUGMENTED) -> list[Row]:
    """Every export, at one cutoff on one kind of image."""
    found = [row for row in stored.read(stored.ZOO / "paper.csv") if (row["probe"], row["cutoff"]) == (probe, cutoff)]
    return [row for row in found if augmentation in (None, row["augmentation"])]


def trainings(all_rows: list[Row]) -> list[list[Row]]:
    """The exports of each training in order, the training of the largest error first."""
    found = grouped(all_rows, lambda row: f"{row['architecture']} {row['augmentation']}").values()
    runs = [sorted(run, key=lambda row: int(row["step"])) for run in found]
    return sorted(runs, key=lambda run: -float(best(run)["error"]))


def best(run: list[Row]) -> Row:
    """The export of the least test error, which the paper's authors measured."""
    return next(row for row in run if row["is_best"] == "1")


def scheduled(run: list[Row]) -> list[Row]:
    """The trained exports, without that of the least error if it is there for this only."""
    trained = run[1:]
    return trained if len(trained) == EXPORTS else [row for row in trained if row["is_best"] != "1"]


def finals(all_rows: list[Row]) -> list[Row]:
    return [best(run) for run in trainings(all_rows)]


def name(row: Row) -> str:
    return row["architecture"] + ("" if row["augmentation"] == AUGMENTED else ", not augmented")


@table(
    "architecture | weights | epochs | first learning rate | error, last | least | R_f, JPEG | R_f, originals | 1 - EI | 1 - confidence"
)
def networks() -> Lines:
    """Each training: how it was done and what came out."""
    originals = {name(row): row for row in finals(rows("original", augmentation=None))}
    for run in trainings(rows(augmentation=None)):
        row, last = best(run), next(row for row in run if row["is_last"] == "1")
        errors = (f"{float(last['error']):.1%}", f"{float(row['error']):.1%}")
        r_f = (f"{float(each['r_f']):.2f}" if each else "-" for each in (row, originals.get(name(row))))
        changes = (f"{1 - float(row[key]):.2f}" for key in ("invariance_deformed", "confidence_clean"))
        yield [name(row), f"{int(row['parameters']):,}", row["epochs"], row["rate"], *errors, *r_f, *changes]


@table(f"images | c | {STARTS}")
def initial() -> Lines:
    """R_f before training."""
    for probe, title in PROBES.items():
        for cutoff in CUTOFFS:
            yield [title, cutoff, *starts([run[0] for run in trainings(rows(probe, cutoff))])]


@table(
    "architecture | before | least, at epoch | after | after / before | rank correlation with the error: R_f | D_f | G_f | 1 - EI"
)
def falls() -> Lines:
    """R_f over each training."""
    for run in trainings(rows(augmentation=None)):
        r_f = column(run, "r_f")
        least = int(np.argmin(r_f))
        values = (f"{r_f[0]:.2f}", f"{r_f[least]:.2f} at {float(run[least]['epoch']):.2g}", f"{r_f[-1]:.2f}")
        change = f"{r_f[-1] / r_f[0]:.2f}, {way(run[0], run[-1])}"
        inside = (f"{within(run, score):.2f}" for score in ("R_f", "D_f", "G_f", "1 - EI"))
        yield [name(run[0]), *values, change, *inside]


def within(run: list[Row], score: str) -> float:
    """Rank correlation with the error inside a training, over its exports from half an epoch on."""
    exports = scheduled(run)
    return float(spearman(SCORES[score](exports), column(exports, "error")))


def line(x: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Slope, height at 0 and correlation of a least-squares line, along the last axis."""
    x0, y0 = (values - values.mean(-1, keepdims=True) for values in (x, y))
    slope = (x0 * y0).sum(-1) / (x0**2).sum(-1)
    r = (x0 * y0).sum(-1) / np.sqrt((x0**2).sum(-1) * (y0**2).sum(-1))
    return slope, y.mean(-1) - slope * x.mean(-1), r


@table(
    "images | c | what | networks | n | r(log, log) | slope | error at R_f or 1 - EI of 1 | sd of log error | error / paper's law"
)
def law() -> Lines:
    """log error against log R_f and against log (1 - EI), for the networks of least error."""

    def cells(found: list[Row], score: str) -> tuple[list[Estimate], float]:
        x, y = np.log(SCORES[score](found)), np.log(column(found, "error"))
        slope, height, _ = line(x, y)
        sd = np.sqrt(((y - height - slope * x) ** 2).sum() / (len(x) - 2))
        parts = (lambda a, b: line(a, b)[2], lambda a, b: line(a, b)[0], lambda a, b: np.exp(line(a, b)[1]))
        return [bootstrap(part, x, y, groups=families(found)) for part in parts], float(sd)

    for probe, title in PROBES.items():
        for cutoff in CUTOFFS:
            found = finals(rows(probe, cutoff))
            kinds = {"all": found}
            # The paper's law is for c = 3.
            if cutoff == "3":
                kinds["convolutional"] = [row for row in found if family(row) != "fc"]
            for (kind, some), score in itertools.product(kinds.items(), ("R_f", "1 - EI")):
                estimates, sd = cells(some, score)
                ratio = np.log(column(some, "error") / by_law(some))
                is_said = (score, cutoff) == ("R_f", "3")
                against = f"{np.exp(ratio.mean()):.2f}, sd {ratio.std(ddof=1):.2f}" if is_said else "-"
                yield [title, cutoff, score, kind, len(some), *estimates, f"{sd:.2f}", against]


@table("images | n | R_f, c = 3 | R_f, c = 5 | c = 5 / c = 3 | rank correlation")
def cutoffs() -> Lines:
    """Whether c = 5 tells what c = 3 does."""
    for probe, title in PROBES.items():
        found = [finals(rows(probe, cutoff)) for cutoff in CUTOFFS]
        at_3, at_5 = (column(networks, "r_f") for networks in found)
        yield [title, len(at_3), span(at_3), span(at_5), span(at_5 / at_3), rank(at_3, at_5, families(found[0]))]


def sizes() -> str:
    """R_f of networks that saw fewer training images, and the exponents of lines through the logarithms."""
    few = stored.read(stored.ZOO / "paper-sizes.csv")
    seen = sorted({int(row["train_size"]) for row in [*few, *rows()]})

    def exponent(found: list[Row], key: str) -> str:
        x, y = np.log(column(found, "train_size")), np.log(column(found, key))
        slope, height, _ = line(x, y)
        return f"{slope:.2f}, sd {np.sqrt(((y - height - slope * x) ** 2).sum() / (len(x) - 2)):.2f}"

    def lines() -> Lines:
        for probe, title in PROBES.items():
            every = [row for row in few if (row["probe"], row["cutoff"]) == (probe, "3")] + rows(probe)
            for architecture, kind in itertools.product(sorted({row["architecture"] for row in few}), ("best", "last")):
                chosen = [row for row in every if row["architecture"] == architecture and row[f"is_{kind}"] == "1"]
                found = sorted(chosen, key=lambda row: int(row["train_size"]))
                errors, r_f = column(found, "error"), (f"{value:.2f}" for value in column(found, "r_f"))
                keys = ("r_f", "d_f_coordinate_median", "g_f_coordinate_median", "error")
                exponents = (exponent(found, key) for key in keys)
                yield [title, architecture, kind, f"{errors[0]:.1%} to {errors[-1]:.1%}", *r_f, *exponents]

    columns = f"images | architecture | checkpoint | error | R_f with {' | '.join(f'{size:,}' for size in seen)} images | exponent: R_f | D_f | G_f | error"
    return markdown(columns, lines())


def of_layers() -> dict[str, depth.Network]:
    """Layers of each augmented training's untrained network and of its best, in order of depth."""
    found = stored.read(stored.ZOO / "paper-layers.csv")
    mine = [row for row in found if row["augmentation"] == AUGMENTED]
    return depth.before_and_after(grouped(mine, lambda row: row["architecture"]))


@table(f"images | reading | n | {depth.TRENDS}")
def layers() -> Lines:
    """Whether R_f falls with depth."""
    return depth.trends("JPEG", of_layers())


@table(
    "images | what | n | rank correlation across networks | inside trainings: median | log error as it stands | log error calibrated"
)
def peers() -> Lines:
    """What goes with the error across networks and inside trainings, and what predicts it."""
    for probe, title in PROBES.items():
        runs = trainings(rows(probe))
        found = [best(run) for run in runs]
        for peer in PEERS:
            across = standing(peer, found)
            inside = np.array([within(run, peer.name) for run in runs])
            positive = f"{np.median(inside):.2f} ({(inside > 0).sum()} of {len(inside)} positive)"
            as_it_stands = across.as_it_stands or "-"
            yield [title, peer.name, len(found), across.rank, positive, as_it_stands, across.calibrated]
        yield [title, "nothing: the others' mean", len(found), "-", "-", "-", alone(found)]


@table("images | architecture | error | R_f | 1 - EI | error / paper's law")
def augmentation() -> Lines:
    """Architectures that were trained with augmentation and without."""
    for probe, title in PROBES.items():
        found = {name(row): row for row in finals(rows(probe, augmentation=None))}
        for plain in (row for row in found.values() if row["augmentation"] == PLAIN):
            for row in (found[plain["architecture"]], plain):
                r_f, low, high = (float(row[key]) for key in ("r_f", "low", "high"))
                error, change = float(row["error"]), 1 - float(row["invariance_deformed"])
                values = (f"{error:.1%}", f"{r_f:.2f} [{low:.2f}, {high:.2f}]", f"{change:.2f}")
                yield [title, name(row), *values, f"{error / float(by_law([row])[0]):.2f}"]


@table(
    "rule on | patience | runs | stopped | error at the stop above the least, points | worst | error kept above the least | worst | epochs saved"
)
def rules() -> Lines:
    """What stop rules cost, asked after each export from half an epoch on."""
    runs = [scheduled(run) for run in trainings(rows(augmentation=None))]

    def cells(what: str, patience: object, found: list[tuple[int | None, int]]) -> list[object]:
        costs = [
            cost_of(column(run, "error"), column(run, "epoch"), *chosen)
            for run, chosen in zip(runs, found, strict=True)
        ]
        saved = np.mean([cost.saved / float(run[-1]["epochs"]) for cost, run in zip(costs, runs, strict=True)])
        return [what, patience, *told(costs), f"{100 * max(cost.kept for cost in costs):.1f}", f"{saved:.0%}"]

    yield cells("train to the end", "-", [(None, len(run) - 1) for run in runs])
    for what, score in SCORES.items():
        for patience in PATIENCES:
            yield cells(what, patience, [judge(score(run), patience, 0) for run in runs])
        yield cells(what, "-", [(None, int(np.argmin(score(run)))) for run in runs])


FRAGMENTS = {
    "regime-networks": networks,
    "regime-initial": initial,
    "regime-falls": falls,
    "regime-law": law,
    "regime-cutoffs": cutoffs,
    "regime-sizes": sizes,
    "regime-layers": layers,
    "regime-peers": peers,
    "regime-augmentation": augmentation,
    "regime-rules": rules,
}
