"""Hold what policies know of a model and of its rows."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Mapping, Optional, Sequence, Union

import numpy as np
from numpy import ndarray

from sledgehammer.policies.grids import confidence
from sledgehammer.policies.settings import Values

OF_EACH_EXIT = {"certainty"}
"""The signals with one column for each exit, which grow from exit to exit."""


@dataclass(frozen=True)
class Exits:
    """Hold what a policy knows of the model for which it decides.

    # Parameters

    layers : `Sequence[int]`
        The layers with an exit, counted from 0; -1 is the lexical exit, before the first layer.
    signals : `Sequence[str]`, optional
        Names of the learned signals that the model computes.
    shares : `ndarray`, optional
        The table that `exit_shares` made from calibration data, if that has been done.
    labels : `Sequence[str]`, optional
        The names of the labels, in the order of the probabilities; thresholds by label need them.
    """

    layers: Sequence[int]
    signals: Sequence[str] = ()
    shares: Optional[ndarray] = None
    labels: Sequence[str] = ()


class Evidence:
    """Hold what the exits so far say of some rows.

    # Parameters

    probs : `Union[ndarray, Sequence[ndarray]]`
        Shape (rows, exits so far, labels): calibrated probabilities, the current exit's last. Or
        one array an exit, (rows, labels): they are joined when a policy asks for all of them.
    signals : `Mapping[str, ndarray]`, optional
        `certainty`: (rows, exits so far), in [0, 1]; `depth`: (rows, all exits), probabilities.
        A lexical exit's certainty is its confidence, and its share of the depth is 0.
    """

    def __init__(
        self,
        probs: Union[ndarray, Sequence[ndarray]],
        signals: Mapping[str, ndarray] = MappingProxyType({}),
    ) -> None:
        self._probs = probs
        self.signals = signals

    @property
    def probs(self) -> ndarray:
        """Return the probabilities of all exits so far: (rows, exits so far, labels)."""
        if not isinstance(self._probs, ndarray):
            self._probs = np.stack(self._probs, axis=1)
        return self._probs

    @property
    def last(self) -> ndarray:
        """Return the probabilities of the current exit: (rows, labels)."""
        # With short texts every call of numpy is felt: make no more of them than needed.
        return self._probs[:, -1] if isinstance(self._probs, ndarray) else self._probs[-1]

    @property
    def confidence(self) -> Values:
        """Return the current exit's largest probability: (rows,), or a float for a lone row."""
        last = self.last
        # The first array operation after a layer takes some 20 microseconds, as the layer's weights
        # have driven its code from the cache; a layer may take a thousand.
        return max(last.tolist()[0]) if len(last) == 1 else confidence(last)

    @property
    def seen(self) -> int:
        """Return how many exits have been computed."""
        return self._probs.shape[1] if isinstance(self._probs, ndarray) else len(self._probs)

    def upto(self, exits: int) -> "Evidence":
        """Return the evidence as it was after so many exits."""
        return Evidence(
            self.probs[:, :exits],
            {
                name: signal[:, :exits] if name in OF_EACH_EXIT else signal
                for name, signal in self.signals.items()
            },
        )

    def rows(self, chosen: ndarray) -> "Evidence":
        """Return the evidence of the chosen rows (indices)."""
        return Evidence(
            self.probs[chosen], {name: signal[chosen] for name, signal in self.signals.items()}
        )
