"""Rank correlations and errors in logarithms, with bootstrap intervals over groups of networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]
RESAMPLES, LEVEL = 2_000, 0.95


@dataclass(frozen=True)
class Estimate:
    """A value and its percentile bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman's correlation along the last axis; 0 where either does not vary."""
    a, b = (rankdata(values, axis=-1) for values in (x, y))
    a, b = (ranks - ranks.mean(-1, keepdims=True) for ranks in (a, b))
    scale = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    return np.asarray(np.where(scale > 0, (a * b).sum(-1) / np.where(scale > 0, scale, 1), 0.0))


def bootstrap(statistic: Callable[..., Floats], *samples: Floats, groups: Sequence[str] | None = None) -> Estimate:
    """`statistic` reduces the last axis. Groups are resampled whole, or without any each value; a resample of which nothing can be
    said is left out."""
    names = np.arange(len(samples[0])) if groups is None else np.array(groups)
    members = [np.flatnonzero(names == name) for name in np.unique(names)]
    chosen = np.random.default_rng(0).integers(len(members), size=(RESAMPLES, len(members)))
    places = [np.concatenate([members[group] for group in row]) for row in chosen]
    alike = [
        np.stack([place for place in places if len(place) == length]) for length in {len(place) for place in places}
    ]
    with np.errstate(invalid="ignore"):
        replicates = np.concatenate([statistic(*(sample[at] for sample in samples)) for at in alike])
    low, high = np.nanquantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(statistic(*samples)), float(low), float(high))


def mean(values: Floats) -> Floats:
    return np.asarray(values.mean(-1))


def rank(x: Floats, y: Floats, groups: Sequence[str]) -> Estimate:
    return bootstrap(spearman, x, y, groups=groups)


def log_errors(predicted: Floats, error: Floats) -> Floats:
    """|log(predicted / error)| of each network."""
    return np.abs(np.log(predicted / error))


def left_out(x: Floats | None, error: Floats, groups: Sequence[str]) -> Floats:
    """|log(predicted / error)| of each network, predicted by `a x^b`, or without x by a mean, fitted on the other groups."""
    logs, names = np.log(error), np.array(groups)
    wrong = np.empty_like(logs)
    for name in set(groups):
        mine = names == name
        line = None if x is None else np.polyfit(np.log(x[~mine]), logs[~mine], 1)
        predicted = logs[~mine].mean() if line is None or x is None else np.polyval(line, np.log(x[mine]))
        wrong[mine] = np.abs(logs[mine] - predicted)
    return wrong
