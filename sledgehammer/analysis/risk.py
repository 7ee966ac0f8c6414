"""Choose settings with a guarantee: risk control on held-out data.

A value of a policy's setting is *safe* if its true risk, on all the data that rows are drawn from,
is at most E. For each value a p-value tests "the risk is above E". Values are tested from the
safest (the full model) to the fastest, at level D each, until one cannot be shown to be safe: the
chance that any of the values that passed is unsafe is at most D (fixed sequence testing;
Angelopoulos et al., "Learn then Test", 2021, section 3; for early exits Jazbec et al., "Fast yet
Safe", NeurIPS 2024). The order must not depend on the data, rows must be independent draws, and
none of them may have been used to make the model.

`benchmarks/accuracy_drop_tests.py` compares the test on accuracy with its rivals.
"""

from typing import Callable, Dict, List, Optional, Sequence

import numpy as np
from scipy.special import bdtr

from sledgehammer.analysis.exact_test import exact_p_value
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
    full, early = tradeoff.correct_at(tradeoff.full), tradeoff.correct_at(setting)
    return (full.long() - early.long()).numpy()


def inconsistency(tradeoff: Tradeoff, setting: float) -> np.ndarray:
    """Return 1 where the early answer is not the full model's, else 0, whatever the labels.

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
    "accuracy-drop": drop_p_value,
    "inconsistency": binomial_p_value,
}


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
    safe = list(sequence[:1])
    for setting in sequence[1:]:
        if p_value(losses(setting), bound, delta) > delta:
            break
        safe.append(setting)
    return safe


def fastest_safe(
    tradeoff: Tradeoff,
    bound: float,
    delta: float,
    risk: str = "accuracy-drop",
    settings: Optional[Sequence[float]] = None,
) -> Optional[float]:
    """Return the fastest value shown to be safe, or `None` if only the full model is.

    See `safe_settings` for `bound` and `delta`.

    # Parameters

    risk : `str`, optional (default = `"accuracy-drop"`)
        One of `RISKS`.
    settings : `Sequence[float]`, optional
        The values to try, in any order, fixed before the data were seen; the policy's grid if
        `None`.
    """
    candidates = tradeoff.grid() if settings is None else settings
    rises = tradeoff.full > tradeoff.grid()[0]
    inner = sorted({value for value in candidates if value != tradeoff.full}, reverse=rises)
    safe = safe_settings(
        lambda setting: RISKS[risk](tradeoff, setting),
        bound,
        delta,
        P_VALUES[risk],
        [tradeoff.full, *inner],
    )
    return safe[-1] if len(safe) > 1 else None
