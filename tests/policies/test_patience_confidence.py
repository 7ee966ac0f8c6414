"""Stopping when several exits in a row are sure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.policies import ConfidencePolicy, PatienceConfidencePolicy
from tests.policies.seen import random_evidence, replayed, two_labels


@pytest.mark.parametrize(
    "threshold, patience, expected",
    [(0.8, 1, 0), (0.8, 2, 3), (0.8, 3, 4), (0.5, 3, 2), (0.0, 2, 1), (1.0, 1, 4), (0.95, 2, 4)],
)
def test_by_hand(threshold: float, patience: int, expected: int) -> None:
    """At 0.8 the exits are sure, unsure, sure, sure, sure, whatever they say."""
    evidence = two_labels([0.9, 0.6, 0.1, 0.9, 0.9])
    policy = PatienceConfidencePolicy(threshold, patience=patience)
    assert replayed(policy, evidence) == [expected]


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_a_patience_of_one_is_plain_confidence(seed: int, threshold: float) -> None:
    evidence = random_evidence(seed, rows=5, exits=4)
    patient = PatienceConfidencePolicy(threshold, patience=1)
    assert replayed(patient, evidence) == replayed(ConfidencePolicy(threshold), evidence)


def test_settings_of_single_rows() -> None:
    evidence = two_labels(*[[0.9, 0.9, 0.9, 0.9]] * 3)
    own = dict(threshold=[0.5, 0.95, 0.5], patience=[1, 1, 3])
    assert replayed(PatienceConfidencePolicy(), evidence, **own) == [0, 3, 2]


def test_bad_patience() -> None:
    with pytest.raises(ValueError, match="patience must be a whole number of at least 1, got 0"):
        PatienceConfidencePolicy(patience=0)
