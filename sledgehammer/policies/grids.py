"""List the values of settings at which curves are drawn, and compute what is compared with them."""

from typing import Iterable, List

import numpy as np
from numpy import ndarray


def confidence(probs: ndarray) -> ndarray:
    """Return the largest probability: (..., labels) -> (...)."""
    return np.maximum.reduce(probs, axis=-1)  # for few rows faster than `max`


def unit_grid(above: float = 0.0) -> List[float]:
    """Return thresholds in [0, 1], without those between 0 and `above`, which all act like 0.0."""
    inner = [i / 100 for i in range(1, 100) if i / 100 > above]
    return [0.0, *inner, 0.995, 0.998, 0.999, 0.9999, 1.0]


def between(fastest: float, values: Iterable[float], full: float) -> List[float]:
    """Return the two ends, and the distinct values between them in order."""
    low, high = sorted((fastest, full))
    inner = sorted({float(value) for value in values if low < value < high})
    return [fastest, *(inner if fastest < full else reversed(inner)), full]
