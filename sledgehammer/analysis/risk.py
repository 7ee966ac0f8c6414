"""Choose settings with a guarantee: risk control on held-out data.

A value of a policy's setting is *safe* if its true risk, on all the data that rows are drawn from,
is at most E. For each value a p-value tests "the risk is above E". Values are tested from the
safest (the full model) to the fastest, at level D each, until one cannot be shown to be safe: the
chance that any of the values that passed is unsafe is at most D (fixed sequence testing;
Angelopoulos et al., "Learn then Test", 2021, section 3; for early exits Jazbec et al., "Fast yet
Safe", NeurIPS 2024). The order must not depend on the data, rows must be independent draws, and
none of them may have been used to make the model.

If several risks are bounded, a value passes if it passes the test of each at level D, with no
correction for their number (intersection-union test; Berger, Technometrics 1982): it is unsafe if
one of them is, and that one's test is wrong with probability D. So all bounds hold together.

`benchmarks/accuracy_drop_tests.py` compares the test on accuracy with its rivals.
"""

from dataclasses import dataclass
from itertools import takewhile
from operator import itemgetter
from typing import Callable, Dict, Iterable, List, Optional, Sequence

import numpy as np
from scipy.special import bdtr

from sledgehammer.analysis.exact_test import exact_p_value
from sledgehammer.analysis.f1_drop import macro_f1_drop_is_safe
from sledgehammer.analysis.tradeoff import Tradeoff

PValue = Callable[[np.ndarray, float, float], float]
"""(losses of the rows, E, level) -> p-value of "the mean loss is above E".

The result need only be on the same side of the level as the p-value."""


def drop_p_value(losses: np.ndarray, bound: float, level: float) -> float:
    """Return the p-value of "the mean loss is above E", for losses in {-1, 0, 1}.

    It is valid for any number of rows, whatever the chances of the three are: see `exact_test`.

    # Parameters

    losses : `np.ndarray`
        Shape (rows,).
    bound : `float`
        E, in (0, 1).
    level : `float`
        What the p-value is to be compared with; only the side on which it lies is exact.
    """
    count = int((losses == 1).sum()), int((losses == -1).sum())
    return exact_p_value(*count, len(losses), bound, level)


def binomial_p_value(losses: np.ndarray, bound: float, level: float) -> float:
    """Return the exact chance of at most as many losses, each 0 or 1, if their mean were E.

    See `drop_p_value` for the parameters.
    """
    count = int(losses.sum())
    return float(bdtr(count, len(losses), bound)) if count < len(losses) else 1.0


def accuracy_drop(tradeoff: Tradeoff, setting: float) -> np.ndarray:
    """Return 1 where only the full model is right, -1 where only the early answer is, else 0.

    Shape (rows,); the mean is the accuracy lost against the model's own last exit, or against the
    highest exit that the policy may use.
    """
    full, early = tradeoff.full_correct, tradeoff.correct_at(setting)
    return (full.long() - early.long()).numpy()


def inconsistency(tradeoff: Tradeoff, setting: float) -> np.ndarray:
    """Return 1 where the early answer is not the full model's, else 0, whatever the labels.

    Shape (rows,). Source: Schuster et al., "Consistent Accelerated Inference via Confident
    Adaptive Transformers", EMNLP 2021.
    """
    return (tradeoff.predicted_at(setting) != tradeoff.full_predicted).long().numpy()


def recall_drop(tradeoff: Tradeoff, setting: float, label: int) -> np.ndarray:
    """Return `accuracy_drop` of the rows that have a label: their mean is the recall it loses.

    Given how many rows have the label, they are independent draws of such rows, so the tests of
    means hold.
    """
    return accuracy_drop(tradeoff, setting)[(tradeoff.label == label).numpy()]


RISKS: Dict[str, Callable[[Tradeoff, float], np.ndarray]] = {
    "accuracy-drop": accuracy_drop,
    "inconsistency": inconsistency,
}
P_VALUES: Dict[str, PValue] = {
    "accuracy-drop": drop_p_value,
    "inconsistency": binomial_p_value,
}


