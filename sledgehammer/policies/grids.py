"""Values of settings at which a curve is drawn, and what they are compared with."""

from typing import Iterable, List

import numpy as np
from numpy import ndarray


def confidence(probs: ndarray) -> ndarray:
    """The largest probability: (..., labels) -> (...)."""
    return np.maximum.reduce(probs, axis=-1)  # for few rows faster than `max`


def unit_grid(above: float = 0.0) -> List[float]:
    """Thresholds in [0, 1], of which those up to `above` are all the same."""
    inner = [i / 100 for i in range(1, 100) if i / 100 > above]
    return [0.0, *inner, 0.995, 0.998, 0.999, 0.9999, 1.0]


def between(fastest: float, values: Iterable[float], full: float) -> List[float]:
    """The two ends, and the distinct values between them in order."""
    low, high = sorted((fastest, full))
    inner = sorted({float(value) for value in values if low < value < high})
    return [fastest, *(inner if fastest < full else reversed(inner)), full]
