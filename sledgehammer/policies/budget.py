"""Stop so that texts cost as much as they may, on average."""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy import ndarray

from sledgehammer.policies.base import ExitPolicy
from sledgehammer.policies.evidence import Evidence, Exits
from sledgehammer.policies.settings import Decision, RowSettings, SettingRange, Values, single
from sledgehammer.policies.steering import Steering


@ExitPolicy.register("budget")
class BudgetPolicy(ExitPolicy):
    """Stop by confidence, at the threshold at which texts cost the budget on average.

    On calibration data the share s_i(t) of the texts that each exit answers at a threshold t is
    known (`exit_shares`); t is the one with `sum_i s_i(t) cost_i = budget`, between the knots by
    linear interpolation.

    Single predictions, `evaluate` and `tradeoff` use that threshold. In streams (`predict`, and
    `Engine.stream`) the threshold is steered, from exit to exit of each batch (see `Steering`), so
    that the mean over the stream stays at the budget even if the texts become harder or easier than
    the calibration data. A text that asks for another budget than the stream's gets the plain
    threshold, and does not count towards the stream's mean.

    Source: Bapna et al., "Controlling Computation versus Quality for Neural Sequence Models",
    2020, where one model serves several budgets of compute and is trained with them. Here any model
    will do; the budget is one of time, taken over texts, and kept by a threshold.

    # Parameters

    budget : `float`, optional
        The mean cost of a text, in layers or in the unit of `cost`. It lies between the cost of the
        first exit (all texts stop there) and that of the last (all texts run to it). `None` is the
        cost of the last. In layers, a lexical exit costs 0.
    cost : `Sequence[float]`, optional
        What a text costs that stops at an exit: one figure an exit, rising, such as measured
        milliseconds. If `None`, the layers run.
    """

    settings = {"budget": SettingRange(default=None, full=np.inf, high=np.inf, optional=True)}
    sweeps = "budget"
    budget: Optional[float]

    def __init__(self, *swept: Any, cost: Optional[Sequence[float]] = None, **values: Any) -> None:
        self._cost = None if cost is None else _checked_cost(cost)
        super().__init__(*swept, **values)

    def config(self) -> Dict[str, Any]:
        return {**super().config(), **({} if self._cost is None else {"cost": self._cost})}

    @property
    def cost(self) -> List[float]:
        """Return what a text costs that stops at an exit: one figure an exit."""
        return [layer + 1.0 for layer in self.layers] if self._cost is None else self._cost

    @property
    def full(self) -> float:
        return self.cost[-1]

    def check_within_model(self, name: str, value: Any) -> None:
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
        self._cached: Optional[Tuple[Any, float]] = None  # settings, and their threshold

    def stops(self, evidence: Evidence, settings: RowSettings) -> Decision:
        threshold = self.threshold(settings)
        return (evidence.confidence >= threshold) & (threshold < 1.0)

    def threshold(self, settings: RowSettings) -> Values:
        """Return the confidence thresholds that keep the budgets: a number, or (rows,), float32."""
        key = settings["budget"], settings["max_exit_layer"]
        if any(isinstance(value, ndarray) for value in key):
            return self._thresholds(settings)
        # Asked at every exit of every batch, and the answer is the same.
        cached = self._cached  # other threads may have other settings
        if cached is None or cached[0] != key:
            cached = self._cached = key, float(self._thresholds(settings))
        return cached[1]

    def _thresholds(self, settings: RowSettings) -> ndarray:
        budget, highest = np.broadcast_arrays(settings["budget"], self.highest(settings))
        thresholds = np.empty(budget.shape, np.float32)
        for position in np.unique(highest):  # a cap makes all that is above it cheaper
            capped_here = highest == position
            curve = self._curve(int(position))
            thresholds[capped_here] = np.interp(budget[capped_here], *curve)
        # The lowest confidence of the calibration data is not the lowest there is.
        thresholds[budget <= single(self.cost[0])] = 0.0
        return thresholds

    def _curve(self, highest: int) -> "tuple[ndarray, ndarray]":
        """Return rising mean costs, and the thresholds that have them."""
        if self.exits is None or self.exits.shares is None:
            return np.array([self.cost[-1]]), np.array([1.0])  # then it is the full model
        table = self.exits.shares
        costs = table[:, 1:] @ np.minimum(self.cost, self.cost[highest])
        return np.maximum.accumulate(costs), table[:, 0]

    def grid(self, labels: int) -> List[float]:
        first, full = self.cost[0], self.cost[-1]
        inner = [first + (full - first) * i / 100 for i in range(1, 100)]
        return [first, *(float(f"{value:.6g}") for value in inner), full]

    def in_stream(self) -> ExitPolicy:
        budget = self.full if self.budget is None else self.budget
        if self.exits is None or self.exits.shares is None:
            return self
        if not self.cost[0] < budget < self.cost[-1]:
            return self  # nothing is to be steered
        steered = _SteeredBudget(cost=self._cost)
        steered.bind(self.exits)
        steered.change({name: getattr(self, name) for name in self.settings})
        highest = int(self.highest(self.values))
        cost = np.minimum(self.cost, self.cost[highest]).tolist()
        steered.steering = Steering(budget, cost, self.exits.shares)
        return steered


class _SteeredBudget(BudgetPolicy):
    """Decide for the rows of one stream, in the order in which they run; see `Steering`."""

    name = "budget"
    steering: Steering

    def in_stream(self) -> ExitPolicy:
        return self

    def decide(self, evidence: Evidence, settings: RowSettings) -> Decision:
        rows = len(evidence.last)
        decision = super().decide(evidence, settings)
        stops = np.broadcast_to(np.asarray(decision), (rows,)).copy()
        followed = np.broadcast_to(settings["budget"] == single(self.budget), (rows,))
        if followed.any():
            capped = self.layers[evidence.seen] > np.asarray(settings["max_exit_layer"])
            must_stop = np.broadcast_to(capped, (rows,))[followed]
            confidence = np.broadcast_to(np.asarray(evidence.confidence, float), (rows,))[followed]
            stops[followed] = self.steering.stops(evidence.seen - 1, confidence, must_stop)
        return stops


def _checked_cost(cost: Any) -> List[float]:
    valid = isinstance(cost, (list, tuple)) and all(
        isinstance(c, (int, float)) and not isinstance(c, bool) and 0 < c < np.inf for c in cost
    )
    if not valid or not cost or any(low >= high for low, high in zip(cost, cost[1:])):
        raise ValueError(f"cost must be a list of rising positive numbers, one an exit, got {cost}")
    return [float(c) for c in cost]
