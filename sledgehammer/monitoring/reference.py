"""Keep how the texts of a model looked when it was made: histograms, no texts."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from numpy import ndarray

from sledgehammer.support.files import replacing

REFERENCE = "reference.json"
"""The file's name within the directory of an exported model."""

CONFIDENCE_BINS = 200
LENGTH_BOUNDS = [round(2 ** (n / 4)) for n in range(1, 61)]
"""Upper ends of the bins of lengths, in word pieces; neighbours that are equal leave a bin empty."""

LEAST_ROWS = 50
"""With fewer rows a change would go unnoticed for long."""


@dataclass(frozen=True)
class Reference:
    """Hold counts of what the first exit said about texts, and of their lengths.

    The first exit sees every text, whatever the threshold, so that these can be compared between
    settings.

    # Parameters

    rows : `int`
    confidence : `List[int]`
        By bin of the first exit's confidence, `CONFIDENCE_BINS` of the same width in [0, 1].
    labels : `List[int]`
        By the label that the first exit gave.
    lengths : `List[int]`
        By word pieces; see `LENGTH_BOUNDS`.

    # Raises

    `ValueError` if the counts do not belong together.
    """

    rows: int
    confidence: List[int]
    labels: List[int]
    lengths: List[int]

    def __post_init__(self) -> None:
        sizes = {"confidence": CONFIDENCE_BINS, "lengths": len(LENGTH_BOUNDS) + 1}
        for name in ("confidence", "labels", "lengths"):
            counts = getattr(self, name)
            if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
                raise ValueError(f"{name} must be a list of counts")
            if sum(counts) != self.rows or len(counts) != sizes.get(name, len(counts)):
                raise ValueError(f"{name} must have a bin for each of {self.rows} rows")

    def save(self, directory: Path) -> None:
        """Write it into the directory of an exported model, before its manifest is written."""
        with replacing(directory / REFERENCE) as partial:
            partial.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    @staticmethod
    def load(directory: Path) -> "Optional[Reference]":
        """Return the reference of an exported model; `None` if it has none.

        # Raises

        `ValueError` if the file is damaged.
        """
        try:
            content: Dict[str, Any] = json.loads((directory / REFERENCE).read_text("utf-8"))
            return Reference(**content)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise ValueError(f"{directory / REFERENCE} is damaged: {error}") from error

    @staticmethod
    def of(confidence: ndarray, labels: ndarray, label_count: int, lengths: ndarray) -> "Reference":
        """Return the reference of some rows.

        # Parameters

        confidence, labels : `ndarray`
            Shape (rows,): what the first exit said; labels by number.
        lengths : `ndarray`
            Shape (rows,): word pieces.

        # Raises

        `ValueError` if there are too few rows.
        """
        if len(lengths) < LEAST_ROWS:
            raise ValueError(f"a reference needs at least {LEAST_ROWS} rows, got {len(lengths)}")
        return Reference(
            len(lengths),
            _counted([confidence_bin(c) for c in confidence.tolist()], CONFIDENCE_BINS),
            _counted(labels.tolist(), label_count),
            _counted([length_bin(n) for n in lengths.tolist()], len(LENGTH_BOUNDS) + 1),
        )


def _counted(bins: Sequence[int], count: int) -> List[int]:
    return np.bincount(np.asarray(bins, np.int64), minlength=count).tolist()


def confidence_bin(confidence: float) -> int:
    """Return the bin of a confidence."""
    return min(int(confidence * CONFIDENCE_BINS), CONFIDENCE_BINS - 1)


def length_bin(length: int) -> int:
    """Return the bin of a number of word pieces."""
    return int(np.searchsorted(LENGTH_BOUNDS, length))
