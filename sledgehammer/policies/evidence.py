"""What policies know of a model and of its rows, and what steers them during a stream."""

from dataclasses import dataclass, field
from typing import Dict, Mapping, Optional, Protocol, Sequence

from numpy import ndarray

OF_EACH_EXIT = {"certainty"}
"""The signals that have a column an exit and grow from exit to exit."""


@dataclass(frozen=True)
class Exits:
    """What a policy knows of the model for which it decides.

    # Parameters

    layers : `Sequence[int]`
        The layers with an exit, counted from 0.
    signals : `Sequence[str]`, optional
        Names of the learned signals that the model gives.
    shares : `ndarray`, optional
        What `exit_shares` made of calibration data, if that has been done.
    """

    layers: Sequence[int]
    signals: Sequence[str] = ()
    shares: Optional[ndarray] = None


@dataclass(frozen=True)
class Evidence:
    """What has been seen of some rows.

    # Parameters

    probs : `ndarray`
        Shape (rows, exits so far, labels): calibrated probabilities, the current exit's last.
    signals : `Mapping[str, ndarray]`, optional
        `certainty`: (rows, exits so far), in [0, 1]; `depth`: (rows, all exits), probabilities.
    """

    probs: ndarray
    signals: Mapping[str, ndarray] = field(default_factory=dict)

    def upto(self, exits: int) -> "Evidence":
        """What had been seen after so many exits."""
        return Evidence(
            self.probs[:, :exits],
            {
                name: signal[:, :exits] if name in OF_EACH_EXIT else signal
                for name, signal in self.signals.items()
            },
        )


class Controller(Protocol):
    """Sees to it that a stream of answers costs what it should."""

    def given(self) -> Dict[str, float]:
        """Settings of the rows that run next, as far as they have none of their own."""

    def note(self, exits: Sequence[int]) -> None:
        """These positions of exits have answered."""
