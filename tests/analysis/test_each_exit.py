"""Thresholds of each exit's own keep what is promised for the texts of each exit."""

from typing import List

import numpy as np
import pytest
import torch

from sledgehammer.analysis.each_exit import (
    choose_thresholds,
    losses_at,
    safe_thresholds,
    stopped_at,
)
from sledgehammer.analysis.risk import PValue, binomial_p_value, drop_p_value, fastest_safe
from sledgehammer.analysis.tradeoff import Tradeoff
from sledgehammer.policies import ConfidencePolicy
from tests.analysis.test_risk import simulated

DELTA = 0.1
ROWS = 600
SPLITS = 1000


@pytest.fixture(scope="module")
def population() -> Tradeoff:
    return simulated(40_000)


def gaps(confidence: np.ndarray, losses: np.ndarray, thresholds: List[float]) -> List[float]:
    """The mean loss among the rows of each exit."""
    position = stopped_at(confidence, thresholds)
    own = [losses[position == exit, exit] for exit in range(len(thresholds))]
    return [float(some.mean()) if len(some) else 0.0 for some in own]


@pytest.mark.parametrize(
    "risk, p_value, bound, splits",
    [
        ("inconsistency", binomial_p_value, 0.1, SPLITS),
        ("accuracy-drop", drop_p_value, 0.08, SPLITS),
    ],
)
def test_each_exit_keeps_the_bound_over_a_thousand_splits(
    population: Tradeoff, risk: str, p_value: PValue, bound: float, splits: int
) -> None:
    confidence, losses = population.confidence[:, :2], losses_at(population, risk)[:, :2]
    assert max(gaps(confidence, losses, [0.5, 0.5])) > 1.5 * bound, (
        "there is something to get wrong"
    )
    rng = np.random.default_rng(5)
    violations, layers, grid = 0, [], np.round(np.arange(0.5, 1.0, 0.02), 2).tolist()
    for _ in range(splits):
        sample = rng.choice(len(confidence), ROWS, replace=False)
        chosen = choose_thresholds(
            confidence[sample], losses[sample], [1, 3, 6], bound, DELTA, p_value, grid, rng
        )
        if chosen is None:
            layers.append(6.0)
            continue
        violations += max(gaps(confidence[:4000], losses[:4000], chosen)) > bound and (
            max(gaps(confidence, losses, chosen)) > bound
        )
        layers.append(float(np.array([1, 3, 6])[stopped_at(confidence[:2000], chosen)].mean()))
    assert violations / splits <= DELTA
    assert np.mean(layers) < 0.8 * 6, "a guarantee that closes all exits would be worthless"


def test_the_drop_over_all_texts_hides_that_of_an_exit(population: Tradeoff) -> None:
    bound = 0.04
    everywhere = fastest_safe(population, bound, DELTA)
    each = safe_thresholds(population, bound, DELTA)
    assert everywhere is not None and each is not None
    confidence, losses = population.confidence[:, :2], losses_at(population, "accuracy-drop")[:, :2]
    assert max(gaps(confidence, losses, [everywhere] * 2)) > bound
    assert max(gaps(confidence, losses, each)) <= bound
    assert len(set(each)) > 1, "an exit is not like another"
    common = min(
        population.curve([t])[0].mean_layers
        for t in population.grid()
        if max(gaps(confidence, losses, [t] * 2)) <= bound
    )
    assert population.with_thresholds(each).mean_layers < common


def test_thresholds_replay_as_the_policy_does(population: Tradeoff) -> None:
    thresholds = [0.93, 0.7]
    policy = ConfidencePolicy(thresholds=thresholds)
    own = Tradeoff(
        population.probs, population.label, population.exit_layers, population.full_layers, policy
    )
    answered = own.policy.replay(own.evidence)
    np.testing.assert_array_equal(answered, stopped_at(population.confidence[:, :2], thresholds))
    point = population.with_thresholds(thresholds)
    assert point.figures()["thresholds"] == thresholds
    assert point.shares[0] == pytest.approx((answered == 0).mean())


def test_few_rows_close_all_exits_and_a_cap_is_the_full_model() -> None:
    assert safe_thresholds(simulated(20), 0.01, 0.05) is None
    free = simulated(20_000)
    capped = Tradeoff(
        free.probs, free.label, free.exit_layers, 6, ConfidencePolicy(0.9, max_exit_layer=2)
    )
    assert losses_at(capped, "accuracy-drop")[:, 1].any() == np.False_
    found = safe_thresholds(capped, 0.08, 0.1, "inconsistency")
    assert found is not None and found[1] == 1.0
    assert torch.tensor(list(capped.with_thresholds(found).shares.values()))[2] == 0
