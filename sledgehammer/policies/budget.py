"""Stop so that a stream of texts costs what it may."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy import ndarray

from sledgehammer.policies.base import ExitPolicy
from sledgehammer.policies.evidence import Controller, Evidence, Exits
from sledgehammer.policies.grids import confidence
from sledgehammer.policies.settings import Decision, Setting, Settings, Values, single

KNOTS = 201
"""Thresholds at which `exit_shares` counts."""

PAYBACK = 32
"""So many texts are to pay back what those before them cost too much: fewer make the threshold
jump with each text, more let the mean wander."""


def exit_shares(probs: ndarray) -> ndarray:
    """Where rows stop at which threshold on confidence: what a budget is turned into a threshold by.

    # Parameters

    probs : `ndarray`
        Shape (rows, exits, labels): calibrated probabilities on calibration data.

    # Returns

    Shape (KNOTS, 1 + exits), float32: thresholds from 0.0 to 1.0, which lie where the confidences
    do, and the share of the rows that each exit answers there.
    """
    sure = confidence(np.asarray(probs, np.float32))
    exits = sure.shape[1]
    thresholds = np.linspace(0, 1, KNOTS, dtype=np.float32)
    if exits > 1 and len(sure):
        thresholds = np.quantile(sure[:, :-1], thresholds).astype(np.float32)
    thresholds[0], thresholds[-1] = 0.0, 1.0
    shares = np.zeros((KNOTS, exits))
    for own, threshold in zip(shares, thresholds):
        reached = sure >= threshold if threshold < 1 else np.zeros(sure.shape, bool)
        reached[:, -1] = True
        own += np.bincount(reached.argmax(axis=1), minlength=exits) / max(len(sure), 1)
    return np.concatenate([thresholds[:, None], shares], axis=1).astype(np.float32)


@ExitPolicy.register("budget")
class BudgetPolicy(ExitPolicy):
    """Stop by confidence, at the threshold at which texts cost what they may on average.

    On calibration data the share s_i(t) of the texts that each exit answers at a threshold t is
    known (`exit_shares`); t is the one with `sum_i s_i(t) cost_i = budget`, between the knots by
    linear interpolation.

    This is all for single predictions, `evaluate` and `tradeoff`. In streams (`predict`, and
    `Engine.stream`) a controller moves the threshold after each batch, so that the mean over the
    stream is the budget also when the texts become harder or easier than the calibration data.
    A text with a budget of its own gets the plain threshold.

    Source: Bapna et al., "Controlling Computation versus Quality for Neural Sequence Models",
    2020, where one model serves several budgets of compute, which it is trained with. Here the
    model is any; the budget is one of time, over texts, and kept by a threshold.

    # Parameters

    budget : `float`, optional
        The mean cost of a text: layers, or what `cost` is in. From the cost of the first exit,
        which always takes that one, to that of the last, which always runs to it. `None` is the
        latter.
    cost : `Sequence[float]`, optional
        What a text costs that an exit answers, one figure an exit, such as measured milliseconds;
        rising. The layers run if `None`.
    """

    settings = {"budget": Setting(default=None, full=np.inf, high=np.inf, optional=True)}
    sweeps = "budget"
    budget: Optional[float]

    def __init__(self, *swept: Any, cost: Optional[Sequence[float]] = None, **values: Any) -> None:
        self._cost = None if cost is None else _checked_cost(cost)
        super().__init__(*swept, **values)

    def config(self) -> Dict[str, Any]:
        return {**super().config(), **({} if self._cost is None else {"cost": self._cost})}

    @property
    def cost(self) -> List[float]:
        """What a text costs that an exit answers, one figure an exit."""
        return [layer + 1.0 for layer in self.layers] if self._cost is None else self._cost

    @property
    def full(self) -> float:
        return self.cost[-1]

    def check_within_model(self, name: str, value: Optional[float]) -> None:
        super().check_within_model(name, value)
        if len(self.cost) != len(self.layers):
            raise ValueError(
                f"cost has {len(self.cost)} figures for {len(self.layers)} exits: give one an exit"
            )
        if name == "budget" and value is not None and not self.cost[0] <= value <= self.cost[-1]:
            unit = "layers" if self._cost is None else "the unit of its cost"
            raise ValueError(
                f"budget must be between {self.cost[0]:g} and {self.cost[-1]:g} ({unit}: those of "
                f"the first and of the last exit), got {value!r}"
            )

    def unready(self) -> Optional[str]:
        if self.exits is not None and self.exits.shares is not None:
            return None
        return (
            "the policy 'budget' does not know yet what a threshold costs: train with the callback "
            "sledgehammer_calibration, or run `allennlp calibrate`"
        )

    def bind(self, exits: Exits) -> None:
        super().bind(exits)
        self._known: Optional[Tuple[Any, float]] = None  # settings, and their threshold

    def stops(self, evidence: Evidence, settings: Settings) -> Decision:
        threshold = self.threshold(settings)
        return (evidence.confidence >= threshold) & (threshold < 1.0)

    def threshold(self, settings: Settings) -> Values:
        """The thresholds on confidence that the budgets come to: a number, or (rows,), float32."""
        given = settings["budget"], settings["max_exit_layer"]
        if any(isinstance(value, ndarray) for value in given):
            return self._thresholds(settings)
        # Asked at every exit of every batch, and the answer is the same.
        known = self._known  # other threads may have other settings
        if known is None or known[0] != given:
            known = self._known = given, float(self._thresholds(settings))
        return known[1]

    def _thresholds(self, settings: Settings) -> ndarray:
        budget, highest = np.broadcast_arrays(settings["budget"], self.highest(settings))
        found = np.empty(budget.shape, np.float32)
        for position in np.unique(highest):  # a cap makes all that is above it cheaper
            own = highest == position
            found[own] = np.interp(budget[own], *self._curve(int(position)))
        # The lowest confidence of the calibration data is not the lowest there is.
        found[budget <= single(self.cost[0])] = 0.0
        return found

    def _curve(self, highest: int) -> "tuple[ndarray, ndarray]":
        """Rising mean costs, and the thresholds that have them."""
        if self.exits is None or self.exits.shares is None:
            return np.array([self.cost[-1]]), np.array([1.0])  # then it is the full model
        table = self.exits.shares
        costs = table[:, 1:] @ np.minimum(self.cost, self.cost[highest])
        return np.maximum.accumulate(costs), table[:, 0]

    def grid(self, labels: int) -> List[float]:
        first, full = self.cost[0], self.cost[-1]
        inner = [first + (full - first) * i / 100 for i in range(1, 100)]
        return [first, *(float(f"{value:.6g}") for value in inner), full]

    def controller(self) -> Controller:
        return BudgetController(self)


class BudgetController:
    """Gives or takes budget, so that the mean cost of all that was answered is the policy's own.

    A controller with two terms: `budget + S / n + D`. What has been saved so far, S = texts * budget -
    cost of them, is to be used up within the next n texts; n is `PAYBACK`, or two batches if that
    is more. D, the sum of S / (2 n^2) over all texts so far, is what texts have become harder or
    easier by: without it the mean would lag behind as long as they go on drifting. In the long
    run S stays bounded, and so the mean comes as near to the budget as one likes; as far as the
    budget can be had at all, and be spent.
    """

    def __init__(self, policy: BudgetPolicy) -> None:
        self._policy = policy
        self._saved = 0.0
        self._drift = 0.0
        self._payback = PAYBACK

    def given(self) -> Dict[str, float]:
        return {"budget": self._within(self._target() + self._saved / self._payback + self._drift)}

    def note(self, exits: Sequence[int]) -> None:
        cost, target = self._policy.cost, self._target()
        self._saved += sum(target - cost[exit] for exit in exits)
        self._payback = max(PAYBACK, 2 * len(exits))
        self._drift += self._saved * len(exits) / (2 * self._payback**2)
        self._drift = self._within(target + self._drift) - target  # it can't do more anyway

    def _within(self, budget: float) -> float:
        cost = self._policy.cost
        return float(min(max(budget, cost[0]), cost[-1]))

    def _target(self) -> float:
        budget = self._policy.budget
        return self._policy.full if budget is None else budget


def _checked_cost(cost: Any) -> List[float]:
    valid = isinstance(cost, (list, tuple)) and all(
        isinstance(c, (int, float)) and not isinstance(c, bool) and 0 < c < np.inf for c in cost
    )
    if not valid or not cost or any(low >= high for low, high in zip(cost, cost[1:])):
        raise ValueError(f"cost must be a list of rising positive numbers, one an exit, got {cost}")
    return [float(c) for c in cost]
