"""Test whether other texts in the batch change an exported model's answer to a text."""

import random
from dataclasses import dataclass
from typing import Iterator, List, Sequence, Tuple

import numpy as np
from numpy import ndarray

from sledgehammer.engine import Engine
from sledgehammer.engine.tokenizer import Encoded

LARGEST_BATCH = 128

NOTICEABLE = 1e-3
"""Smaller changes of a probability count as rounding."""


@dataclass(frozen=True)
class Isolation:
    """Hold what changes for rows when others run with them.

    # Parameters

    batches, rows : `int`
        How many random batches ran, and how many rows in all of them together.
    labels, exits, probabilities : `int`
        How many rows got another label, exit or probability (by more than `NOTICEABLE`) than
        alone. Probabilities are compared only where the exit is the same.
    probability_difference : `float`
        The largest difference of a probability among the rows with the same exit.
    """

    batches: int
    rows: int
    labels: int
    exits: int
    probabilities: int
    probability_difference: float

    @property
    def is_complete(self) -> bool:
        """Return whether nothing changed for any row."""
        return not (self.labels or self.exits or self.probabilities)


def answers_alone(engine: Engine, encoded: Sequence[Encoded]) -> Tuple[ndarray, ndarray]:
    """Run each row by itself, with the engine's own policy.

    # Returns

    The positions of the exits, (rows,), and the calibrated probabilities, (rows, labels).
    """
    answers = [_answered(engine, [row]) for row in encoded]
    return tuple(np.concatenate(parts) for parts in zip(*answers))  # type: ignore[return-value]


def isolation_of(
    engine: Engine, encoded: Sequence[Encoded], batches: int, seed: int = 0
) -> Isolation:
    """Compare each row alone with the same row in random batches, in random places.

    # Parameters

    encoded : `Sequence[Encoded]`
        The rows, tokenised.
    batches : `int`
        How many batches to draw; sizes are log-uniform between 1 and `LARGEST_BATCH`.

    # Raises

    `ValueError` if there are no rows.
    """
    if not encoded:
        raise ValueError("there are no rows whose answers could be compared")
    exits, probs = answers_alone(engine, encoded)
    labels = probs.argmax(axis=1)
    counts = np.zeros(4, np.int64)
    largest = 0.0
    for rows in _random_batches(len(encoded), batches, random.Random(seed)):
        batch_exits, batch_probs = _answered(engine, [encoded[row] for row in rows])
        same_exit = batch_exits == exits[rows]
        differences = np.abs(batch_probs - probs[rows]).max(axis=1)[same_exit]
        largest = max(largest, float(differences.max(initial=0.0)))
        counts += [
            len(rows),
            (batch_probs.argmax(axis=1) != labels[rows]).sum(),
            (~same_exit).sum(),
            (differences > NOTICEABLE).sum(),
        ]
    run, labels_changed, exits_changed, probabilities_changed = counts.tolist()
    return Isolation(batches, run, labels_changed, exits_changed, probabilities_changed, largest)


def _answered(engine: Engine, encoded: Sequence[Encoded]) -> Tuple[ndarray, ndarray]:
    batch = engine.encode_batch(encoded, engine.policy.values)
    return engine.run_until_answered(batch, engine.policy)


def _random_batches(rows: int, batches: int, draw: random.Random) -> Iterator[List[int]]:
    """Yield positions of rows; with few rows, a row may be in a batch several times."""
    for _ in range(batches):
        size = round(2 ** draw.uniform(0, np.log2(LARGEST_BATCH)))
        if size <= rows:
            yield draw.sample(range(rows), size)
        else:
            yield [draw.randrange(rows) for _ in range(size)]
