"""R_f beside what else predicts the test error, on the same networks and images: one table from results/networks.csv."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import stored
from correlate import Estimate, bootstrap, left_out, log_errors, mean, rank
from page import Lines, table
from stored import DATA_SETS, LARGEST, LAWS, Floats, Row, column, families

Score = Callable[[list[Row]], Floats]


@dataclass(frozen=True)
class Peer:
    """A score of a network that is to grow with its error."""

    name: str
    score: Score
    labels: str
    # The column of its CPU seconds.
    seconds: str
    # What the score says the error is, where it says so by itself.
    predicted: Score | None = None


def of(key: str) -> Score:
    return lambda rows: column(rows, key)


def less(key: str) -> Score:
    """One minus a share, at least a thousandth."""
    return lambda rows: np.maximum(1 - column(rows, key), 1e-3)


def by_law(rows: list[Row]) -> Floats:
    """What the law from elsewhere predicts for networks of one data set."""
    a, b = LAWS[rows[0]["data_set"]]
    return np.asarray(a * column(rows, "r_f") ** b)


PEERS = (
    Peer("R_f", of("r_f"), "no", "measure_s", by_law),
    Peer("D_f", of("d_f"), "no", "measure_s"),
    Peer("G_f", of("g_f"), "no", "measure_s"),
    Peer("1 - agreement under deformation", less("agreement_deformed"), "no", "measure_s"),
    Peer("1 - average confidence", less("confidence_clean"), "no", "clean_s", less("confidence_clean")),
    Peer("ATC, threshold from training images", of("atc_trained"), "500, trained on", "atc_s", of("atc_trained")),
    Peer("ATC, threshold from held-out images", of("atc_held_out"), "500, held out", "atc_s", of("atc_held_out")),
    Peer("WeightWatcher's alpha", of("alpha"), "no", "weightwatcher_s"),
    Peer("WeightWatcher's log norm", of("log_norm"), "no", "weightwatcher_s"),
    Peer("error on the labelled probe images", of("probe_error"), "500, held out", "clean_s", of("probe_error")),
)


@dataclass(frozen=True)
class Standing:
    """How a peer does on one data set's networks."""

    rank: Estimate
    as_it_stands: Estimate | None
    calibrated: Estimate
    seconds: float | None


def networks(data_set: str) -> list[Row]:
    """The networks that were trained again and measured by everything."""
    return [row for row in stored.read(stored.RESULTS / "networks.csv") if row["data_set"] == data_set]


def all_stored(data_set: str, train_size: str | None) -> list[Row]:
    """The final networks of the zoo's own results, which hold relstab's scores only."""
    rows = stored.of(stored.final(stored.small(), train_size), data_set=data_set)
    return [row | {name: row[f"{name}_coordinate_median"] for name in ("d_f", "g_f")} for row in rows]


def standing(peer: Peer, rows: list[Row]) -> Standing:
    error, score = column(rows, "error"), peer.score(rows)
    predicted = peer.predicted(rows) if peer.predicted else None
    groups = families(rows)
    return Standing(
        rank(score, error, groups),
        None if predicted is None else bootstrap(mean, log_errors(np.maximum(predicted, 1e-3), error), groups=groups),
        bootstrap(mean, left_out(np.maximum(score, 1e-3), error, groups), groups=groups),
        float(np.median(column(rows, peer.seconds))) if peer.seconds in rows[0] else None,
    )


def alone(rows: list[Row]) -> Estimate:
    """How far off the others' mean error is."""
    groups = families(rows)
    return bootstrap(mean, left_out(None, column(rows, "error"), groups), groups=groups)


def compared(title: str, rows: list[Row], of_peers: tuple[Peer, ...]) -> Lines:
    """A line for each peer, and one for a prediction that needs no measurement."""
    timed = of_peers[0].seconds in rows[0]
    for peer in of_peers:
        found = standing(peer, rows)
        seconds = [f"{found.seconds:.2f}"] if timed else []
        yield [
            title,
            len(rows),
            peer.name,
            found.rank,
            found.as_it_stands or "-",
            found.calibrated,
            peer.labels,
            *seconds,
        ]
    yield [title, len(rows), "nothing: the others' mean", "-", "-", alone(rows), "no", *(["0"] if timed else [])]


COLUMNS = "data set | n | what | rank correlation | log error as it stands | log error calibrated | labels"


@table(COLUMNS)
def scores() -> Lines:
    """relstab's own scores on the zoo's stored results: networks of 16,000 training images, and of all three sizes."""
    for size, told in ((LARGEST, "16,000 images"), (None, "all sizes")):
        for data_set, title in DATA_SETS.items():
            yield from compared(f"{title}, {told}", all_stored(data_set, size), PEERS[:5])


@table(f"{COLUMNS} | CPU seconds")
def peers() -> Lines:
    """Everything on the networks that were trained again."""
    for data_set, title in DATA_SETS.items():
        yield from compared(title, networks(data_set), PEERS)


@table("data set | n | R_f, gaussian / bilinear | D_f | G_f | rank correlation of R_f")
def interpolation() -> Lines:
    """R_f, D_f and G_f with the gaussian interpolation over those with the bilinear one, on the same networks."""
    for data_set, title in DATA_SETS.items():
        rows = networks(data_set)
        ratios = [column(rows, f"{key}_gaussian") / column(rows, key) for key in ("r_f", "d_f", "g_f")]
        cells = [f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})" for ratio in ratios]
        yield [title, len(rows), *cells, rank(column(rows, "r_f_gaussian"), column(rows, "r_f"), families(rows))]


FRAGMENTS = {"scores": scores, "peers": peers, "interpolation": interpolation}
