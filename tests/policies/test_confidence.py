"""Stopping by confidence, and what it shares with all policies."""

from typing import Any

import numpy as np
import pytest
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.model.policy_config import RegisteredPolicy
from sledgehammer.policies import ConfidencePolicy, Evidence, ExitPolicy, RowSettings
from tests.policies.seen import bound, random_evidence, replayed, two_labels


@pytest.mark.parametrize(
    "threshold, expected", [(0.0, 0), (0.55, 0), (0.7, 1), (0.9, 1), (0.95, 2), (1.0, 2)]
)
def test_first_exit_that_is_confident_enough(threshold: float, expected: int) -> None:
    assert replayed(ConfidencePolicy(threshold), two_labels([0.6, 0.9, 0.6])) == [expected]


def test_threshold_is_reached_at_equality() -> None:
    assert replayed(ConfidencePolicy(0.75), two_labels([0.75, 0.5])) == [0]


def test_threshold_one_runs_to_the_last_exit_whatever_the_confidence() -> None:
    certain = two_labels([1.0, 1.0, 1.0])
    assert replayed(ConfidencePolicy(1.0), certain) == [2]
    assert replayed(ConfidencePolicy(0.5), certain, threshold=[1.0]) == [2]


def test_threshold_zero_takes_the_first_exit() -> None:
    unsure = two_labels([0.5, 1.0])
    assert replayed(ConfidencePolicy(0.0), unsure) == [0]
    assert replayed(ConfidencePolicy(1.0), unsure, threshold=[0.0]) == [0]


def test_only_threshold_one_excludes_all_exits() -> None:
    policy = bound(ConfidencePolicy(0.999))
    assert policy.plan(2, {}, policy.values) is None
    for ones in (1.0, np.ones(2, np.float32)):
        plan = policy.plan(2, {}, policy.values.with_value("threshold", ones))
        assert plan is not None and plan.tolist() == [2, 2]
    some = policy.values.with_value("threshold", np.array([1.0, 0.5], np.float32))
    assert policy.plan(2, {}, some) is None


def test_thresholds_of_single_rows() -> None:
    rows = two_labels(*[[0.6, 0.8, 0.5]] * 3)
    assert replayed(ConfidencePolicy(0.0), rows, threshold=[0.5, 0.7, 1.0]) == [0, 1, 2]


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
    evidence = random_evidence(seed, rows, exits)
    policy = bound(ConfidencePolicy(threshold), exits)
    own = [threshold] * rows
    if own_thresholds:
        own = np.random.default_rng(seed).random(rows, np.float32).tolist()
    settings = policy.settings_for({"threshold": own}, rows)
    answered = policy.replay(evidence, settings)
    for row in range(rows):
        sure = evidence.probs[row].max(axis=-1)
        stops = [own[row] < 1 and value >= np.float32(own[row]) for value in sure]
        stops[-1] = True
        assert answered[row] == stops.index(True)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1, "0.5", True, None, float("inf")])
def test_bad_thresholds(value: Any) -> None:
    with pytest.raises(ValueError, match="threshold must be a number between 0 and 1"):
        ConfidencePolicy(value)
    # In a config file the same: AllenNLP's own conversions must not come first.
    params = Params({"type": "confidence", "threshold": value})
    with pytest.raises(ConfigurationError, match="threshold must be a number between 0 and 1"):
        RegisteredPolicy.from_params(params)


def test_whole_numbers_are_numbers() -> None:
    assert [ConfidencePolicy(0).threshold, ConfidencePolicy(1).threshold] == [0.0, 1.0]


def test_by_name_and_by_default() -> None:
    for params in ({"type": "confidence", "threshold": 0.3}, {"threshold": 0.3}):
        policy = RegisteredPolicy.from_params(Params(dict(params)))
        assert isinstance(policy, ConfidencePolicy) and policy.threshold == 0.3
    assert isinstance(ExitPolicy.make({}), ConfidencePolicy)


def test_distinct_thresholds_are_the_confidences_below_the_last_exit() -> None:
    evidence = Evidence(two_labels([0.75, 0.625, 0.9], [0.75, 1.0, 0.8]).probs)
    assert bound(ConfidencePolicy()).distinct(evidence) == [0.0, 0.625, 0.75, 1.0]


def test_a_threshold_for_each_exit() -> None:
    rows = two_labels([0.6, 0.8, 0.5], [0.9, 0.5, 0.5], [0.6, 0.6, 0.5])
    assert replayed(ConfidencePolicy(thresholds=[0.7, 0.7]), rows) == [1, 0, 2]
    assert replayed(ConfidencePolicy(thresholds=[1.0, 0.6]), rows) == [1, 2, 1]
    assert replayed(ConfidencePolicy(thresholds=[0.0, 1.0]), rows) == [0, 0, 0]
    certain = two_labels([1.0, 1.0, 1.0])
    assert replayed(ConfidencePolicy(thresholds=[1.0, 1.0]), certain) == [2]
    assert replayed(ConfidencePolicy(thresholds=[0.5, 0.5], max_exit_layer=0), rows) == [0, 0, 0]


def test_a_rows_own_threshold_comes_before_those_of_the_exits() -> None:
    rows = two_labels(*[[0.6, 0.8, 0.5]] * 4)
    policy = bound(ConfidencePolicy(thresholds=[0.7, 0.7]))
    given = [{}, *({"threshold": t} for t in (0.5, 0.9, 1.0))]
    assert policy.replay(
        rows, RowSettings.join([policy.settings_for(one) for one in given])
    ).tolist() == [1, 0, 2, 2]
    policy.change({"threshold": 0.5})
    assert policy.config() == {"type": "confidence", "threshold": 0.5}
    assert policy.thresholds is None and policy.replay(rows).tolist() == [0] * 4


@given(
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2),
    st.integers(0, 10_000),
)
def test_thresholds_alone_are_those_of_a_batch(thresholds: Any, seed: int) -> None:
    evidence = random_evidence(seed, rows=6, exits=3)
    policy = bound(ConfidencePolicy(thresholds=thresholds))
    together = policy.replay(evidence).tolist()
    for row, expected in enumerate(together):
        alone = Evidence(evidence.probs[row : row + 1], {})
        assert policy.replay(alone).tolist() == [expected]


def test_thresholds_go_through_configs() -> None:
    config = {"type": "confidence", "thresholds": [0.9, 1.0], "max_exit_layer": 3}
    made = RegisteredPolicy.from_params(Params(dict(config)))
    assert made.config() == config and ExitPolicy.make(made.config()).config() == config
    assert made.swept is None and made.full == 1.0


@pytest.mark.parametrize(
    "config, message",
    [
        ({"thresholds": 0.5}, "thresholds must be a list, one an exit, got 0.5"),
        ({"thresholds": [0.5, 1.5]}, "each of thresholds must be a number between 0 and 1"),
        ({"thresholds": [0.5, None]}, "each of thresholds must be a number"),
        ({"thresholds": [0.5, 0.5], "threshold": 0.5}, "either threshold or thresholds"),
    ],
)
def test_bad_lists_of_thresholds(config: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RegisteredPolicy.from_params(Params({"type": "confidence", **config}))


def test_thresholds_are_as_many_as_the_exits_less_one() -> None:
    with pytest.raises(ValueError, match="3 figures for 3 exits: give one for each exit but"):
        bound(ConfidencePolicy(thresholds=[0.5] * 3))