@dataclass(frozen=True)
class RiskBound:
    """Bound one risk of a choice.

    # Parameters

    risk : `str`
        One of `RISKS`, `"macro-f1-drop"` or `"recall-drop"`.
    bound : `float`
        E, in (0, 1): the largest risk that is allowed.
    label : `int`, optional
        The index of the label whose recall is meant.
    """

    risk: str
    bound: float
    label: Optional[int] = None

    def is_shown(self, tradeoff: Tradeoff, setting: float, delta: float) -> bool:
        """Return whether a value is shown to keep the bound, which is wrong at most D of the time."""
        if self.risk == "macro-f1-drop":
            label, full, early = (
                answers.numpy()
                for answers in (
                    tradeoff.label, tradeoff.full_predicted, tradeoff.predicted_at(setting)
                )
            )  # fmt: skip
            labels = tradeoff.probs.size(-1)
            return macro_f1_drop_is_safe(label, full, early, labels, self.bound, delta)
        if self.risk == "recall-drop":
            assert self.label is not None, "recall is that of a label"
            losses = recall_drop(tradeoff, setting, self.label)
            return len(losses) > 0 and drop_p_value(losses, self.bound, delta) <= delta
        losses = RISKS[self.risk](tradeoff, setting)
        return P_VALUES[self.risk](losses, self.bound, delta) <= delta


def safe_settings(
    losses: Callable[[float], np.ndarray],
    bound: float,
    delta: float,
    p_value: PValue,
    sequence: Sequence[float],
) -> List[float]:
    """Return the values that are shown to be safe, in the order of the tests.

    # Parameters

    losses : `Callable[[float], np.ndarray]`
        Returns the losses of all rows at a value.
    bound : `float`
        E, in (0, 1): the largest risk that is allowed.
    delta : `float`
        D, in (0, 1): the largest probability of a mistake that is allowed.
    p_value : `PValue`
    sequence : `Sequence[float]`
        The values in the order of the tests, fixed before the data were seen. The first is the
        full model's, which is safe by definition and not tested.
    """
    tests = (p_value(losses(setting), bound, delta) <= delta for setting in sequence[1:])
    return [*sequence[:1], *_until_one_fails(sequence[1:], tests)]


def fastest_safe(
    tradeoff: Tradeoff,
    bound: float,
    delta: float,
    risk: str = "accuracy-drop",
    settings: Optional[Sequence[float]] = None,
) -> Optional[float]:
    """Return the fastest value shown to keep one risk; see `fastest_within`."""
    return fastest_within(tradeoff, [RiskBound(risk, bound)], delta, settings)


def fastest_within(
    tradeoff: Tradeoff,
    bounds: Sequence[RiskBound],
    delta: float,
    settings: Optional[Sequence[float]] = None,
) -> Optional[float]:
    """Return the fastest value shown to keep all bounds together, or `None` if only the full model is.

    # Parameters

    tradeoff : `Tradeoff`
    bounds : `Sequence[RiskBound]`
    delta : `float`
        D, in (0, 1): the largest probability of a mistake that is allowed.
    settings : `Sequence[float]`, optional
        The values to try, in any order, fixed before the data were seen; the policy's grid if
        `None`.
    """
    candidates = tradeoff.grid() if settings is None else settings
    rises = tradeoff.full > tradeoff.grid()[0]
    sequence = sorted(set(candidates), reverse=rises)
    if not tradeoff.policy.has_fixed_labels:  # nothing stops early at this value: it needs no test
        sequence = [value for value in sequence if value != tradeoff.full]
    tests = (
        all(bound.is_shown(tradeoff, setting, delta) for bound in bounds) for setting in sequence
    )
    return next(reversed(_until_one_fails(sequence, tests)), None)


def _until_one_fails(sequence: Sequence[float], tests: Iterable[bool]) -> List[float]:
    """Return the values that come before the first failed test."""
    return [setting for setting, _ in takewhile(itemgetter(1), zip(sequence, tests))]
