"""The exit is known before the run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.policies import Evidence, Exits, PredictedDepthPolicy, RowSettings
from tests.policies.seen import bound, random_evidence, replayed, two_labels

DEPTH = {"depth": np.array([[0.25, 0.5, 0.25]], np.float32)}


@pytest.mark.parametrize(
    "coverage, expected", [(0.0, 0), (0.25, 0), (0.3, 1), (0.75, 1), (0.8, 2), (1.0, 2)]
)
def test_first_exit_that_is_probably_deep_enough(coverage: float, expected: int) -> None:
    policy = bound(PredictedDepthPolicy(coverage))
    assert replayed(policy, Evidence(two_labels([0.9, 0.9, 0.9]).probs, DEPTH)) == [expected]
    plan = policy.plan(1, DEPTH, policy.values)
    assert plan is not None and plan.tolist() == [expected]


def test_full_coverage_is_the_full_model_where_the_sum_is_one_before() -> None:
    policy = bound(PredictedDepthPolicy(1.0))
    depth = {"depth": np.array([[1.0, 0.0, 0.0]], np.float32)}
    assert replayed(policy, Evidence(two_labels([0.9] * 3).probs, depth)) == [2]
    plan = policy.plan(1, depth, policy.values)
    assert plan is not None and plan.tolist() == [2]


@given(st.integers(0, 10_000), st.integers(1, 5))
def test_the_plan_is_what_is_decided_step_by_step(seed: int, exits: int) -> None:
    evidence = random_evidence(seed, rows=6, exits=exits)
    policy = bound(PredictedDepthPolicy(), exits)
    rng = np.random.default_rng(seed)
    own = [
        {"coverage": coverage, "max_exit_layer": cap}
        for coverage, cap in zip((rng.random(6) * 1.4 - 0.2).clip(0, 1), [0, 1, 4, 5, 8, None])
    ]
    settings = RowSettings.join([policy.settings_for(given) for given in own])
    plan = policy.plan(6, {"depth": evidence.signals["depth"]}, settings)
    assert plan is not None and plan.tolist() == policy.replay(evidence, settings).tolist()


def test_a_model_without_the_signal_is_refused() -> None:
    with pytest.raises(ValueError, match=r'train it with "model.signals": \["depth"\]'):
        PredictedDepthPolicy().bind(Exits([0, 2], ["certainty"]))
