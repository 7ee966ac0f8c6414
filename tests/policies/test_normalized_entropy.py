"""Stopping by entropy as a share of the largest there is."""

import math

import numpy as np
import pytest

from sledgehammer.policies import NormalizedEntropyPolicy
from sledgehammer.policies.normalized_entropy import uncertainty
from tests.policies.seen import replayed, two_labels

SKEW = (-0.9 * math.log(0.9) - 0.1 * math.log(0.1)) / math.log(2)


def test_uncertainty_by_hand() -> None:
    assert uncertainty(two_labels([0.5, 0.9, 1.0]).probs)[0] == pytest.approx(
        [1, SKEW, 0], abs=1e-6
    )
    thirds = np.full((1, 3), 1 / 3, np.float32)
    assert uncertainty(thirds) == pytest.approx([1.0]) and uncertainty(thirds)[0] <= 1
    assert uncertainty(np.ones((2, 1), np.float32)).tolist() == [0, 0]


@pytest.mark.parametrize(
    "speed, expected", [(0.0, 2), (SKEW - 0.01, 2), (SKEW + 0.01, 1), (0.99, 1), (1.0, 0)]
)
def test_first_exit_within_the_speed(speed: float, expected: int) -> None:
    assert replayed(NormalizedEntropyPolicy(speed), two_labels([0.5, 0.9, 0.5])) == [expected]


def test_zero_is_the_full_model_for_rows_that_are_certain() -> None:
    certain = two_labels([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])
    assert replayed(NormalizedEntropyPolicy(0.0), certain) == [2, 2]
    assert replayed(NormalizedEntropyPolicy(0.5), certain, speed=[0.0, 0.01]) == [2, 0]
