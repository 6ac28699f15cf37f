"""What the paper claims of R_f, D_f and G_f, on the zoo's networks: tables from models/zoo/results.csv."""

from __future__ import annotations

import itertools

import numpy as np

import fit
import stored
from correlate import bootstrap, log_errors, mean, rank, spearman
from page import Lines, markdown, table
from stored import CUTOFFS, DATA_SETS, LARGEST, LAWS, QUANTITIES, Floats, Row, column, families, grouped


def span(values: Floats, digits: int = 2) -> str:
    """Median and range."""
    return f"{np.median(values):.{digits}f} ({values.min():.{digits}f} to {values.max():.{digits}f})"


def starts(rows: list[Row]) -> list[object]:
    """How many untrained networks, R_f of the fully connected and of the others, and how many have about 1."""
    r_f = column(rows, "r_f")
    fully = np.array([family == "fc" for family in families(rows)])
    near = int(((r_f > 1 / 1.25) & (r_f < 1.25)).sum())
    return [len(rows), span(r_f[fully]), span(r_f[~fully]), f"{near} of {len(rows)}"]


STARTS = "n | R_f, fully connected | R_f, convolutional | within 1.25 of 1"


@table(f"data set | c | {STARTS}")
def initial() -> Lines:
    """R_f before training."""
    for (data_set, title), cutoff in itertools.product(DATA_SETS.items(), CUTOFFS):
        rows = stored.of(stored.first(stored.small(cutoff)), data_set=data_set)
        yield [title, cutoff, *starts(rows)]


def width() -> str:
    """R_f before training at the zoo's width and at the originals', by the weights that were drawn."""
    rows = stored.read(stored.RESULTS / "initial.csv")
    weights, widths = (list(dict.fromkeys(row[key] for row in rows)) for key in ("weights", "width"))

    def cell(mine: list[Row]) -> str:
        defined = [row for row in mine if row["r_f"]]
        missing = len(mine) - len(defined)
        undefined = f"{missing} of {len(mine)} undefined"
        return "; ".join([*([span(column(defined, "r_f"))] if defined else []), *([undefined] if missing else [])])

    def lines() -> Lines:
        for architecture, mine in grouped(rows, lambda row: row["architecture"]).items():
            kinds = itertools.product(weights, widths)
            cells = [cell([row for row in mine if (row["weights"], row["width"]) == kind]) for kind in kinds]
            yield [architecture, *cells]

    columns = " | ".join(f"{drawn}, {wide}" for drawn, wide in itertools.product(weights, widths))
    return markdown(f"architecture | {columns}", lines())


def way(before: Row, after: Row) -> str:
    """Where R_f went, if its intervals part."""
    if float(after["high"]) < float(before["low"]):
        return "fell"
    return "rose" if float(after["low"]) > float(before["high"]) else "-"


@table(
    "architecture | " + " | ".join(f"{title}: before | least | after | after / before" for title in DATA_SETS.values())
)
def falls() -> Lines:
    """R_f before training, at its least and after, for each architecture, and whether intervals part."""
    rows = stored.small()
    for architecture in grouped(rows, lambda row: row["architecture"]):
        cells: list[object] = [architecture]
        for data_set in DATA_SETS:
            run = stored.of(rows, data_set=data_set, architecture=architecture, train_size=LARGEST)
            r_f = column(run, "r_f")
            cells += [
                f"{r_f[0]:.2f}",
                f"{r_f.min():.2f}",
                f"{r_f[-1]:.2f}",
                f"{r_f[-1] / r_f[0]:.2f}, {way(run[0], run[-1])}",
            ]
        yield cells


@table(
    "networks | n | error / law | sd of its log | mean abs. log error | own slope b | r(log, log) | explained | rank correlation"
)
def law() -> Lines:
    """The error of final networks against the law from elsewhere."""
    for data_set, title in DATA_SETS.items():
        a, b = LAWS[data_set]
        for size in ("1000", "4000", LARGEST):
            rows = stored.of(stored.final(stored.small(), size), data_set=data_set)
            r_f, error = column(rows, "r_f"), column(rows, "error")
            ratio = np.log(error / (a * r_f**b))
            off = bootstrap(mean, log_errors(a * r_f**b, error), groups=families(rows))
            found = fit.fit(rows, lambda row: row["architecture"])
            assert found is not None
            level = (f"{np.exp(ratio.mean()):.2f}", f"{ratio.std(ddof=1):.2f}", off)
            own = (f"{found.b:.2f}", f"{found.r:.2f}", f"{found.explained:.2f}", rank(r_f, error, families(rows)))
            yield [f"{title}, {int(size):,} images", len(rows), *level, *own]


