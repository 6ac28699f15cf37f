"""Rank correlations and errors in logarithms, with bootstrap intervals over networks."""

from __future__ import annotations

from collections.abc import Callable
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


def bootstrap(statistic: Callable[..., Floats], *samples: Floats, each: int = 1) -> Estimate:
    """`statistic` reduces the last axis; architectures, with `each` networks in succession, are resampled whole."""
    count = len(samples[0]) // each
    chosen = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    replicates = statistic(*(sample.reshape(count, each)[chosen].reshape(RESAMPLES, -1) for sample in samples))
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(statistic(*samples)), float(low), float(high))


def mean(values: Floats) -> Floats:
    return np.asarray(values.mean(-1))


def rank(x: Floats, y: Floats, each: int = 1) -> Estimate:
    return bootstrap(spearman, x, y, each=each)


def log_errors(predicted: Floats, error: Floats) -> Floats:
    """|log(predicted / error)| of each network."""
    return np.abs(np.log(predicted / error))


def left_out(x: Floats | None, error: Floats, architectures: list[str]) -> Floats:
    """|log(predicted / error)| of each network, predicted by `a x^b`, or without x by a mean, fitted on other architectures."""
    logs, names = np.log(error), np.array(architectures)
    wrong = np.empty_like(logs)
    for name in set(architectures):
        mine = names == name
        line = None if x is None else np.polyfit(np.log(x[~mine]), logs[~mine], 1)
        predicted = logs[~mine].mean() if line is None or x is None else np.polyval(line, np.log(x[mine]))
        wrong[mine] = np.abs(logs[mine] - predicted)
    return wrong
