"""When rows stop."""

from typing import Any

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.policies import ConfidencePolicy, ExitPolicy, checked_threshold


def probabilities(*confidences: float) -> torch.Tensor:
    """One row of two labels, with these confidences at its exits: (1, exits, 2)."""
    sure = torch.tensor(confidences)
    return torch.stack([sure, 1 - sure], dim=-1)[None]


@pytest.mark.parametrize(
    "threshold, expected", [(0.0, 0), (0.55, 0), (0.7, 1), (0.9, 1), (0.95, 2), (1.0, 2)]
)
def test_first_exit_that_is_confident_enough(threshold: float, expected: int) -> None:
    policy = ConfidencePolicy(threshold)
    assert policy.replay(probabilities(0.6, 0.9, 0.6)).tolist() == [expected]


def test_threshold_is_reached_at_equality() -> None:
    assert ConfidencePolicy(0.75).replay(probabilities(0.75, 0.5)).tolist() == [0]


def test_threshold_one_runs_to_the_last_exit_whatever_the_confidence() -> None:
    certain = probabilities(1.0, 1.0, 1.0)
    assert ConfidencePolicy(1.0).replay(certain).tolist() == [2]
    assert ConfidencePolicy(0.5).replay(certain, torch.tensor([1.0])).tolist() == [2]


def test_threshold_zero_takes_the_first_exit() -> None:
    unsure = probabilities(0.5, 1.0)
    assert ConfidencePolicy(0.0).replay(unsure).tolist() == [0]
    assert ConfidencePolicy(1.0).replay(unsure, torch.tensor([0.0])).tolist() == [0]


def test_only_threshold_one_excludes_all_exits() -> None:
    assert not ConfidencePolicy(1.0).may_exit()
    assert ConfidencePolicy(1.0).may_exit(torch.tensor([1.0])), "its value may be on a device"
    assert ConfidencePolicy(0.999).may_exit()


def test_thresholds_of_single_rows() -> None:
    rows = probabilities(0.6, 0.8, 0.5).expand(3, -1, -1)
    thresholds = torch.tensor([0.5, 0.7, 1.0])
    assert ConfidencePolicy(0.0).replay(rows, thresholds).tolist() == [0, 1, 2]


@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.floats(0, 1, width=32),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_replay_is_asking_at_every_exit(
    rows: int, exits: int, threshold: float, own_thresholds: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    probs = torch.softmax(2 * torch.randn((rows, exits, 3), generator=generator), dim=-1)
    policy = ConfidencePolicy(threshold)
    own = torch.rand(rows, generator=generator) if own_thresholds else None
    replayed = policy.replay(probs, own)
    for row in range(rows):
        one, its_own = probs[row : row + 1], None if own is None else own[row : row + 1]
        asked = [policy.should_exit(one[:, : e + 1], its_own).item() for e in range(exits)]
        asked[-1] = True
        assert replayed[row] == asked.index(True)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1, "0.5", True, None, float("inf")])
def test_bad_thresholds(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="threshold must be a number between 0 and 1"):
        ConfidencePolicy(value)
    # In a config file the same: AllenNLP's own conversions must not come first.
    params = Params({"type": "confidence", "threshold": value})
    with pytest.raises(ConfigurationError, match="threshold must be a number between 0 and 1"):
        ExitPolicy.from_params(params)


def test_whole_numbers_are_numbers() -> None:
    assert [checked_threshold(0), checked_threshold(1)] == [0.0, 1.0]


def test_by_name_and_by_default() -> None:
    for params in ({"type": "confidence", "threshold": 0.3}, {"threshold": 0.3}):
        policy = ExitPolicy.from_params(Params(dict(params)))
        assert isinstance(policy, ConfidencePolicy) and policy.threshold == 0.3
