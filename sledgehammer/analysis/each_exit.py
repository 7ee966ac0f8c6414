"""Find a threshold for each exit, with a guarantee for the texts of each exit.

A small accuracy drop over all texts can hide a large one among the texts that leave early. Here the
drop *among the texts that an exit answers* is at most E, for all exits at once, with probability
1 - D. Ringel et al. call it the accuracy gap conditional on halting ("Early Time Classification with
Accumulated Accuracy Gap Control", ICML 2024, arXiv:2402.00857). This module follows their two
stages:

1. On some of the rows, find candidates: vectors with one threshold for each exit, from cautious to
   bold.
2. On the other rows, test them in that order, at level D each, until one fails (fixed sequence
   testing, as in `risk`). A vector passes if *every* exit that it opens passes: the p-value of
   "some exit's drop is above E" is the largest of the exits' own p-values, with no correction
   for their number (intersection-union test; Berger, Technometrics 1982). Given how many texts
   stop at an exit, those are independent draws of such texts, so the tests of `risk` hold.

With probability 1 - D all vectors that pass are safe, so the fastest of them may be used. An exit
at which no cautious threshold works stays closed.
"""

from typing import Iterator, List, Optional, Sequence

import numpy as np
from numpy import ndarray
from scipy.stats import norm

from sledgehammer.analysis.exact_test import score
from sledgehammer.analysis.risk import P_VALUES, PValue
from sledgehammer.analysis.tradeoff import Tradeoff

SEARCHED = 0.4
"""Share of the rows that candidates are searched on."""

BOLDNESS = (1e-5, 1e-4, 1e-3, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""How often a candidate may be expected to fail its test, as shares of D, from cautious to bold."""


def losses_at(tradeoff: Tradeoff, risk: str) -> ndarray:
    """Return what each exit's answer loses against the highest exit's: (rows, exits), -1, 0 or 1.

    `risk` is one of `risk.RISKS`.
    """
    top = tradeoff.highest
    if risk == "inconsistency":
        predicted = tradeoff.predicted
        return (predicted != predicted[:, [top]]).astype(np.int8)
    correct = tradeoff.correct.cpu().numpy().astype(np.int8)
    return correct[:, [top]] - correct


def safe_thresholds(
    tradeoff: Tradeoff, bound: float, delta: float, risk: str = "accuracy-drop", seed: int = 0
) -> Optional[List[float]]:
    """Return safe thresholds for all exits but the last, or `None` if all must stay closed.

    # Parameters

    tradeoff : `Tradeoff`
        Its policy must stop by confidence.
    bound : `float`
        E, in (0, 1).
    delta : `float`
        D, in (0, 1).
    risk : `str`, optional (default = `"accuracy-drop"`)
        One of `risk.RISKS`.
    seed : `int`, optional
        Seed of the draw of rows for the search.
    """
    top = tradeoff.highest
    thresholds = choose_thresholds(
        tradeoff.confidence[:, :top], losses_at(tradeoff, risk)[:, :top], tradeoff.exit_layers,
        bound, delta, P_VALUES[risk], tradeoff.grid(), np.random.default_rng(seed),
    )  # fmt: skip
    if thresholds is None:
        return None
    return [*thresholds, *[1.0] * (len(tradeoff.exit_layers) - 1 - top)]


def choose_thresholds(
    confidence: ndarray,
    losses: ndarray,
    layers: Sequence[int],
    bound: float,
    delta: float,
    p_value: PValue,
    grid: Sequence[float],
    rng: np.random.Generator,
) -> Optional[List[float]]:
    """Return the fastest vector of thresholds that is shown to be safe, or `None`.

    # Parameters

    confidence, losses : `ndarray`
        Shape (rows, exits that may stop a row early).
    layers : `Sequence[int]`
        The layers of these exits, and of the next exit, which answers the other rows.
    bound, delta : `float`
        See `safe_thresholds`.
    p_value : `PValue`
    grid : `Sequence[float]`
        Thresholds to choose from.
    rng : `np.random.Generator`
        Draws the rows for the search.
    """
    order = rng.permutation(len(confidence))
    searched, tested = np.split(order, [int(SEARCHED * len(order))])
    test_rows = confidence[tested], losses[tested]
    passed: List[List[float]] = []
    for thresholds in _candidates(
        confidence[searched], losses[searched], bound, delta, np.sort(grid), len(tested)
    ):
        if any(t < 1.0 for t in thresholds):
            if _largest_p_value(*test_rows, thresholds, bound, delta, p_value) > delta:
                break
            passed.append(thresholds)
    cost = np.asarray(layers[: confidence.shape[1] + 1])
    return min(passed, key=lambda t: cost[stopped_at(confidence, t)].mean(), default=None)


def stopped_at(confidence: ndarray, thresholds: Sequence[float]) -> ndarray:
    """Return the position of the exit that answers each row: (rows,)."""
    enough = np.where(np.asarray(thresholds) == 1.0, np.inf, thresholds).astype(np.float32)
    reached = np.concatenate([confidence >= enough, np.ones((len(confidence), 1), bool)], axis=1)
    return reached.argmax(axis=1)


def _largest_p_value(
    confidence: ndarray,
    losses: ndarray,
    thresholds: List[float],
    bound: float,
    delta: float,
    p_value: PValue,
) -> float:
    """Return the p-value of "some open exit's mean loss is above E"."""
    position = stopped_at(confidence, thresholds)
    largest = 0.0
    for exit, threshold in enumerate(thresholds):
        if threshold < 1.0:
            largest = max(largest, p_value(losses[position == exit, exit], bound, delta))
    return largest


def _candidates(
    confidence: ndarray, losses: ndarray, bound: float, delta: float, grid: ndarray, rows: int
) -> Iterator[List[float]]:
    """Yield vectors of thresholds, the most cautious first.

    # Parameters

    rows : `int`
        On how many rows the vectors will be tested.
    """
    scale = rows / max(len(confidence), 1)
    for boldness in BOLDNESS:
        thresholds: List[float] = []
        left = np.ones(len(confidence), bool)
        for exit in range(confidence.shape[1]):
            chosen = _lowest_threshold(
                confidence[left, exit], losses[left, exit], bound, delta * boldness, grid, scale
            )
            thresholds.append(chosen)
            left &= (confidence[:, exit] < np.float32(chosen)) | (chosen == 1.0)
        yield thresholds


def _lowest_threshold(
    confidence: ndarray, losses: ndarray, bound: float, level: float, grid: ndarray, scale: float
) -> float:
    """Return the lowest threshold whose test should fail at most about `level` of the time, or 1.0.

    A normal approximation of the test will do: a wrong candidate costs speed, not the guarantee.
    """
    inner = grid[grid < 1.0]
    place = np.searchsorted(inner.astype(np.float32), confidence, side="right") - 1
    counts = []
    for value in (1, -1, 0):
        at = np.bincount(place[(losses == value) & (place >= 0)], minlength=len(inner))
        counts.append(scale * at[::-1].cumsum()[::-1])
    rows = sum(counts)
    passes = (norm.sf(score(counts[0], counts[1], rows, bound)) <= level) & (rows > 0)
    return float(inner[passes.argmax()]) if passes.any() else 1.0
