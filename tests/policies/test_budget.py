"""Texts cost what they may: on calibration data by the threshold, in a stream by the controller."""

from typing import Any, List, Optional

import numpy as np
import pytest

from sledgehammer.policies import BudgetPolicy, Evidence, Exits, exit_shares
from tests.policies.seen import LAYERS, bound, replayed, two_labels

COSTS = np.array(LAYERS[:3]) + 1.0


def texts(rows: int, seed: int, hardness: float = 0.0) -> Evidence:
    """Rows of which the deeper exits are surer, and all the less sure the harder they are."""
    rng = np.random.default_rng(seed)
    margin = np.abs(rng.standard_normal((rows, 1)) + np.array([0.5, 1.5, 3.0]))
    p = 1 / (1 + np.exp(-2 * margin * np.exp(-hardness)))
    return Evidence(np.stack([p, 1 - p], axis=-1).astype(np.float32))


def calibrated(policy: BudgetPolicy) -> BudgetPolicy:
    policy.bind(Exits(LAYERS[:3], shares=exit_shares(texts(4000, seed=0).probs)))
    return policy


@pytest.mark.parametrize("budget", [1.0, 1.3, 2.0, 3.0, 3.7, 4.0])
@pytest.mark.parametrize("cost", [None, [2.0, 5.0, 11.0]])
def test_other_rows_like_these_cost_the_budget(budget: float, cost: Any) -> None:
    costs = COSTS if cost is None else np.array(cost)
    wanted = costs[0] + (costs[-1] - costs[0]) * (budget - 1) / 3
    policy = calibrated(BudgetPolicy(float(wanted), cost=cost))
    exits = policy.replay(texts(20_000, seed=1))
    assert costs[exits].mean() == pytest.approx(wanted, rel=0.03)


def test_the_ends_are_exact() -> None:
    policy = calibrated(BudgetPolicy())
    evidence = two_labels([0.5, 0.5, 0.5], [1.0, 1.0, 1.0])
    for budget, exits in ((1.0, [0, 0]), (4.0, [2, 2])):
        settings = policy.values.with_value("budget", budget)
        assert policy.replay(evidence, settings).tolist() == exits
    assert policy.replay(evidence).tolist() == [2, 2], "no budget is no limit"


def test_a_cap_leaves_more_for_the_others() -> None:
    policy = calibrated(BudgetPolicy(2.0))
    capped = policy.values.with_value("max_exit_layer", 2)
    assert policy.threshold(capped) > policy.threshold(policy.values)
    exits = policy.replay(texts(20_000, seed=1), capped)
    assert exits.max() == 1 and COSTS[exits].mean() == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("batch_size", [1, 32])
@pytest.mark.parametrize("budget", [1.5, 2.0, 3.0])
def test_a_stream_keeps_its_budget_though_its_difficulty_drifts(
    batch_size: int, budget: float
) -> None:
    policy = calibrated(BudgetPolicy(budget))
    steered = policy.in_stream()
    costs: List[float] = []
    plain: List[float] = []
    # As calibrated, then ever harder than anything the policy knows, then suddenly easy.
    drift = [0.0] * 40 + [i / 40 for i in range(60)] + [1.5] * 60 + [-0.5] * 10
    for number, hardness in enumerate(drift):
        evidence = texts(32, seed=100 + number, hardness=hardness)
        plain += COSTS[policy.replay(evidence)].tolist()
        for first in range(0, 32, batch_size):
            part = Evidence(evidence.probs[first : first + batch_size])
            costs += COSTS[steered.replay(part)].tolist()
    mean = np.cumsum(costs) / np.arange(1, len(costs) + 1)
    assert np.abs(mean[2000:] / budget - 1).max() <= 0.005
    off = np.cumsum(plain) / np.arange(1, len(plain) + 1)
    assert np.abs(off[2000:] / budget - 1).max() > 0.05, "there is something to control"


def test_rows_with_a_budget_of_their_own_are_neither_steered_nor_counted() -> None:
    policy = calibrated(BudgetPolicy(2.0))
    steered = policy.in_stream()
    own = np.tile(np.array([2.0, 1.0, 4.0, 2.0], np.float32), 16)
    costs = []
    for number in range(40):
        part = texts(64, seed=number, hardness=1.0)
        exits = steered.replay(part, policy.values.with_value("budget", own))
        assert set(exits[1::4]) == {0} and set(exits[2::4]) == {2}
        costs += COSTS[exits[own == 2.0]].tolist()
    assert np.mean(costs) == pytest.approx(2.0, rel=0.005)


