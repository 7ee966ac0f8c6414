"""Thresholds with a guarantee keep it, and cost less than the plain bound."""

from typing import Dict, List

import numpy as np
import pytest
import torch

from sledgehammer.analysis.risk import (
    PValue,
    accuracy_drop,
    betting_p_value,
    binomial_p_value,
    fastest_safe,
    hoeffding_p_value,
    inconsistency,
    safe_settings,
)
from sledgehammer.analysis.tradeoff import Tradeoff
from sledgehammer.policies import ConfidencePolicy

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


@pytest.mark.parametrize(
    "risk, p_value, bound",
    [(accuracy_drop, betting_p_value, 0.03), (inconsistency, binomial_p_value, 0.05)],
)
def test_violations_stay_within_delta_and_it_is_tighter_than_hoeffding(
    population: Tradeoff, risk: object, p_value: PValue, bound: float
) -> None:
    """1,000 random draws of 4,000 rows: whose chosen threshold is truly unsafe?"""
    losses = {t: risk(population, t).astype(np.int8) for t in SEQUENCE}  # type: ignore[operator]
    true_risk = {t: float(losses[t].mean()) for t in SEQUENCE}
    layers = {t: population.curve([t])[0].mean_layers for t in SEQUENCE}
    assert max(true_risk.values()) > 2 * bound, "there must be something to get wrong"
    rng = np.random.default_rng(1)
    chosen: Dict[str, List[float]] = {"ours": [], "hoeffding": []}
    for _ in range(SPLITS):
        sample = rng.choice(60_000, 4_000, replace=False)
        for name, test in (("ours", p_value), ("hoeffding", hoeffding_p_value)):
            safe = safe_settings(lambda t: losses[t][sample], bound, DELTA, test, SEQUENCE)  # noqa: B023
            chosen[name].append(min(safe))
    violations = np.mean([true_risk[t] > bound for t in chosen["ours"]])
    assert violations <= DELTA
    ours, plain = (np.mean([layers[t] for t in chosen[name]]) for name in ("ours", "hoeffding"))
    assert ours < 0.9 * plain
    assert ours < 0.8 * 6, "a guarantee that never lets anything exit early would be worthless"


@pytest.mark.parametrize("p_value", [betting_p_value, binomial_p_value, hoeffding_p_value])
@pytest.mark.parametrize("bound", [0.01, 0.1])
def test_p_values_at_the_bound_are_small_as_seldom_as_they_say(
    p_value: PValue, bound: float
) -> None:
    """The mean loss is just what the hypothesis says: P(p <= d) <= d."""
    rng = np.random.default_rng(2)
    draws = rng.random((3000, 400)) < bound
    values = np.array([p_value(draw.astype(int), bound) for draw in draws])
    for d in (0.01, 0.05, 0.1, 0.3):
        assert (values <= d).mean() <= d + 3 * np.sqrt(d * (1 - d) / 3000)


def test_betting_holds_for_gains_and_losses_too() -> None:
    rng = np.random.default_rng(3)
    bound = 0.02
    losses = rng.choice([-1, 0, 1], p=[0.04, 0.90, 0.06], size=(3000, 500))
    values = np.array([betting_p_value(row, bound) for row in losses])
    for d in (0.05, 0.1, 0.3):
        assert (values <= d).mean() <= d + 3 * np.sqrt(d * (1 - d) / 3000)


def test_betting_p_value_by_hand() -> None:
    """Without any loss every stake grows by (1 + lambda E) a row."""
    bound, rows = 0.1, 50
    stakes = np.linspace(0, 1, 257)[1:-1] / (1 - bound)
    expected = 1 / np.mean((1 + stakes * bound) ** rows)
    assert betting_p_value(np.zeros(rows, dtype=int), bound) == pytest.approx(expected)
    assert betting_p_value(np.ones(rows, dtype=int), bound) == 1.0


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

    assert safe_settings(losses, 0.1, 0.1, betting_p_value, [1.0, 0.9, 0.5, 0.1]) == [1.0, 0.9]
    assert asked == [0.9, 0.5]


def test_too_few_rows_mean_the_full_model() -> None:
    tradeoff = simulated(20)
    assert fastest_safe(tradeoff, 0.01, 0.05) is None
    assert fastest_safe(tradeoff, 0.01, 0.05, "inconsistency") is None


def test_more_rows_allow_more_speed() -> None:
    few, many = (fastest_safe(simulated(rows), 0.03, 0.1) for rows in (500, 20_000))
    assert many is not None and (few is None or many <= few)
