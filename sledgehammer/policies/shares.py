"""Count where rows stop at which threshold, for any policy that asks (`Exits.shares`)."""

from typing import Optional

import numpy as np
from numpy import ndarray

from sledgehammer.policies.grids import confidence

KNOTS = 201
"""Thresholds at which `exit_shares` counts."""


def exit_shares(probs: ndarray) -> ndarray:
    """Return where rows stop at which threshold on confidence.

    # Parameters

    probs : `ndarray`
        Shape (rows, exits, labels): calibrated probabilities on calibration data.

    # Returns

    Shape (KNOTS, 1 + exits), float32: thresholds from 0.0 to 1.0, spaced as the confidences are,
    and the share of the rows that stop at each exit with that threshold.
    """
    sure = confidence(np.asarray(probs, np.float32))
    exits = sure.shape[1]
    thresholds = np.linspace(0, 1, KNOTS, dtype=np.float32)
    if exits > 1 and len(sure):
        thresholds = np.quantile(sure[:, :-1], thresholds).astype(np.float32)
    thresholds[0], thresholds[-1] = 0.0, 1.0
    shares = np.zeros((KNOTS, exits))
    for shares_there, threshold in zip(shares, thresholds):
        reached = sure >= threshold if threshold < 1 else np.zeros(sure.shape, bool)
        reached[:, -1] = True
        shares_there += np.bincount(reached.argmax(axis=1), minlength=exits) / max(len(sure), 1)
    return np.concatenate([thresholds[:, None], shares], axis=1).astype(np.float32)


def unknown_shares(exits: int) -> ndarray:
    """Return what stands in for `exit_shares` before calibration: zeros, of the same shape."""
    return np.zeros((KNOTS, 1 + exits), np.float32)


def known_shares(table: ndarray) -> Optional[ndarray]:
    """Return a stored table of `exit_shares`, or `None` if it is empty or from `unknown_shares`."""
    return table if table.any() else None