def test_rows_that_a_cap_stops_are_counted() -> None:
    policy = calibrated(BudgetPolicy(2.0))
    steered = policy.in_stream()
    caps = np.tile(np.array([0.0, np.inf], np.float32), 32)
    costs = []
    for number in range(40):
        exits = steered.replay(
            texts(64, seed=number), policy.values.with_value("max_exit_layer", caps)
        )
        assert set(exits[::2]) == {0}
        costs += COSTS[exits].tolist()
    assert np.mean(costs) == pytest.approx(2.0, rel=0.005)


def test_rows_may_go_beyond_the_cap_of_the_stream() -> None:
    """Also rows that tie at an exit to which those of the stream never go on."""
    policy = calibrated(BudgetPolicy(2.0, max_exit_layer=2))
    steered = policy.in_stream()
    part = Evidence(np.repeat(texts(1, seed=1).probs, 64, axis=0))
    caps = np.repeat(np.array([2.0, np.inf], np.float32), 32)
    for _ in range(5):
        exits = steered.replay(part, policy.values.with_value("max_exit_layer", caps))
        assert max(exits[:32]) <= 1
    assert max(exits[32:]) == 2


@pytest.mark.parametrize("budget", [1.0, 4.0, None])
def test_where_all_rows_take_one_exit_nothing_is_steered(budget: Any) -> None:
    policy = calibrated(BudgetPolicy(budget))
    assert policy.in_stream() is policy


def test_a_stream_leaves_the_policy_and_other_streams_alone() -> None:
    policy = calibrated(BudgetPolicy(2.0))
    plain = policy.replay(texts(500, seed=1)).tolist()
    first = policy.in_stream().replay(texts(500, seed=1)).tolist()
    assert policy.in_stream().replay(texts(500, seed=1)).tolist() == first
    assert policy.replay(texts(500, seed=1)).tolist() == plain


def test_without_calibration_there_is_a_clear_error_and_no_early_exit() -> None:
    policy = BudgetPolicy(2.0)
    policy.bind(Exits(LAYERS[:3]))
    assert "allennlp calibrate" in str(policy.unready())
    assert policy.replay(two_labels([1.0, 1.0, 1.0])).tolist() == [2]
    assert calibrated(policy).unready() is None
    assert policy.replay(two_labels([1.0, 1.0, 1.0])).tolist() != [2]


@pytest.mark.parametrize("budget, cost", [(0.9, None), (4.1, None), (1.0, [2, 5, 11])])
def test_a_budget_that_no_exit_has(budget: float, cost: Any) -> None:
    with pytest.raises(ValueError, match="budget must be between (1 and 4|2 and 11)"):
        calibrated(BudgetPolicy(budget, cost=cost))
    with pytest.raises(ValueError, match="budget must be between"):
        calibrated(BudgetPolicy(cost=cost)).settings_for({"budget": budget})


@pytest.mark.parametrize("cost", [[], [1, 1, 2], [3, 2, 1], "ab", [1, "2", 3], [0, 1, 2], 5])
def test_bad_costs(cost: Any) -> None:
    with pytest.raises(ValueError, match="cost must be a list of rising positive numbers"):
        BudgetPolicy(cost=cost)


def test_costs_are_one_an_exit_and_in_the_config() -> None:
    with pytest.raises(ValueError, match="cost has 2 figures for 3 exits"):
        calibrated(BudgetPolicy(cost=[1, 2]))
    policy = BudgetPolicy(3.0, cost=[1, 2, 4])
    assert policy.config() == {"type": "budget", "budget": 3.0, "cost": [1.0, 2.0, 4.0]}


def test_budgets_of_single_rows() -> None:
    evidence = two_labels(*[[0.7, 0.9, 0.9]] * 2)
    assert replayed(bound(BudgetPolicy()), evidence, budget=[1.0, 4.0]) == [0, 2]


def test_no_rows_no_shares() -> None:
    nothing: Optional[np.ndarray] = exit_shares(np.empty((0, 3, 2), np.float32))
    assert nothing is not None and not nothing[:, 1:].any()
