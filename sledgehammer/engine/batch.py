"""Rows that run together, and when each of them stops."""

from dataclasses import dataclass
from typing import Dict, List, Sequence

import numpy as np
from numpy import ndarray

Arrays = Dict[str, ndarray]


@dataclass
class Batch:
    """The rows of a batch that have no answer yet.

    # Parameters

    rows : `ndarray`
        Shape (rows,): what the rows are called; their positions, at the start.
    lengths : `ndarray`
        Shape (rows,): word pieces.
    inputs : `Dict[str, ndarray]`
        What the next segment takes.
    probs : `List[ndarray]`
        Of each exit passed: (rows, labels).
    """

    rows: ndarray
    lengths: ndarray
    inputs: Arrays
    probs: List[ndarray]

    @property
    def position(self) -> int:
        """That of the next exit."""
        return len(self.probs)

    def keep(self, rows: ndarray) -> "Batch":
        """Only the given rows (indices), less the columns that are padding in all of them."""
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        return Batch(
            self.rows[rows],
            lengths,
            {
                name: array[rows] if name == "pooled" else array[rows, :longest]
                for name, array in self.inputs.items()
            },
            [probs[rows] for probs in self.probs],
        )

    @staticmethod
    def join(batches: "Sequence[Batch]") -> "Batch":
        """One batch of several that are at the same exit."""
        longest = max(int(batch.lengths.max()) for batch in batches)
        joined = {}
        for name in batches[0].inputs:
            arrays = [batch.inputs[name] for batch in batches]
            if name != "pooled":
                arrays = [_widen(array, longest) for array in arrays]
            joined[name] = np.concatenate(arrays)
        return Batch(
            np.concatenate([batch.rows for batch in batches]),
            np.concatenate([batch.lengths for batch in batches]),
            joined,
            [np.concatenate(probs) for probs in zip(*(batch.probs for batch in batches))],
        )


def reached(probs: ndarray, thresholds: ndarray) -> ndarray:
    """Which rows stop at an exit: those whose confidence reaches their threshold; none at 1.0.

    # Parameters

    probs : `ndarray`
        Shape (rows, labels), calibrated.
    thresholds : `ndarray`
        Shape (rows,), float32.
    """
    return (probs.max(axis=1) >= thresholds) & (thresholds < 1.0)


def _widen(array: ndarray, tokens: int) -> ndarray:
    missing = tokens - array.shape[1]
    if not missing:
        return array
    return np.pad(array, [(0, 0), (0, missing)] + [(0, 0)] * (array.ndim - 2))
