"""The speed/accuracy curve, computed from one pass with all exits."""

import copy
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

import numpy as np
import torch
from torch import Tensor

from sledgehammer.calibration import bin_counts, error_from_bins
from sledgehammer.model.policy_config import configuration_errors
from sledgehammer.policies import ConfidencePolicy, Evidence, ExitPolicy, Exits


@dataclass(frozen=True)
class Point:
    """What one way of stopping gives.

    # Parameters

    setting : `Union[float, List[float], None]`
        The value of the policy's setting, if there is one; a list where each exit but the last
        has its own.
    accuracy, macro_f1 : `float`
    mean_layers : `float`
        Layers run for a row, on average.
    layer_speedup : `float`
        Layers of the full model / mean layers.
    calibration_error : `float`
        Expected calibration error of the answers given.
    shares : `Dict[int, float]`
        Share of the rows that each exit answers, by layer.
    name : `str`, optional (default = `"threshold"`)
        What the setting is called.
    """

    setting: Union[float, List[float], None]
    accuracy: float
    macro_f1: float
    mean_layers: float
    layer_speedup: float
    calibration_error: float
    shares: Dict[int, float]
    name: str = "threshold"

    @property
    def shown(self) -> str:
        """The setting, for a table or a legend."""
        each = self.setting if isinstance(self.setting, list) else [self.setting]
        return ", ".join("" if value is None else f"{value:.6g}" for value in each)

    def figures(self) -> Dict[str, Any]:
        """All of it, the setting under its own name."""
        rest = {k: v for k, v in vars(self).items() if k not in ("setting", "name")}
        return {self.name: self.setting, **rest}


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
        What is replayed at various values of the setting that it sweeps; a copy is kept.
    signals : `Mapping[str, Tensor]`, optional
        What the policy may need beside the probabilities, by name (see `policies.Evidence`).
    shares : `np.ndarray`, optional
        What a budget goes by (see `policies.exit_shares`).

    # Raises

    `ConfigurationError` if the policy needs what is not there.
    """

    def __init__(
        self,
        probs: Tensor,
        label: Tensor,
        exit_layers: Sequence[int],
        full_layers: int,
        policy: ExitPolicy,
        signals: Optional[Mapping[str, Tensor]] = None,
        shares: Optional[np.ndarray] = None,
    ) -> None:
        self.probs = probs
        self.label = label
        self.exit_layers = list(exit_layers)
        self.full_layers = full_layers
        arrays = {name: signal.cpu().numpy() for name, signal in (signals or {}).items()}
        self.evidence = Evidence(probs.cpu().numpy(), arrays)
        self.policy = copy.copy(policy)
        with configuration_errors():
            self.policy.bind(Exits(self.exit_layers, list(arrays), shares))
            if unready := self.policy.unready():
                raise ValueError(unready)
        self._confidence, self._predicted = probs.max(dim=-1)
        self.correct = self._predicted == label[:, None]
        """Shape (rows, exits), bool: which exits are right."""

    @property
    def confidence(self) -> np.ndarray:
        """Of all exits: (rows, exits)."""
        return self._confidence.cpu().numpy()

    @property
    def predicted(self) -> np.ndarray:
        """The answers of all exits, as label indices: (rows, exits)."""
        return self._predicted.cpu().numpy()

    @property
    def full(self) -> float:
        """The value of the policy's setting at which nothing stops early."""
        return self.policy.full

    def answered_by(self, setting: float) -> Tensor:
        """The position of the exit that answers each row: (rows,), long."""
        settings = self.policy.values.with_value(self.policy.sweeps, setting)
        return torch.from_numpy(self.policy.replay(self.evidence, settings))

    @property
    def highest(self) -> int:
        """The position of the highest exit that the policy may take: the full model, or its cap."""
        return int(self.policy.highest(self.policy.values))

    @property
    def full_name(self) -> str:
        """What early answers are compared with, in words."""
        layer = self.exit_layers[self.highest]
        if self.highest == len(self.exit_layers) - 1:
            return f"the last exit (layer {layer})"
        cap = self.policy.max_exit_layer
        return f"the exit at layer {layer}, the highest that max_exit_layer {cap} allows"

    def correct_at(self, setting: float) -> Tensor:
        """Which rows are answered rightly: (rows,), bool."""
        return self.correct.gather(1, self.answered_by(setting)[:, None]).squeeze(1)

    def predicted_at(self, setting: float) -> Tensor:
        """The answers, as label indices: (rows,), long."""
        return self._predicted.gather(1, self.answered_by(setting)[:, None]).squeeze(1)

    def curve(self, settings: Iterable[float]) -> List[Point]:
        """The policy's points at some values of its setting."""
        return [self._point(self._counts(self.answered_by(s)), s) for s in settings]

    def with_thresholds(self, thresholds: Sequence[float]) -> Point:
        """Return the point of a threshold an exit, for each exit but the last."""
        policy = ConfidencePolicy(
            thresholds=list(thresholds), max_exit_layer=self.policy.max_exit_layer
        )
        assert self.policy.exits is not None
        policy.bind(self.policy.exits)
        answered_by = torch.from_numpy(policy.replay(self.evidence))
        return self._point(self._counts(answered_by), list(thresholds), "thresholds")

    def grid(self) -> List[float]:
        """Values of the setting that show the whole curve, whatever the rows: the fastest first,
        the full model last."""
        return self.policy.grid(self.probs.size(-1))

    def distinct_settings(self) -> List[float]:
        """Every value at which an answer changes, in the same order, and the two ends: the curve
        between two of them is flat."""
        return self.policy.distinct(self.evidence)

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

    def _point(
        self,
        counts: _Counts,
        setting: Union[float, List[float], None] = None,
        name: Optional[str] = None,
    ) -> Point:
        total = float(counts.confusion.sum())
        shares = counts.exits / total
        layers = shares.new_tensor(self.exit_layers) + 1
        mean_layers = float((shares * layers).sum())
        return Point(
            setting,
            float(counts.confusion.trace()) / total,
            _macro_f1(counts.confusion),
            mean_layers,
            self.full_layers / mean_layers,
            error_from_bins(*counts.bins),
            dict(zip(self.exit_layers, shares.tolist())),
            name or self.policy.sweeps,
        )


def _macro_f1(confusion: Tensor) -> float:
    """Mean F1 of the labels that occur, as in scikit-learn."""
    right = confusion.diagonal()
    either = confusion.sum(dim=0) + confusion.sum(dim=1)
    occurs = either > 0
    return float((2 * right[occurs] / either[occurs]).mean())
