"""Test exactly whether a mean loss is at most E, where losses may be gains.

The losses are -1, 0 or 1, as drops in accuracy are. With p+ and p- the chances of 1 and -1, the
hypothesis "the mean loss is E or more" is p+ - p- >= E; how often there is a loss at all,
q = p+ + p-, is a nuisance. The test

1. orders outcomes by Tango's score statistic, which estimates the variance under the hypothesis;
2. computes the chance of an outcome at least as extreme from the trinomial distribution itself,
   not from a normal approximation;
3. takes the worst case over all q in a confidence interval of 1 - BETA, and adds BETA.

It is therefore valid for every number of rows (Berger and Boos, "P values maximized over a confidence
set for the nuisance parameter", JASA 1994; Tango, "Equivalence test and confidence interval for the
difference in proportions for the paired-sample design", Statistics in Medicine 1998; an exact
unconditional test of non-inferiority for paired binary data, Hsueh et al., Biometrics 2001).

Why each step is sound. Let D be the number of losses of either sign, and b the number of losses of
1. At the same D, a smaller b speaks more strongly against the hypothesis, so the extreme outcomes
are {b <= B(D)}. At a given q their chance falls as p+ rises, so it is largest on the boundary
p+ - p- = E, where D is binomial(n, q) and b, given D, is binomial(D, 1/2 + E / 2q). Only some values
of q are tried. Between two of them the chance P of an event cannot move further than the two
distributions are apart: |arcsin sqrt P - arcsin sqrt P'| <= arccos(rho^n), with
rho = sum_k sqrt(p_k p'_k), since no event tells two distributions apart better than all the data
do. That distance is added.
"""

import math
from functools import lru_cache
from typing import Optional, Tuple, Union

import numpy as np
from numpy import ndarray
from scipy.special import bdtr, gammaln, xlog1py, xlogy
from scipy.stats import beta as beta_distribution

Counts = Union[int, ndarray]

BETA = 1e-6
"""The chance that q is outside its interval, and so the smallest p-value."""

_STEP = 0.02
"""How far apart the tried values of q are: the angle between the distributions of all rows."""

_TAIL = 1e-10
"""The chance of the numbers of losses that are left out of the sums; it is added too."""


def score(losses: Counts, gains: Counts, rows: Counts, bound: float) -> ndarray:
    """Return Tango's statistic: how many standard errors the mean loss is below E.

    # Parameters

    losses, gains, rows : `Union[int, ndarray]`
        How many losses are 1, how many are -1, and how many there are; arrays that fit together.
    bound : `float`
        E, in (0, 1).
    """
    losses, gains = np.asarray(losses, float), np.asarray(gains, float)
    rows = np.asarray(rows, float)
    linear = (losses + gains) * (1 - bound) - 2 * bound * (rows - losses)
    root = np.sqrt(linear**2 + 8 * rows * gains * bound * (1 - bound))
    rare = np.clip((linear + root) / (4 * np.maximum(rows, 1)), 0.0, (1 - bound) / 2)  # p-
    variance = np.maximum(rows, 1) * (2 * rare + bound * (1 - bound))
    return (rows * bound - (losses - gains)) / np.sqrt(variance)


@lru_cache(maxsize=100_000)
def exact_p_value(
    losses: int, gains: int, rows: int, bound: float, level: Optional[float] = None
) -> float:
    """Return the p-value of "the mean loss is E or more".

    # Parameters

    losses, gains, rows : `int`
        How many losses are 1, how many are -1, and how many there are.
    bound : `float`
        E, in (0, 1).
    level : `float`, optional
        If given, the result need only be on the same side of `level` as the p-value, and not
        below the p-value, which takes less time.
    """
    observed = float(score(losses, gains, rows, bound))
    if rows == 0 or observed <= 0:
        return 1.0
    low, high = _interval(losses + gains, rows)
    if high <= bound:
        return BETA
    p_value = 1.0
    for step in (_STEP,) if level is None else (8 * _STEP, _STEP):
        points, reach = _tried(max(low, bound), high, rows, bound, step)
        chances = np.minimum(_chance(points, observed, rows, bound), 1.0)
        angles = np.arcsin(np.sqrt(chances)) + reach
        worst = float(np.sin(np.minimum(angles, np.pi / 2)).max()) ** 2
        p_value = min(1.0, worst + BETA + _TAIL)
        if level is not None and (p_value <= level or chances.max() > level):
            break
    return p_value


