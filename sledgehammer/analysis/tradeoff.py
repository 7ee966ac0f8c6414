"""Compute the speed/accuracy curve from one pass with all exits."""

import copy
import math
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
    """Hold the speed and accuracy of one way of stopping.

    # Parameters

    setting : `Union[float, List[float], None]`
        The value of the policy's setting, if there is one; a list if each exit but the last has
        a threshold of its own.
    accuracy, macro_f1 : `float`
    mean_layers : `float`
        Layers run for a row, on average.
    layer_speedup : `float`
        Layers of the full model / mean layers; infinite where no row runs a layer.
    calibration_error : `float`
        Expected calibration error of the answers given.
    shares : `Dict[int, float]`
        Share of the rows that each exit answers, by layer.
    name : `str`, optional (default = `"threshold"`)
        The setting's name.
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
    def number(self) -> float:
        """Return the setting of a point that has one, not one for each exit."""
        assert isinstance(self.setting, (int, float)), f"the setting is {self.setting}"
        return self.setting

    @property
    def shown(self) -> str:
        """Return the setting as a table or a legend shows it."""
        each = self.setting if isinstance(self.setting, list) else [self.setting]
        return ", ".join("" if value is None else f"{value:.6g}" for value in each)

    @property
    def speedup_shown(self) -> str:
        """Return the layer speedup, for a table or a sentence."""
        return "no layers" if math.isinf(self.layer_speedup) else f"{self.layer_speedup:.2f}x"

    def figures(self) -> Dict[str, Any]:
        """Return all fields, with the setting under its own name."""
        rest = {k: v for k, v in vars(self).items() if k not in ("setting", "name")}
        return {self.name: self.setting, **rest}


@dataclass
class _Counts:
    """Hold sums over rows, which can be weighted and added."""

    confusion: Tensor  # (labels, labels): true by predicted
    bins: Tensor  # (3, bins), as of `bin_counts`
    exits: Tensor  # (exits,)

    @classmethod
    def weighted(cls, parts: Sequence["_Counts"], weights: Sequence[float]) -> "_Counts":
        """Return the weighted sum of several counts."""

        def total(name: str) -> Tensor:
            return sum(getattr(part, name) * weight for part, weight in zip(parts, weights))

        return cls(total("confusion"), total("bins"), total("exits"))


class Tradeoff:
    """Compute what a model would answer, and at what cost, under every way of stopping.

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
        The policy to replay at various values of the setting that it sweeps; a copy is kept. If it
        has thresholds by label, it must be bound to the model, whose labels it names.
    signals : `Mapping[str, Tensor]`, optional
        Signals that the policy may need besides the probabilities (see `policies.Evidence`).
    shares : `np.ndarray`, optional
        Where rows stop at which threshold, which a budget needs (see `policies.exit_shares`).

    # Raises

    `ConfigurationError` if the policy needs something that is missing.
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
        known = policy.exits.labels if policy.exits is not None else ()
        self.labels = list(known) or [str(index) for index in range(probs.size(-1))]
        """The names of the labels, by index; their numbers, if the policy does not know them."""
        arrays = {name: signal.cpu().numpy() for name, signal in (signals or {}).items()}
        self.evidence = Evidence(probs.cpu().numpy(), arrays)
        self.policy = copy.copy(policy)
        with configuration_errors():
            self.policy.bind(Exits(self.exit_layers, list(arrays), shares, self.labels))
            if unready := self.policy.unready():
                raise ValueError(unready)
        self._confidence, self._predicted = probs.max(dim=-1)
        self.correct = self._predicted == label[:, None]
        """Shape (rows, exits), bool: which exits answer each row correctly."""

    @property
    def confidence(self) -> np.ndarray:
        """Return the confidence of all exits: (rows, exits)."""
        return self._confidence.cpu().numpy()

    @property
    def predicted(self) -> np.ndarray:
        """Return the answers of all exits, as label indices: (rows, exits)."""
        return self._predicted.cpu().numpy()

    @property
    def full(self) -> float:
        """Return the value of the policy's setting at which nothing stops early."""
        return self.policy.full

    def answered_by(self, setting: float) -> Tensor:
        """Return the position of the exit that answers each row: (rows,), long."""
        return torch.from_numpy(self.policy.replay(self.evidence, self.policy.values_at(setting)))

    @property
    def highest(self) -> int:
        """Return the position of the highest exit that the policy may use: the last, or its cap."""
        return int(self.policy.highest(self.policy.values))

    @property
    def full_name(self) -> str:
        """Return in words what early answers are compared with."""
        layer = self.exit_layers[self.highest]
        if self.highest == len(self.exit_layers) - 1:
            return f"the last exit (layer {layer})"
        cap = self.policy.max_exit_layer
        return f"the exit at layer {layer}, the highest that max_exit_layer {cap} allows"

    @property
    def full_correct(self) -> Tensor:
        """Return which rows the full model, or the highest exit allowed, gets right: (rows,), bool."""
        return self.correct[:, self.highest]

    @property
    def full_predicted(self) -> Tensor:
        """Return the answers of the full model, or of the highest exit allowed: (rows,), long."""
        return self._predicted[:, self.highest]

    def full_point(self) -> Point:
        """Return the point of the full model, or of the highest exit allowed."""
        rows = torch.full((len(self.label),), self.highest)
        return self._point(self._counts(rows), self.full)

    def correct_at(self, setting: float) -> Tensor:
        """Return which rows are answered correctly: (rows,), bool."""
        return self.correct.gather(1, self.answered_by(setting)[:, None]).squeeze(1)

    def predicted_at(self, setting: float) -> Tensor:
        """Return the answers as label indices: (rows,), long."""
        return self._predicted.gather(1, self.answered_by(setting)[:, None]).squeeze(1)

    def recall_at(self, setting: float, label: int) -> float:
        """Return the share of a label's rows that are answered correctly; NaN if there are none."""
        return float(self.correct_at(setting)[self.label == label].double().mean())

    def curve(self, settings: Iterable[float]) -> List[Point]:
        """Return the policy's points at some values of its setting."""
        return [self._point(self._counts(self.answered_by(s)), s) for s in settings]

    def at_default(self) -> Point:
        """Return the point at the settings that the policy itself has."""
        thresholds = getattr(self.policy, "thresholds", None)
        counts = self._counts(torch.from_numpy(self.policy.replay(self.evidence)))
        return self._point(counts, self.policy.swept if thresholds is None else thresholds)

    def with_thresholds(self, thresholds: Sequence[float]) -> Point:
        """Return the point with one threshold for each exit but the last."""
        policy = ConfidencePolicy(
            thresholds=list(thresholds), max_exit_layer=self.policy.max_exit_layer
        )
        assert self.policy.exits is not None
        policy.bind(self.policy.exits)
        answered_by = torch.from_numpy(policy.replay(self.evidence))
        return self._point(self._counts(answered_by), list(thresholds), "thresholds")

    def grid(self) -> List[float]:
        """Return values of the setting that show the whole curve, the fastest first.

        They do not depend on the rows; the last is that of the full model.
        """
        return self.policy.grid(self.probs.size(-1))

    def distinct_settings(self) -> List[float]:
        """Return every value at which an answer changes and the two ends, the fastest first.

        Between two of them the curve is flat.
        """
        return self.policy.distinct(self.evidence)

    def single_exits(self) -> List[Point]:
        """Return the point of each exit answering every row, the lowest first."""
        return [self._point(counts) for counts in self._exit_counts()]

    def random_exits(self, curve: Sequence[Point]) -> List[Point]:
        """Return, for each point of a curve, one with as many rows at each exit, drawn blindly.

        It is the exact expectation over such draws: the weighted mean of the single exits. The gap
        to the curve is what the confidence is worth.
        """
        parts = self._exit_counts()
        return [
            self._point(_Counts.weighted(parts, list(point.shares.values()))) for point in curve
        ]

    def oracle(self) -> Point:
        """Return the point of each row stopping at its earliest correct exit, or the first if none is."""
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
            self.full_layers / mean_layers if mean_layers else math.inf,
            error_from_bins(*counts.bins),
            dict(zip(self.exit_layers, shares.tolist())),
            name or self.policy.sweeps,
        )


def _macro_f1(confusion: Tensor) -> float:
    """Return the mean F1 of the labels that occur, as scikit-learn does."""
    right = confusion.diagonal()
    either = confusion.sum(dim=0) + confusion.sum(dim=1)
    occurs = either > 0
    return float((2 * right[occurs] / either[occurs]).mean())
