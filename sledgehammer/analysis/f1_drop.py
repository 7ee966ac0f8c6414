"""Test how much macro-F1 an early answer costs, with a guarantee for any number of rows.

F1 is a ratio, not a mean over rows, so the tests of `risk` do not apply. For a label, with y, f and
e telling whether a row has it, gets it from the full model and gets it early,

    F1(full) = 2 E[yf] / E[y + f],    F1(early) = 2 E[ye] / E[y + e].

Let c be F1(full), and d the drop F1(full) - F1(early). Both ratios vanish from

    E[2 (yf - ye) - c (f - e) - d (y + e)] = 0,

the mean of a bounded variable that is zero, but for d, wherever both answer alike. For each label:

1. c lies in an exact interval: of the rows with y or f, those with both are binomial, with the
   chance c / (2 - c) (Clopper and Pearson, Biometrika 1934).
2. "The drop is at least d" says that the mean is at least 0. A bet against it with a fixed stake
   multiplies a fortune by 1 - stake * variable at each row, and on average gains nothing if that
   is true; so the mean fortune over several stakes reaches 1 / level with a chance of at most
   `level` (Ville's inequality; Waudby-Smith and Ramdas, "Estimating means of bounded random
   variables by betting", JRSS B 2024). The least d that is rejected bounds the drop from above.
   The fortune is taken at the worse end of the interval of c, between which it is never lower.

The level is divided evenly among the labels (Bonferroni), so that all bounds hold together, and so
does their mean, which bounds the drop of macro-F1. A label with few rows has a loose bound.
"""

from typing import Tuple

import numpy as np
from numpy import ndarray
from scipy.special import logsumexp
from scipy.stats import beta

STAKES = np.array([0.03, 0.06, 0.12, 0.25, 0.5, 0.95])
"""The stakes of the bets, as shares of the largest that can't lose more than all there is."""

FOR_INTERVAL = 0.1
"""The share of a label's level that the interval of its full F1 takes."""

_HALVINGS = 40
_Y, _F, _E = np.array([[cell >> 2 & 1, cell >> 1 & 1, cell & 1] for cell in range(8)]).T


def macro_f1_drop_is_safe(
    label: ndarray, full: ndarray, early: ndarray, labels: int, bound: float, delta: float
) -> bool:
    """Return whether the true drop of macro-F1 is shown to be at most `bound`.

    Rows must be independent draws. If the true drop, on all the data that they are drawn from, is
    above `bound`, this is true with a probability of at most `delta`, however few rows there are.
    Macro-F1 is the mean over all labels of the model, also those that the rows lack.

    # Parameters

    label, full, early : `ndarray`
        Shape (rows,), label indices: the true ones, the full model's and the early answers.
    labels : `int`
        How many labels the model has.
    bound : `float`
        In (0, 1).
    delta : `float`
        In (0, 1).
    """
    return float(f1_drop_bounds(label, full, early, labels, delta).mean()) <= bound


def f1_drop_bounds(
    label: ndarray, full: ndarray, early: ndarray, labels: int, delta: float
) -> ndarray:
    """Return upper bounds of the drop of F1 of every label: (labels,), in [-1, 1].

    With a probability of at least 1 - `delta` all of them hold. For the other parameters see
    `macro_f1_drop_is_safe`.
    """
    counts = _cells(label, full, early, labels)
    level = delta / labels
    ends = np.stack(_full_f1_interval(counts, level * FOR_INTERVAL))
    enough = -np.log(level * (1 - FOR_INTERVAL))
    low, high = np.full(labels, -1.0), np.ones(labels)
    for _ in range(_HALVINGS):  # the fortune rises with d
        middle = (low + high) / 2
        rejected = _log_fortune(counts, ends, middle) >= enough
        low, high = np.where(rejected, low, middle), np.where(rejected, middle, high)
    return high


def _cells(label: ndarray, full: ndarray, early: ndarray, labels: int) -> ndarray:
    """Count, for each label, the rows with each combination of y, f and e: (labels, 8)."""
    own = np.arange(labels)[:, None]
    cell = 4 * (label == own) + 2 * (full == own) + (early == own)
    return np.stack([np.bincount(row, minlength=8) for row in cell])


def _full_f1_interval(counts: ndarray, level: float) -> Tuple[ndarray, ndarray]:
    """Return an interval for each label's F1 of the full model: two arrays (labels,)."""
    both = counts[:, (_Y & _F) == 1].sum(axis=1)
    rest = counts[:, (_Y | _F) == 1].sum(axis=1) - both
    low = np.where(both > 0, beta.ppf(level / 2, np.maximum(both, 1), rest + 1), 0.0)
    high = np.where(rest > 0, beta.ppf(1 - level / 2, both + 1, np.maximum(rest, 1)), 1.0)
    return 2 * low / (1 + low), 2 * high / (1 + high)


def _log_fortune(counts: ndarray, ends: ndarray, drop: ndarray) -> ndarray:
    """Return the logarithm of what the bets against "the drop is at least d" have made: (labels,).

    # Parameters

    counts : `ndarray`
        Shape (labels, 8): see `_cells`.
    ends : `ndarray`
        Shape (2, labels): the ends of the intervals of F1(full).
    drop : `ndarray`
        Shape (labels,): d, in [-1, 1).
    """
    c, d = ends[:, :, None], drop[:, None]
    variable = 2 * (_Y * _F - _Y * _E) - c * (_F - _E) - d * (_Y + _E)  # (2, labels, 8)
    # No value of the variable is above 2 - d, whatever c may be, so a stake can be set without it.
    gains = -variable / (2 - d)
    log_growth = np.log1p(STAKES[:, None, None, None] * gains)  # (stakes, 2, labels, 8)
    fortunes = (counts * log_growth).sum(axis=-1).min(axis=1)
    return logsumexp(fortunes, axis=0) - np.log(len(STAKES))