def _interval(changes: int, rows: int) -> Tuple[float, float]:
    """Return Clopper and Pearson's interval for q, of coverage 1 - BETA."""
    low = beta_distribution.ppf(BETA / 2, changes, rows - changes + 1) if changes else 0.0
    high = beta_distribution.isf(BETA / 2, changes + 1, rows - changes) if changes < rows else 1.0
    return float(low), float(high)


def _tried(
    low: float, high: float, rows: int, bound: float, step: float
) -> Tuple[ndarray, ndarray]:
    """Return values of q, (values,), and the angle up to which each stands for its neighbours."""
    dense = np.linspace(0, 1, 1001) ** 2 * (high - low) + low  # dense where p- vanishes
    apart = _angle(dense[:-1], dense[1:], rows, bound)
    total = np.concatenate([[0.0], np.cumsum(apart)])
    edges = np.interp(np.linspace(0, total[-1], 2 + int(total[-1] / step)), total, dense)
    edges[0], edges[-1] = low, high
    points = (edges[:-1] + edges[1:]) / 2
    reach = np.maximum(
        _angle(edges[:-1], points, rows, bound), _angle(points, edges[1:], rows, bound)
    )
    return points, reach


def _angle(one: ndarray, other: ndarray, rows: int, bound: float) -> ndarray:
    """Return the angle between the distributions of all rows at two values of q."""
    pairs = zip(_chances(one, bound), _chances(other, bound))
    apart = sum((np.sqrt(a) - np.sqrt(b)) ** 2 for a, b in pairs) / 2  # 1 - rho, which is tiny
    affinity = np.exp(rows * np.log1p(-np.minimum(apart, 1 - 1e-12)))
    return 2 * np.arcsin(np.sqrt(np.clip((1 - affinity) / 2, 0, 1)))


def _chances(q: ndarray, bound: float) -> Tuple[ndarray, ndarray, ndarray]:
    return (q + bound) / 2, np.maximum(q - bound, 0) / 2, np.maximum(1 - q, 0)


def _chance(points: ndarray, observed: float, rows: int, bound: float) -> ndarray:
    """Return the chance of a statistic of at least `observed` at each value of q: (values,)."""
    # Bernstein's inequality: D is farther from its mean than this with a chance of at most _TAIL.
    log = math.log(2 / _TAIL)
    far = log / 3 + np.sqrt(log**2 / 9 + 2 * log * rows * points * (1 - points))
    first = np.maximum(np.floor(rows * points - far), 0).astype(int)
    last = np.minimum(np.ceil(rows * points + far), rows).astype(int)
    changes = np.arange(first.min(), last.max() + 1)
    largest = _largest(changes, observed, rows, bound)
    near = (changes >= first[:, None]) & (changes <= last[:, None]) & (largest >= 0)
    point, column = np.nonzero(near)
    q, changes, largest = points[point], changes[column], largest[column]
    extreme = np.where(largest < changes, bdtr(largest, changes, 0.5 + bound / (2 * q)), 1.0)
    log_chance = xlogy(changes, q) + xlog1py(rows - changes, -q)
    log_ways = gammaln(rows + 1) - gammaln(changes + 1) - gammaln(rows - changes + 1)
    return np.bincount(point, np.exp(log_ways + log_chance) * extreme, minlength=len(points))


def _largest(changes: ndarray, observed: float, rows: int, bound: float) -> ndarray:
    """Return B(D): the most losses of 1 among D changes with a statistic of at least `observed`."""
    low, high = np.full(len(changes), -1), changes.copy()
    tolerance = 1e-9 * max(1.0, abs(observed))  # rounding must not exclude the outcome itself
    while (low < high).any():
        middle = (low + high + 1) // 2
        enough = score(middle, changes - middle, rows, bound) >= observed - tolerance
        low, high = np.where(enough, middle, low), np.where(enough, high, middle - 1)
    return low
