"""R_f beside what else predicts the test error, on the same networks and images: one table from results/networks.csv."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import stored
from correlate import Estimate, bootstrap, left_out, log_errors, mean, rank
from page import table
from stored import DATA_SETS, LAWS, Floats, Row, column

Score = Callable[[list[Row], str], Floats]


@dataclass(frozen=True)
class Peer:
    """A score of a network that is to grow with its error."""

    name: str
    score: Score
    labels: str
    seconds: str
    # What the score says the error is, where it says so by itself.
    predicted: Score | None = None


def of(key: str) -> Score:
    return lambda rows, _: column(rows, key)


def less(key: str) -> Score:
    """One minus a share, at least a thousandth."""
    return lambda rows, _: np.maximum(1 - column(rows, key), 1e-3)


def by_law(rows: list[Row], data_set: str) -> Floats:
    a, b = LAWS[data_set]
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
    seconds: float


def networks(data_set: str) -> list[Row]:
    return [row for row in stored.read(stored.RESULTS / "networks.csv") if row["data_set"] == data_set]


def standing(peer: Peer, data_set: str) -> Standing:
    rows = networks(data_set)
    error, score = column(rows, "error"), peer.score(rows, data_set)
    predicted = peer.predicted(rows, data_set) if peer.predicted else None
    return Standing(
        rank(score, error),
        None if predicted is None else bootstrap(mean, log_errors(np.maximum(predicted, 1e-3), error)),
        bootstrap(mean, left_out(np.maximum(score, 1e-3), error)),
        float(np.median(column(rows, peer.seconds))),
    )


def peers() -> str:
    def lines() -> Iterator[list[object]]:
        for data_set, title in DATA_SETS.items():
            for peer in PEERS:
                found = standing(peer, data_set)
                as_it_stands = found.as_it_stands or "-"
                numbers = (found.rank, as_it_stands, found.calibrated, peer.labels, f"{found.seconds:.2f}")
                yield [title, peer.name, *numbers]
            error = column(networks(data_set), "error")
            yield [title, "nothing: the others' mean", "-", "-", bootstrap(mean, left_out(None, error)), "no", "0"]

    columns = (
        "data set | what | rank correlation | log error as it stands | log error calibrated | labels | CPU seconds"
    )
    return table(columns, lines())


FRAGMENTS = {"peers": peers}
