"""Stopping by entropy in nats."""

import math

import numpy as np
import pytest

from sledgehammer.policies import EntropyPolicy, Evidence
from sledgehammer.policies.entropy import nats
from tests.policies.seen import bound, replayed, two_labels

EVEN, SKEW = math.log(2), -0.9 * math.log(0.9) - 0.1 * math.log(0.1)


def test_entropy_by_hand() -> None:
    probs = np.array([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]], np.float32)
    assert nats(probs) == pytest.approx([EVEN, SKEW, 0.0], abs=1e-6)
    assert nats(np.full((1, 4), 0.25, np.float32)) == pytest.approx([math.log(4)])


@pytest.mark.parametrize(
    "entropy, expected",
    [(0.0, 2), (SKEW - 0.01, 2), (SKEW + 0.01, 1), (EVEN - 0.01, 1), (EVEN + 0.01, 0), (100, 0)],
)
def test_first_exit_below_the_entropy(entropy: float, expected: int) -> None:
    assert replayed(EntropyPolicy(entropy), two_labels([0.5, 0.9, 0.5])) == [expected]


def test_zero_is_the_full_model_for_rows_that_are_certain() -> None:
    certain = two_labels([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    assert replayed(EntropyPolicy(0.0), certain) == [2, 2]
    assert replayed(EntropyPolicy(0.5), certain, entropy=[0.0, 1e-6]) == [2, 0]


def test_the_grid_begins_above_the_largest_entropy() -> None:
    for labels in (2, 3, 7):
        grid = bound(EntropyPolicy()).grid(labels)
        assert grid[0] > nats(np.full((1, labels), 1 / labels, np.float32))[0]
        assert grid == sorted(grid, reverse=True) and grid[-1] == 0.0


def test_distinct_values_are_just_above_the_entropies() -> None:
    policy = bound(EntropyPolicy(), exits=2)
    evidence = Evidence(two_labels([0.9, 0.5]).probs)
    _, inner, _ = policy.distinct(evidence)
    below = float(np.nextafter(np.float32(inner), np.float32(0)))
    assert replayed(policy, evidence, entropy=[inner]) == [0]
    assert replayed(policy, evidence, entropy=[below]) == [1]
