"""Estimate how far a curve would move if other rows had been drawn."""

from typing import List, NamedTuple, Sequence

import numpy as np
from numpy import ndarray

from sledgehammer.analysis.tradeoff import Point, Tradeoff

RESAMPLES = 1000
LEVEL = 0.95
MOST_POINTS = 256
"""The most points that a band has; a picture shows no more."""
_AT_ONCE = 1 << 24
"""About how many numbers are held in memory at a time."""


class Band(NamedTuple):
    """Hold the range of a curve's accuracy in most resamples of the rows.

    # Parameters

    layer_speedup : `List[float]`
        Layer speedups of the points that the band was computed at, on the original rows.
    low, high : `List[float]`
        Ends of the range of accuracy at the same points, in [0, 1].
    """

    layer_speedup: List[float]
    low: List[float]
    high: List[float]


def accuracy_band(
    tradeoff: Tradeoff, curve: Sequence[Point], resamples: int = RESAMPLES, level: float = LEVEL
) -> Band:
    """Bootstrap the accuracy at each setting of a curve on its own.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (the
    percentile interval). The band covers what another draw of as many rows would change, not what
    another training run would.

    # Parameters

    tradeoff : `Tradeoff`
    curve : `Sequence[Point]`
        Points of it that have settings. If there are more than `MOST_POINTS`, as many are used,
        spread evenly over the curve. Points where no row runs a layer are left out.
    resamples : `int`
    level : `float`
        The share of the resamples that lie within the band, in (0, 1).
    """
    curve = [point for point in curve if np.isfinite(point.layer_speedup)]
    positions = np.linspace(0, len(curve) - 1, min(len(curve), MOST_POINTS)).round().astype(int)
    points = [curve[i] for i in positions]
    correct = np.stack([tradeoff.correct_at(point.setting or 0.0).numpy() for point in points])
    low, high = percentile_interval(correct, resamples, level)
    return Band([point.layer_speedup for point in points], low.tolist(), high.tolist())


def percentile_interval(
    values: ndarray, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> ndarray:
    """Bootstrap the means of several figures of the same rows.

    # Parameters

    values : `ndarray`
        Shape (figures, rows); numbers or booleans.

    # Returns

    Shape (2, figures): where the middle `level` of the resampled means begins and ends.
    """
    figures, rows = values.shape
    generator = np.random.default_rng(seed)
    columns = values.T.astype(np.float32)
    means = np.empty((resamples, figures))
    at_once = max(1, _AT_ONCE // rows)
    for first in range(0, resamples, at_once):
        drawn = generator.integers(0, rows, (min(at_once, resamples - first), rows))
        # Count how often each row was drawn, for all resamples with one `bincount`: each resample
        # gets numbers of its own, from where those of the one before end.
        shifted = drawn + rows * np.arange(len(drawn))[:, None]
        counts = np.bincount(shifted.ravel(), minlength=drawn.size).reshape(drawn.shape)
        means[first : first + len(drawn)] = counts.astype(np.float32) @ columns / rows
    outside = (1 - level) / 2
    return np.quantile(means, [outside, 1 - outside], axis=0)
