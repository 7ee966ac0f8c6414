"""Classify word pieces with a linear model on TF-IDF rows of unit length; one table of weights."""

import math
import zipfile
from pathlib import Path
from typing import IO, Sequence, Union

import numpy as np
from numpy import ndarray

from sledgehammer.lexical.features import Features, FeatureSpace, Pieces

GRAIN = 2.0**-6
"""Term frequencies and inverse document frequencies are multiples of this."""
LARGEST = 256.0
"""No number in a table has a larger absolute value."""

_TF = np.concatenate([[0.0], np.rint((1 + np.log(np.arange(1, 4096))) / GRAIN) * GRAIN])
"""The term frequency of each count. Products of such numbers with each other, and with numbers in
half precision, have sums that are exact in double precision, in whatever order they are added:
that is why a row's logits are the same in every batch."""


class LexicalError(ValueError):
    """Tell that a file is not a linear model, or that arrays do not make one."""


class LinearModel:
    """Compute the logits of rows of word pieces: `x W + b` with x of unit length.

    `x_f = (1 + ln count_f) idf_f / |...|` for the features f that occurred in training; all others
    are ignored. A row without known features has the logits b.

    # Parameters

    space : `FeatureSpace`
    table : `ndarray`
        Shape (buckets, 1 + labels), float16: the inverse document frequency of a bucket, and its
        weight for each label times that frequency; zeros for a bucket that no training row had.
    bias : `ndarray`
        Shape (labels,), float32.

    # Raises

    `LexicalError` for other shapes or types, a number that is not finite or exceeds `LARGEST`, or
    an inverse document frequency that is neither 0 nor a multiple of `GRAIN` of at least 1.

    Source: Sparck Jones, "A statistical interpretation of term specificity", 1972; hashing:
    Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009.
    """

    def __init__(self, space: FeatureSpace, table: ndarray, bias: ndarray) -> None:
        if table.dtype != np.float16 or bias.dtype != np.float32:
            raise LexicalError(
                "the table must be float16 and the bias float32, got "
                f"{table.dtype} and {bias.dtype}"
            )
        if bias.ndim != 1 or not len(bias) or table.shape != (space.buckets, 1 + len(bias)):
            raise LexicalError(
                f"{space.buckets} buckets need a table of shape ({space.buckets}, 1 + labels) and "
                f"a bias of shape (labels,), got {table.shape} and {bias.shape}"
            )
        if not (np.isfinite(table).all() and np.isfinite(bias).all()):
            raise LexicalError("a weight is not finite")
        if np.abs(table).max() > LARGEST:
            raise LexicalError(f"a number in the table exceeds {LARGEST:g}")
        idf = table[:, 0].astype(np.float64)
        if table[idf == 0].any() or (idf[idf != 0] < 1).any() or (idf % GRAIN).any():
            raise LexicalError(
                "an inverse document frequency must be at least 1 and a multiple of "
                f"{GRAIN:g}, or 0 together with all weights of its bucket"
            )
        self.space = space
        self.table = table
        self.bias = bias

    @property
    def labels(self) -> int:
        """Return how many labels the model knows."""
        return len(self.bias)

    @property
    def size(self) -> int:
        """Return how many bytes the weights take in memory."""
        return self.table.nbytes + self.bias.nbytes

    def logits(self, rows: Sequence[Pieces]) -> ndarray:
        """Return the logits of some rows: (rows, labels), float32.

        A row's logits are the same, to the bit, in every batch.

        # Raises

        `ValueError` for a row with another number of texts than the model takes.
        """
        return self.of_features(self.space.features(rows), len(rows))

    def of_features(self, features: Features, rows: int) -> ndarray:
        """Return the logits of so many rows with these features: (rows, labels), float32."""
        weights = self.table[features.bucket].astype(np.float64)
        frequency = tf(features.times)
        if rows == 1:
            values = frequency * weights[:, 0]
            length = math.sqrt(values @ values) or 1.0
            return ((frequency @ weights)[None, 1:] / length + self.bias).astype(np.float32)
        weights *= frequency[:, None]
        squared = np.bincount(features.row, weights[:, 0] ** 2, minlength=rows)
        columns = [np.bincount(features.row, column, minlength=rows) for column in weights.T[1:]]
        lengths = np.sqrt(np.where(squared > 0, squared, 1.0))
        return (np.stack(columns, axis=1) / lengths[:, None] + self.bias).astype(np.float32)

    def save(self, file: Union[Path, IO[bytes]]) -> None:
        """Write the model as an npz file without pickled objects."""
        space = np.array([self.space.texts, self.space.ngrams, self.space.bits], np.int64)
        np.savez_compressed(file, space=space, table=self.table, bias=self.bias)

    @classmethod
    def load(cls, file: Union[Path, IO[bytes]]) -> "LinearModel":
        """Read what `save` wrote.

        # Raises

        `LexicalError` if the file is something else, or damaged.
        """
        try:
            with np.load(file, allow_pickle=False) as arrays:
                texts, ngrams, bits = arrays["space"].tolist()
                space = FeatureSpace(texts, ngrams, bits)
                return cls(space, arrays["table"], arrays["bias"])
        except LexicalError as error:
            raise LexicalError(f"{file} is not a lexical model: {error}") from error
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise LexicalError(f"{file} is not a lexical model, or is damaged: {error}") from error


def tf(count: ndarray) -> ndarray:
    """Return the term frequency of features by their counts: 1 + ln(count), rounded to `GRAIN`."""
    return _TF[np.minimum(count, len(_TF) - 1)]
