"""Thresholds with a guarantee keep it, and cost less than the plain bound."""

import math
from typing import Dict, List

import numpy as np
import pytest
import torch

from sledgehammer.analysis.risk import (
    PValue,
    accuracy_drop,
    binomial_p_value,
    drop_p_value,
    fastest_safe,
    inconsistency,
    safe_settings,
)
from sledgehammer.analysis.tradeoff import Tradeoff
from sledgehammer.policies import ConfidencePolicy, EntropyPolicy
from tests.analysis.test_exact_test import most_losses

SEQUENCE = ConfidencePolicy().grid(labels=2)[::-1]
"""The thresholds that are tested, in this order."""

SPLITS = 1000
DELTA = 0.1


def simulated(rows: int, seed: int = 0) -> Tradeoff:
    """Exits of which the later are better; rows of which some are hard; honest confidences."""
    rng = torch.Generator().manual_seed(seed)
    label = torch.randint(2, (rows,), generator=rng)
    hardness = torch.rand(rows, generator=rng)
    margins = []
    for strength in (1.2, 2.0, 3.0):
        noise = torch.randn(rows, generator=rng)
        margins.append(strength * (1.3 - hardness) + noise)
    margin = torch.stack(margins, dim=1) * (2 * label[:, None] - 1)
    probs = torch.stack([torch.sigmoid(-2 * margin), torch.sigmoid(2 * margin)], dim=-1)
    return Tradeoff(probs, label, [0, 2, 5], 6, ConfidencePolicy())


@pytest.fixture(scope="module")
def population() -> Tradeoff:
    """So many rows that their mean risk is the true one."""
    return simulated(60_000)


def hoeffding_p_value(losses: np.ndarray, bound: float, level: float) -> float:
    """For losses in [-1, 1], by Hoeffding's inequality (1963): the plain bound, to compare with."""
    gap = max(0.0, bound - float(losses.mean()))
    return math.exp(-len(losses) * gap**2 / 2)


@pytest.mark.parametrize(
    "risk, p_value, bound",
    [(accuracy_drop, drop_p_value, 0.05), (inconsistency, binomial_p_value, 0.06)],
)
def test_violations_stay_within_delta_and_it_is_tighter_than_hoeffding(
    population: Tradeoff, risk: object, p_value: PValue, bound: float
) -> None:
    """1,000 random draws of 800 rows: whose chosen threshold is truly unsafe?"""
    sequence = [t for t in SEQUENCE if t not in (0.995, 0.998)][::3]
    losses = {t: risk(population, t).astype(np.int8) for t in sequence}  # type: ignore[operator]
    true_risk = {t: float(losses[t].mean()) for t in sequence}
    layers = {t: population.curve([t])[0].mean_layers for t in sequence}
    assert max(true_risk.values()) > 2 * bound, "there must be something to get wrong"
    rng = np.random.default_rng(1)
    chosen: Dict[str, List[float]] = {"ours": [], "hoeffding": []}
    for _ in range(SPLITS):
        sample = rng.choice(60_000, 800, replace=False)
        for name, test in (("ours", _from_table(p_value)), ("hoeffding", hoeffding_p_value)):
            safe = safe_settings(lambda t: losses[t][sample], bound, DELTA, test, sequence)  # noqa: B023
            chosen[name].append(min(safe))
    violations = np.mean([true_risk[t] > bound for t in chosen["ours"]])
    assert violations <= DELTA
    ours, plain = (np.mean([layers[t] for t in chosen[name]]) for name in ("ours", "hoeffding"))
    assert ours < 0.9 * plain
    assert ours < 0.8 * 6, "a guarantee that never lets anything exit early would be worthless"


def _from_table(p_value: PValue) -> PValue:
    """The same decisions, remembered: a thousand draws ask for the same ones."""

    def decide(losses: np.ndarray, bound: float, level: float) -> float:
        b, c = int((losses == 1).sum()), int((losses == -1).sum())
        return 0.0 if b <= most_losses(b + c, len(losses), bound, level) else 1.0

    return decide if p_value is drop_p_value else p_value


@pytest.mark.parametrize("p_value", [drop_p_value, binomial_p_value, hoeffding_p_value])
@pytest.mark.parametrize("bound", [0.01, 0.1])
def test_p_values_at_the_bound_are_small_as_seldom_as_they_say(
    p_value: PValue, bound: float
) -> None:
    """The mean loss is just what the hypothesis says: P(p <= d) <= d."""
    rng = np.random.default_rng(2)
    draws = rng.random((3000, 400)) < bound
    for d in (0.05, 0.1, 0.3):
        values = np.array([p_value(draw.astype(int), bound, d) for draw in draws])
        assert (values <= d).mean() <= d + 3 * np.sqrt(d * (1 - d) / 3000)


def test_the_risks() -> None:
    #                 right, right   wrong, right   right, wrong
    first = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    last = torch.tensor([[0.8, 0.2], [0.9, 0.1], [0.4, 0.6]])
    label = torch.zeros(3, dtype=torch.long)
    both = torch.stack([first, last], dim=1)
    tradeoff = Tradeoff(both, label, [0, 1], 2, ConfidencePolicy())
    assert accuracy_drop(tradeoff, 0.0).tolist() == [0, 1, -1]
    assert inconsistency(tradeoff, 0.0).tolist() == [0, 1, 1]
    assert accuracy_drop(tradeoff, 1.0).tolist() == [0, 0, 0]


def test_sequence_goes_from_safe_to_fast() -> None:
    assert sorted(SEQUENCE, reverse=True) == SEQUENCE
    assert (SEQUENCE[0], SEQUENCE[-1]) == (1.0, 0.0)


def test_the_test_stops_at_the_first_failure() -> None:
    """What comes after it was never tested, however good it looks."""
    asked = []

    def losses(threshold: float) -> np.ndarray:
        asked.append(threshold)
        return np.full(1000, int(threshold == 0.5))

    assert safe_settings(losses, 0.1, 0.1, drop_p_value, [1.0, 0.9, 0.5, 0.1]) == [1.0, 0.9]
    assert asked == [0.9, 0.5]


def test_too_few_rows_mean_the_full_model() -> None:
    tradeoff = simulated(20)
    assert fastest_safe(tradeoff, 0.01, 0.05) is None
    assert fastest_safe(tradeoff, 0.01, 0.05, "inconsistency") is None


def test_more_rows_allow_more_speed() -> None:
    few, many = (fastest_safe(simulated(rows), 0.03, 0.1) for rows in (500, 20_000))
    assert many is not None and (few is None or many <= few)


def test_a_given_sequence_is_tested_from_the_safest() -> None:
    tradeoff = simulated(20_000)
    given = fastest_safe(tradeoff, 0.03, 0.1, settings=[0.6, 0.97, 0.0, 0.9])
    assert given in (0.6, 0.97, 0.9)
    assert fastest_safe(tradeoff, 0.03, 0.1, settings=[0.0]) is None
    entropy = Tradeoff(tradeoff.probs, tradeoff.label, [0, 2, 5], 6, EntropyPolicy())
    grid = entropy.grid()
    assert fastest_safe(entropy, 0.9, 0.1, settings=[grid[0], grid[-2]]) == grid[0]
