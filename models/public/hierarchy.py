"""The law over data sets: a hierarchical line in log error against log (1 - EI).

Each data set has a height of its own, normal about a common one. The common slope is normal about 1, as in the laws of single data sets.
Each group in it (the whole set, some of its classes, its images at half the side) has a height and a slope of its own, normal about those
of its set. Networks were trained on whole sets, so parts differ from them in one way: some classes and half the side have a height and a
slope in common that is added to those of their set, normal about 0 with a standard deviation of 1. The standard deviations between sets and
groups are not known: they have half-normal priors, of the scales below. An error that was counted on few images has the variance of that
count.

All of it is integrated over a grid. What a whole set that was not seen has is then summed up as the Bayesian line of relstab
(normal-inverse-gamma, DEGREES degrees of freedom) of the same mean and covariance, so that known errors update it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from points import Floats, Line, Points, data_set, is_half, is_part, whole

CENTRE = 0.3
PRIOR_HEIGHT = 0.7  # data sets lie within a factor of 2 of each other, or so
PRIOR_GROUP = 0.35  # groups of one data set, half as far
PRIOR_SLOPE = 0.25
COMMON_SLOPE = 0.1
DEGREES = 10.0


@dataclass
class Known:
    """What rows tell of coefficients b, at each point of a grid: exp(-b'Ab / 2 + v'b + weight)."""

    precision: Floats
    moments: Floats
    weight: Floats

    @classmethod
    def of(cls, points: Points, sigma: Floats) -> Known:
        rows, y = columns(points), points.y
        variance = sigma[:, None] ** 2 + points.counted
        precision = np.einsum("gn,ni,nj->gij", 1 / variance, rows, rows)
        moments = np.einsum("gn,ni,n->gi", 1 / variance, rows, y)
        return cls(precision, moments, -0.5 * (np.log(variance) + y**2 / variance).sum(1))

    @classmethod
    def all(cls, known: list[Known]) -> Known:
        return cls(*(sum(parts[1:], parts[0]) for parts in zip(*(vars(one).values() for one in known), strict=True)))

    def about(self, spread: Floats) -> Known:
        """What they tell of the mean of what they tell of now, which lies about it with the covariance `spread`."""
        a, v = self.precision, self.moments
        scaled = np.eye(a.shape[-1]) + a @ spread
        m = spread @ np.linalg.inv(scaled)
        weight = self.weight - 0.5 * np.linalg.slogdet(scaled)[1] + 0.5 * np.einsum("gi,gij,gj->g", v, m, v)
        return Known(a - a @ m @ a, v - np.einsum("gij,gjk,gk->gi", a, m, v), weight)


def columns(points: Points) -> Floats:
    """Height and slope; what some classes add to both; what half the side adds."""
    line = np.stack([np.ones(len(points)), points.x - math.log(CENTRE)], 1)
    half = np.array([is_half(row) for row in points.rows])
    some = np.array([is_part(row) for row in points.rows]) & ~half
    return np.concatenate([line, line * some[:, None], line * half[:, None]], 1)


def hierarchical(points: Points) -> Line:
    """What is known of a whole data set that is not among these."""
    sets, groups, slopes, sigma = (
        axis.ravel()
        for axis in np.meshgrid(
            np.linspace(0.02, 3, 24) * PRIOR_HEIGHT,
            np.linspace(0.02, 3, 12) * PRIOR_GROUP,
            np.linspace(0.02, 3, 12) * PRIOR_SLOPE,
            np.exp(np.linspace(math.log(0.05), math.log(0.8), 24)),
            indexing="ij",
        )
    )

    def spread(height: Floats, slope: Floats) -> Floats:
        found = np.zeros((len(height), 6, 6))
        found[:, 0, 0], found[:, 1, 1] = height**2, slope**2
        return found

    between, within = spread(sets, 0 * slopes), spread(groups, slopes)
    known = Known.all(
        [
            Known.all([Known.of(group, sigma).about(within) for group in mine.parts(data_set).values()]).about(between)
            for mine in points.parts(whole).values()
        ]
    )
    prior = np.array([0.0, 1 / COMMON_SLOPE**2, 1.0, 1.0, 1.0, 1.0])
    precision = known.precision + np.diag(prior)
    # The common slope is 1 but for so much, what parts add 0.
    moments = known.moments + prior * np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    common = np.linalg.inv(precision)
    means = np.einsum("gij,gj->gi", common, moments)
    log_weight = known.weight + 0.5 * np.einsum("gi,gi->g", means, moments)
    log_weight -= 0.5 * np.linalg.slogdet(precision)[1]
    # Of the priors: half-normal, and 1 / sigma, which the grid's even steps in log sigma are.
    for deviation, scale in ((sets, PRIOR_HEIGHT), (groups, PRIOR_GROUP), (slopes, PRIOR_SLOPE)):
        log_weight -= 0.5 * (deviation / scale) ** 2
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = weight @ means
    off = means - mean
    covariance = np.einsum("g,gij->ij", weight, common + between + within) + np.einsum("g,gi,gj->ij", weight, off, off)
    mean, covariance = mean[:2], covariance[:2, :2]
    variance = float(weight @ sigma**2)
    # Back from 1 - EI = CENTRE to 1 - EI = 1.
    shift = np.array([[1.0, -math.log(CENTRE)], [0.0, 1.0]])
    mean, covariance = shift @ mean, shift @ covariance @ shift.T
    line = variance * np.linalg.inv(covariance)
    squares = float(mean @ line @ mean) + (DEGREES - 2) * variance
    return Line(line, line @ mean, squares, DEGREES)
