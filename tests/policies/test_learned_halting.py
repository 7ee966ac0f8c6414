"""Stopping by a predicted certainty."""

import numpy as np
import pytest

from sledgehammer.policies import Evidence, Exits, LearnedHaltingPolicy
from tests.policies.seen import replayed, two_labels


@pytest.mark.parametrize("threshold, expected", [(0.0, 0), (0.3, 0), (0.5, 1), (0.9, 2), (1.0, 2)])
def test_the_certainty_counts_and_not_the_confidence(threshold: float, expected: int) -> None:
    certainty = np.array([[0.3, 0.7, 1.0]], np.float32)
    evidence = Evidence(two_labels([0.99, 0.5, 0.99]).probs, {"certainty": certainty})
    assert replayed(LearnedHaltingPolicy(threshold), evidence) == [expected]


def test_a_certainty_of_one_does_not_stop_the_full_model() -> None:
    certain = Evidence(two_labels([0.9, 0.9]).probs, {"certainty": np.ones((1, 2), np.float32)})
    assert replayed(LearnedHaltingPolicy(1.0), certain) == [1]


def test_a_model_without_the_signal_is_refused() -> None:
    with pytest.raises(ValueError, match=r'train it with "model.signals": \["certainty"\]'):
        LearnedHaltingPolicy().bind(Exits([0, 2], ["depth"]))
