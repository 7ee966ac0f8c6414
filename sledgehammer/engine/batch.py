"""Hold the rows that run together, and take them to the next exit, where some of them stop."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional, Protocol, Sequence, Tuple

import numpy as np
from numpy import ndarray

from sledgehammer.engine.manifest import Manifest
from sledgehammer.policies import Evidence, ExitPolicy, RowSettings
from sledgehammer.policies.evidence import OF_EACH_EXIT

Arrays = Dict[str, ndarray]


@dataclass
class Batch:
    """Hold the rows of a batch that have no answer yet.

    # Parameters

    rows : `ndarray`
        Shape (rows,): the numbers of the rows; at the start, their positions.
    lengths : `ndarray`
        Shape (rows,): the number of word pieces of each row.
    inputs : `Dict[str, ndarray]`
        What the next segment takes.
    probs : `List[ndarray]`
        The probabilities of each exit passed, (rows, labels).
    signals : `Dict[str, ndarray]`, optional
        What else the policy looks at; see `Evidence`.
    settings : `RowSettings`, optional
        The settings by which the policy decides; none where all exits run.
    lexical : `ndarray`, optional
        Shape (rows, labels): the logits of the exit before the first layer, if there is one.
    padding : `int`, optional (default = `0`)
        The word piece that fills up rows.
    """

    rows: ndarray
    lengths: ndarray
    inputs: Arrays
    probs: List[ndarray]
    signals: Arrays = field(default_factory=dict)
    settings: RowSettings = field(default_factory=RowSettings)
    lexical: Optional[ndarray] = None
    padding: int = 0

    @property
    def position(self) -> int:
        """Return the position of the next exit."""
        return len(self.probs)

    @property
    def evidence(self) -> Evidence:
        """Return what the exits so far have said about the rows."""
        return Evidence(self.probs, self.signals)

    def see(self, probs: ndarray, signals: Arrays) -> None:
        """Add what the next exit says: (rows, labels), and signals (rows,) or (rows, exits)."""
        self.probs = [*self.probs, probs]
        for name, signal in signals.items():
            if name in OF_EACH_EXIT:
                so_far = [self.signals[name]] if name in self.signals else []
                signal = np.concatenate([*so_far, signal.reshape(-1, 1)], axis=1)
            self.signals = {**self.signals, name: signal}

    def keep(self, rows: ndarray) -> "Batch":
        """Return a batch of some rows (indices), without the columns that are padding in all."""
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
            {name: signal[rows] for name, signal in self.signals.items()},
            self.settings.of(rows),
            None if self.lexical is None else self.lexical[rows],
            self.padding,
        )

    @staticmethod
    def join(batches: "Sequence[Batch]") -> "Batch":
        """Return one batch made of several that are at the same exit."""
        longest = max(int(batch.lengths.max()) for batch in batches)
        joined = {}
        lexical: List[Any] = [batch.lexical for batch in batches]
        for name in batches[0].inputs:
            arrays = [batch.inputs[name] for batch in batches]
            if name != "pooled":
                # Before the first layer the word pieces wait, after it hidden states.
                padding = batches[0].padding if name == "input_ids" else 0
                arrays = [_widen(array, longest, padding) for array in arrays]
            joined[name] = np.concatenate(arrays)
        return Batch(
            np.concatenate([batch.rows for batch in batches]),
            np.concatenate([batch.lengths for batch in batches]),
            joined,
            [np.concatenate(probs) for probs in zip(*(batch.probs for batch in batches))],
            {n: np.concatenate([b.signals[n] for b in batches]) for n in batches[0].signals},
            RowSettings.join([b.settings for b in batches], [len(b.rows) for b in batches]),
            None if lexical[0] is None else np.concatenate(lexical),
            batches[0].padding,
        )


class Stopped(NamedTuple):
    """Hold the rows that an exit answers.

    # Parameters

    rows : `ndarray`
        Shape (rows,): their numbers.
    exit : `int`
        The position of the exit.
    probs : `ndarray`
        Shape (rows, labels): its calibrated probabilities.
    """

    rows: ndarray
    exit: int
    probs: ndarray


class BatchRunner(Protocol):
    """Run batches, as `SegmentRunner` does."""

    manifest: Manifest

    def advance(self, batch: Batch) -> ndarray:
        """Run a batch up to its next exit, and return the calibrated probabilities there."""


def step(
    runner: BatchRunner, batch: Batch, policy: ExitPolicy
) -> Tuple[Optional[Stopped], Optional[Batch]]:
    """Run a batch up to its next exit, and return the rows that stop there and those that go on.

    Each is `None` if there are no such rows. At the last exit all rows stop.

    # Parameters

    runner : `BatchRunner`
    batch : `Batch`
        With the settings by which `policy` decides.
    policy : `ExitPolicy`
    """
    probs = runner.advance(batch)
    exit = batch.position - 1
    is_last = batch.position == len(runner.manifest.exit_layers)
    stops = is_last or policy.decide(batch.evidence, batch.settings)
    # One answer for all rows is the usual case, and costs no array operation.
    if not isinstance(stops, ndarray):
        return (Stopped(batch.rows, exit, probs), None) if stops else (None, batch)
    if stops.all():
        return Stopped(batch.rows, exit, probs), None
    if not stops.any():
        return None, batch
    return Stopped(batch.rows[stops], exit, probs[stops]), batch.keep(np.flatnonzero(~stops))


def _widen(array: ndarray, tokens: int, padding: int) -> ndarray:
    missing = tokens - array.shape[1]
    if not missing:
        return array
    width = [(0, 0), (0, missing)] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, width, constant_values=padding)
