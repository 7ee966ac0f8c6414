"""Settings with a guarantee: risk control on held-out data.

A value of a policy's setting is *safe* if its true risk, on all the data that rows are drawn from,
is at most E. For each value a p-value tests "the risk is above E". Values are tested from the
safest (the full model) to the fastest, at level D each, until the first that can't be shown safe:
the chance that any of those passed is unsafe is at most D (fixed sequence testing; Angelopoulos et
al., "Learn then Test", 2021, section 3; for early exits Jazbec et al., "Fast yet Safe", NeurIPS
2024). The order must not depend on the data, and rows must be independent draws.
"""

import math
from typing import Callable, Dict, List, Optional, Sequence

import numpy as np
from scipy.special import logsumexp
from scipy.stats import binom

from sledgehammer.analysis.tradeoff import Tradeoff

PValue = Callable[[np.ndarray, float], float]
"""(losses of the rows, E) -> p-value of "the mean loss is above E"."""

_BETS = np.linspace(0, 1, 257)[1:-1]


def betting_p_value(losses: np.ndarray, bound: float) -> float:
    """For losses in {-1, 0, 1}, such as drops in accuracy: bets against "the mean is above E".

    A gambler who stakes the share b of what she can gets the factor `1 + lambda (E - loss)` a
    row, with lambda = b / (1 - E). If the mean loss is E or more, her wealth, averaged over many
    b, has an expectation of at most 1, so that 1 / wealth is a p-value (Waudby-Smith and Ramdas,
    "Estimating means of bounded random variables by betting", JRSS-B 2023, theorem 3 and section
    B.4; Orabona and Jun 2021). Where losses are rare it is far tighter than `hoeffding_p_value`,
    which only knows their range.

    # Parameters

    losses : `np.ndarray`
        Shape (rows,).
    bound : `float`
        E, in (0, 1).
    """
    stakes = _BETS / (1 - bound)
    log_wealth = sum(
        float((losses == loss).sum()) * np.log1p(stakes * (bound - loss)) for loss in (-1, 0, 1)
    )
    return min(1.0, math.exp(-max(0.0, float(logsumexp(log_wealth)) - math.log(len(stakes)))))


def binomial_p_value(losses: np.ndarray, bound: float) -> float:
    """For losses in {0, 1}: the exact chance of so few of them if the mean were E.

    See `betting_p_value` for the parameters.
    """
    return float(binom.cdf(int(losses.sum()), len(losses), bound))


def hoeffding_p_value(losses: np.ndarray, bound: float) -> float:
    """For losses in [-1, 1], by Hoeffding's inequality (1963): the plain bound, to compare with.

    See `betting_p_value` for the parameters.
    """
    gap = max(0.0, bound - float(losses.mean()))
    return math.exp(-len(losses) * gap**2 / 2)


def accuracy_drop(tradeoff: Tradeoff, setting: float) -> np.ndarray:
    """1 where only the full model is right, -1 where only the early answer is, else 0.

    Shape (rows,); the mean is the accuracy lost against the model's own last exit, or the highest
    that the policy may take.
    """
    full, early = tradeoff.correct_at(tradeoff.full), tradeoff.correct_at(setting)
    return (full.long() - early.long()).numpy()


def inconsistency(tradeoff: Tradeoff, setting: float) -> np.ndarray:
    """1 where the early answer is not the full model's, else 0; needs no labels to be right.

    Shape (rows,). Source: Schuster et al., "Consistent Accelerated Inference via Confident
    Adaptive Transformers", EMNLP 2021.
    """
    full = tradeoff.predicted_at(tradeoff.full)
    return (tradeoff.predicted_at(setting) != full).long().numpy()


RISKS: Dict[str, Callable[[Tradeoff, float], np.ndarray]] = {
    "accuracy-drop": accuracy_drop,
    "inconsistency": inconsistency,
}
P_VALUES: Dict[str, PValue] = {
    "accuracy-drop": betting_p_value,
    "inconsistency": binomial_p_value,
}


def safe_settings(
    losses: Callable[[float], np.ndarray],
    bound: float,
    delta: float,
    p_value: PValue,
    sequence: Sequence[float],
) -> List[float]:
    """The values that are shown safe, in the order of the tests.

    # Parameters

    losses : `Callable[[float], np.ndarray]`
        The losses of all rows at a value.
    bound : `float`
        E, in (0, 1): the largest risk that is allowed.
    delta : `float`
        D, in (0, 1): how probable a mistake may be.
    p_value : `PValue`
    sequence : `Sequence[float]`
        Fixed before the data were seen. The first is the full model, which is safe: at it there
        is nothing to test.
    """
    safe = list(sequence[:1])
    for setting in sequence[1:]:
        if p_value(losses(setting), bound) > delta:
            break
        safe.append(setting)
    return safe


def fastest_safe(
    tradeoff: Tradeoff, bound: float, delta: float, risk: str = "accuracy-drop"
) -> Optional[float]:
    """The fastest value shown safe, or `None` if there is none but the full model.

    See `safe_settings` for the parameters; `risk` is one of `RISKS`.
    """
    sequence = tradeoff.grid()[::-1]
    safe = safe_settings(
        lambda setting: RISKS[risk](tradeoff, setting), bound, delta, P_VALUES[risk], sequence
    )
    return safe[-1] if len(safe) > 1 else None
