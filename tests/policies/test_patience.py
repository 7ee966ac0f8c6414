"""Stopping when exits agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.policies import PatiencePolicy
from sledgehammer.policies.patience import agreeing
from tests.policies.seen import bound, random_evidence, replayed, two_labels


@pytest.mark.parametrize(
    "said, expected", [([0], 0), ([0, 0], 1), ([0, 1], 0), ([1, 0, 0, 0], 2), ([0, 0, 1, 1], 1)]
)
def test_how_many_exits_agree(said: list, expected: int) -> None:
    assert agreeing(np.array([said])).tolist() == [expected]


@pytest.mark.parametrize("patience, expected", [(0, 0), (1, 2), (2, 3), (3, 4), (4, 4), (9, 4)])
def test_by_hand(patience: int, expected: int) -> None:
    """The labels are 0, 1, 1, 1, 1: the counter is 0, 0, 1, 2, 3."""
    evidence = two_labels([0.9, 0.4, 0.3, 0.2, 0.1])
    assert replayed(PatiencePolicy(patience), evidence) == [expected]


@given(st.integers(0, 10_000), st.integers(0, 6))
def test_the_counter_as_the_paper_has_it(seed: int, patience: int) -> None:
    evidence = random_evidence(seed, rows=4, exits=5, labels=2)
    for row, answered in enumerate(replayed(PatiencePolicy(patience), evidence)):
        predicted = evidence.probs[row].argmax(axis=-1)
        counter, exit = 0, 0
        while counter < patience and exit < 4:
            exit += 1
            counter = counter + 1 if predicted[exit] == predicted[exit - 1] else 0
        assert answered == exit


def test_as_much_patience_as_exits_is_the_full_model() -> None:
    policy = bound(PatiencePolicy(), exits=4)
    assert policy.full == 4 and policy.grid(2) == [0, 1, 2, 4]
    assert replayed(policy, two_labels([0.9] * 4), patience=[4]) == [3]


@pytest.mark.parametrize("value", [-1, 1.5, float("inf"), float("nan"), True, "2", None])
def test_bad_values(value: object) -> None:
    with pytest.raises(ValueError, match="patience must be a whole number of at least 0"):
        PatiencePolicy(value)


def test_whole_floats_and_huge_numbers_are_numbers() -> None:
    assert PatiencePolicy(3.0).patience == 3
    assert replayed(PatiencePolicy(10**400), two_labels([0.9, 0.9])) == [1]
