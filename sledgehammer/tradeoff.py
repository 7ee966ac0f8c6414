"""The speed/accuracy curve, computed from one pass with all exits."""

from dataclasses import dataclass
from typing import Dict, Iterable, List, Optional, Sequence

import torch
from torch import Tensor

from sledgehammer.calibration import bin_counts, error_from_bins
from sledgehammer.policies import ExitPolicy


@dataclass(frozen=True)
class Point:
    """What one way of stopping gives.

    # Parameters

    threshold : `Optional[float]`
        The policy's setting, if there is one.
    accuracy, macro_f1 : `float`
    mean_layers : `float`
        Layers run for a row, on average.
    layer_speedup : `float`
        Layers of the full model / mean layers.
    calibration_error : `float`
        Expected calibration error of the answers given.
    shares : `Dict[int, float]`
        Share of the rows that each exit answers, by layer.
    """

    threshold: Optional[float]
    accuracy: float
    macro_f1: float
    mean_layers: float
    layer_speedup: float
    calibration_error: float
    shares: Dict[int, float]


@dataclass
class _Counts:
    """Sums over rows; those of several groups of rows may be added and weighted."""

    confusion: Tensor  # (labels, labels): true by predicted
    bins: Tensor  # (3, bins), as of `bin_counts`
    exits: Tensor  # (exits,)

    @classmethod
    def weighted(cls, parts: Sequence["_Counts"], weights: Sequence[float]) -> "_Counts":
        def total(name: str) -> Tensor:
            return sum(getattr(part, name) * weight for part, weight in zip(parts, weights))

        return cls(total("confusion"), total("bins"), total("exits"))


class Tradeoff:
    """What a model would have answered, and at what cost, under every way of stopping.

    # Parameters

    probs : `Tensor`
        Shape (rows, exits, labels): calibrated probabilities of every exit for every row.
    label : `Tensor`
        Shape (rows,), long.
    exit_layers : `Sequence[int]`
        The layers with an exit, counted from 0.
    full_layers : `int`
        Layers of the full model.
    policy : `ExitPolicy`
        What is replayed at various thresholds.
    """

    def __init__(
        self,
        probs: Tensor,
        label: Tensor,
        exit_layers: Sequence[int],
        full_layers: int,
        policy: ExitPolicy,
    ) -> None:
        self.probs = probs
        self.label = label
        self.exit_layers = list(exit_layers)
        self.full_layers = full_layers
        self._policy = policy
        self._confidence, self._predicted = probs.max(dim=-1)
        self.correct = self._predicted == label[:, None]
        """Shape (rows, exits), bool: which exits are right."""

    def answered_by(self, threshold: float) -> Tensor:
        """The position of the exit that answers each row: (rows,), long."""
        return self._policy.replay(self.probs, self.probs.new_full((len(self.probs),), threshold))

    def correct_at(self, threshold: float) -> Tensor:
        """Which rows are answered rightly: (rows,), bool."""
        return self.correct.gather(1, self.answered_by(threshold)[:, None]).squeeze(1)

    def predicted_at(self, threshold: float) -> Tensor:
        """The answers, as label indices: (rows,), long."""
        return self._predicted.gather(1, self.answered_by(threshold)[:, None]).squeeze(1)

    def curve(self, thresholds: Iterable[float]) -> List[Point]:
        """The policy's points at some thresholds."""
        return [self._point(self._counts(self.answered_by(t)), t) for t in thresholds]

    def grid(self, step: float = 0.01) -> List[float]:
        """Thresholds that show the whole curve: no confidence is below 1 / labels."""
        labels = self.probs.size(-1)
        inner = [i * step for i in range(1, round(1 / step)) if i * step > 1 / labels]
        return [0.0, *(round(t, 10) for t in inner), 0.995, 0.998, 0.999, 0.9999, 1.0]

    def distinct_thresholds(self) -> List[float]:
        """Every threshold at which an answer changes, and 0.0 and 1.0: the curve between two of
        them is flat."""
        inner = self._confidence[:, :-1].flatten().unique()
        return [0.0, *(t for t in inner.tolist() if 0.0 < t < 1.0), 1.0]

    def single_exits(self) -> List[Point]:
        """Each exit answering every row, lowest first."""
        return [self._point(counts) for counts in self._exit_counts()]

    def random_exits(self, curve: Sequence[Point]) -> List[Point]:
        """For each point of a curve, as many rows at each exit, but drawn blindly.

        What is expected of such draws, exactly: the weighted means of the single exits. The gap
        to the curve is what the confidence is worth.
        """
        parts = self._exit_counts()
        return [
            self._point(_Counts.weighted(parts, list(point.shares.values()))) for point in curve
        ]

    def oracle(self) -> Point:
        """Every row answered by its earliest right exit, or by the first if none is right."""
        return self._point(self._counts(self.correct.long().argmax(dim=1)))

    def _exit_counts(self) -> List[_Counts]:
        rows, exits = self.correct.shape
        return [self._counts(torch.full((rows,), exit)) for exit in range(exits)]

    def _counts(self, exit: Tensor) -> _Counts:
        rows = torch.arange(len(exit))
        labels = self.probs.size(-1)
        predicted = self._predicted[rows, exit]
        confusion = torch.bincount(self.label * labels + predicted, minlength=labels**2)
        return _Counts(
            confusion.view(labels, labels).double(),
            torch.stack(bin_counts(self._confidence[rows, exit], predicted == self.label)),
            torch.bincount(exit, minlength=len(self.exit_layers)).double(),
        )

    def _point(self, counts: _Counts, threshold: Optional[float] = None) -> Point:
        total = float(counts.confusion.sum())
        shares = counts.exits / total
        layers = shares.new_tensor(self.exit_layers) + 1
        mean_layers = float((shares * layers).sum())
        return Point(
            threshold,
            float(counts.confusion.trace()) / total,
            _macro_f1(counts.confusion),
            mean_layers,
            self.full_layers / mean_layers,
            error_from_bins(*counts.bins),
            dict(zip(self.exit_layers, shares.tolist())),
        )


def _macro_f1(confusion: Tensor) -> float:
    """Mean F1 of the labels that occur, as in scikit-learn."""
    right = confusion.diagonal()
    either = confusion.sum(dim=0) + confusion.sum(dim=1)
    occurs = either > 0
    return float((2 * right[occurs] / either[occurs]).mean())