@table(
    "data set | quantity | across 15 architectures | in 45 trainings, 4 checkpoints each: median | more images: pairs where it goes the way of the error"
)
def parts() -> Lines:
    """Which of R_f, D_f and G_f goes with the error: across architectures, during training, with more images."""
    rows = stored.small()

    def within(trainings: list[list[Row]], key: str) -> str:
        """Median rank correlation inside groups, and how many are positive."""
        found = np.array([float(spearman(column(some, key), column(some, "error"))) for some in trainings])
        return f"{np.median(found):.1f} ({(found > 0).sum()} of {len(found)} positive)"

    def differ(pair: tuple[Row, ...], key: str) -> float:
        """Which way `key` goes from one network to another; 0 where it does not."""
        return float(np.sign(float(pair[1][key]) - float(pair[0][key])))

    for data_set, title in DATA_SETS.items():
        mine = stored.of(rows, data_set=data_set)
        last = stored.final(mine)
        trained = [row for row in mine if row["step"] != "0"]
        runs = list(grouped(trained, stored.training).values())
        sizes = list(grouped(stored.final(mine, None), lambda row: row["architecture"]).values())
        pairs = [pair for some in sizes for pair in itertools.combinations(some, 2) if differ(pair, "error")]
        for key, name in QUANTITIES.items():
            across = rank(column(last, key), column(last, "error"), families(last))
            alike = sum(differ(pair, key) == differ(pair, "error") for pair in pairs)
            yield [title, name, across, within(runs, key), f"{alike} of {len(pairs)}"]


def slope_over_images(rows: list[Row], key: str) -> tuple[Floats, Floats]:
    """Exponent of `key` in P for each architecture, and the standard deviation about a common slope, each with its own height."""
    slopes, residuals = [], []
    groups = [
        sorted(mine, key=lambda row: int(row["train_size"]))
        for mine in grouped(rows, lambda r: r["architecture"]).values()
    ]
    for mine in groups:
        x, y = np.log(column(mine, "train_size")), np.log(column(mine, key))
        slopes.append(np.polyfit(x, y, 1)[0])
        residuals.append(y - y.mean())
    common = float(np.mean(slopes))
    x = np.log(column(groups[0], "train_size"))
    left = np.concatenate([residual - common * (x - x.mean()) for residual in residuals])
    return np.array(slopes), np.array(np.sqrt((left**2).sum() / (len(left) - len(groups) - 1)))


@table("data set | c | n | R_f | D_f | G_f | error | R_f falls")
def images() -> Lines:
    """How R_f, D_f, G_f and the error go with the number of training images."""
    for (data_set, title), cutoff in itertools.product(DATA_SETS.items(), CUTOFFS):
        rows = stored.of(stored.final(stored.small(cutoff), None), data_set=data_set)
        groups = families(mine[0] for mine in grouped(rows, lambda row: row["architecture"]).values())
        cells = []
        for key in (*QUANTITIES, "error"):
            slopes, sd = slope_over_images(rows, key)
            cells.append(f"{bootstrap(mean, slopes, groups=groups)}, sd {float(sd):.2f}")
        falling = int((slope_over_images(rows, "r_f")[0] < 0).sum())
        yield [title, cutoff, len(rows), *cells, f"{falling} of 15"]


@table("data set | c | delta | fields that fold | n | R_f | rank correlation with c = 3 | with the error")
def cutoffs() -> Lines:
    """Whether other cutoffs rank final networks as c = 3 does, and what R_f says of the error there."""
    for data_set, title in DATA_SETS.items():
        reference = {row["architecture"]: row for row in stored.of(stored.final(stored.small()), data_set=data_set)}
        for cutoff in CUTOFFS:
            rows = [row for row in stored.of(stored.final(stored.small(cutoff)), data_set=data_set) if row["r_f"]]
            r_f, error = column(rows, "r_f"), column(rows, "error")
            at_3 = column([reference[row["architecture"]] for row in rows], "r_f")
            same = "1" if cutoff == "3" else str(rank(at_3, r_f, families(rows)))
            folded = f"{float(rows[0]['folded_share']):.0%}"
            yield [
                title,
                cutoff,
                rows[0]["delta"],
                folded,
                len(rows),
                span(r_f),
                same,
                rank(r_f, error, families(rows)),
            ]


FRAGMENTS = {
    "initial": initial,
    "width": width,
    "falls": falls,
    "law": law,
    "parts": parts,
    "images": images,
    "cutoffs": cutoffs,
}
