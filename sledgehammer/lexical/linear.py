"""A linear model on features of word pieces: TF-IDF rows of unit length, weights in one table."""

import math
import zipfile
from pathlib import Path
from typing import IO, Sequence, Union

import numpy as np
from numpy import ndarray

from sledgehammer.lexical.features import FeatureSpace, Found, Pieces

GRAIN = 2.0**-6
"""What frequencies of terms and inverse document frequencies are multiples of."""
LARGEST = 256.0
"""No weight in a table is larger, whatever its sign."""

_TF = np.concatenate([[0.0], np.rint((1 + np.log(np.arange(1, 4096))) / GRAIN) * GRAIN])
"""By count. Products of such numbers with each other, and with those of half precision, have sums
that are exact in double precision in whatever order they are added: that is why a row's logits are
the same in every batch."""


class LexicalError(ValueError):
    """A file is no linear model, or arrays do not make one."""


class LinearModel:
    """Gives the logits of rows of word pieces: `x W + b` with x of unit length.

    `x_f = (1 + ln count_f) idf_f / |...|` for the features f that were seen in training; the
    others count as if they were not there. A row without known features has the logits b.

    # Parameters

    space : `FeatureSpace`
    table : `ndarray`
        Shape (buckets, 1 + labels), float16: the inverse document frequency of a bucket, and its
        weight for each label times that frequency; zeros for a bucket never seen.
    bias : `ndarray`
        Shape (labels,), float32.

    # Raises

    `LexicalError` if shapes or types are others, a number is not finite or beyond `LARGEST`,
    or an inverse document frequency neither 0 nor a multiple of `GRAIN` of at least 1.

    Source: Sparck Jones, "A statistical interpretation of term specificity", 1972; hashing:
    Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009.
    """

    def __init__(self, space: FeatureSpace, table: ndarray, bias: ndarray) -> None:
        if table.dtype != np.float16 or bias.dtype != np.float32:
            raise LexicalError(
                f"the table must be float16 and the bias float32, got {table.dtype} and {bias.dtype}"
            )
        if bias.ndim != 1 or not len(bias) or table.shape != (space.buckets, 1 + len(bias)):
            raise LexicalError(
                f"{space.buckets} buckets need a table of shape ({space.buckets}, 1 + labels) and "
                f"a bias of shape (labels,), got {table.shape} and {bias.shape}"
            )
        if not (np.isfinite(table).all() and np.isfinite(bias).all()):
            raise LexicalError("a weight is not finite")
        if np.abs(table).max() > LARGEST:
            raise LexicalError(f"a number in the table is beyond {LARGEST:g}")
        idf = table[:, 0].astype(np.float64)
        if table[idf == 0].any() or (idf[idf != 0] < 1).any() or (idf % GRAIN).any():
            raise LexicalError(
                "an inverse document frequency must be at least 1 and a multiple of "
                f"{GRAIN:g}, or 0 and so all its weights"
            )
        self.space = space
        self.table = table
        self.bias = bias

    @property
    def labels(self) -> int:
        """How many labels the model tells apart."""
        return len(self.bias)

    @property
    def size(self) -> int:
        """Bytes of the weights in memory."""
        return self.table.nbytes + self.bias.nbytes

    def logits(self, rows: Sequence[Pieces]) -> ndarray:
        """Return the logits of some rows: (rows, labels), float32.

        A row's logits are the same, to the bit, in every batch.

        # Raises

        `ValueError` for a row with another number of texts than the model takes.
        """
        return self.of_features(self.space.features(rows), len(rows))

    def of_features(self, found: Found, rows: int) -> ndarray:
        """Return the logits of rows whose features are known: (rows, labels), float32."""
        weights = self.table[found.bucket].astype(np.float64)
        frequency = tf(found.times)
        if rows == 1:
            values = frequency * weights[:, 0]
            length = math.sqrt(values @ values) or 1.0
            return ((frequency @ weights)[None, 1:] / length + self.bias).astype(np.float32)
        weights *= frequency[:, None]
        squared = np.bincount(found.row, weights[:, 0] ** 2, minlength=rows)
        columns = [np.bincount(found.row, column, minlength=rows) for column in weights.T[1:]]
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

        `LexicalError` if it is something else, or damaged.
        """
        try:
            with np.load(file, allow_pickle=False) as arrays:
                texts, ngrams, bits = arrays["space"].tolist()
                space = FeatureSpace(texts, ngrams, bits)
                return cls(space, arrays["table"], arrays["bias"])
        except LexicalError as error:
            raise LexicalError(f"{file} is no lexical model: {error}") from error
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise LexicalError(f"{file} is no lexical model, or damaged: {error}") from error


def tf(count: ndarray) -> ndarray:
    """Return the weight of features that occur so many times: 1 + ln(count), rounded to `GRAIN`."""
    return _TF[np.minimum(count, len(_TF) - 1)]
