"""Thresholds by label, in the policy `confidence`."""

from typing import Any, Dict, List, Union

import numpy as np
import pytest
from allennlp.common import Params
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.model.policy_config import RegisteredPolicy
from sledgehammer.policies import (
    ConfidencePolicy,
    Evidence,
    ExitPolicy,
    Exits,
    RowSettings,
    check_for_some_policy,
)
from tests.policies.seen import LAYERS, random_evidence, two_labels

LABELS = ["ham", "spam", "other"]
Threshold = Union[float, Dict[str, float]]

numbers = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1, width=32)
maps = st.dictionaries(st.sampled_from([*LABELS, "*"]), numbers, min_size=1)


def bound(policy: ConfidencePolicy, exits: int = 3, labels: Any = LABELS) -> ConfidencePolicy:
    policy.bind(Exits(LAYERS[:exits], labels=labels))
    return policy


def expected_exit(probs: np.ndarray, threshold: Threshold, others: Threshold) -> int:
    """Decide one row by the definition: (exits, labels) -> the exit that answers."""

    def of(value: Threshold, label: str, default: Threshold) -> float:
        if not isinstance(value, dict):
            return value
        if label in value or "*" in value:
            return value.get(label, value.get("*", 0.0))
        return of(default, label, 0.9)

    for position, row in enumerate(probs[:-1]):
        needed = of(threshold, LABELS[int(row.argmax())], others)
        if needed < 1.0 and row.max() >= np.float32(needed):
            return position
    return len(probs) - 1


@given(maps | numbers, st.lists(maps | numbers, min_size=1, max_size=5), st.integers(0, 10_000))
def test_each_row_is_decided_by_the_threshold_of_its_predicted_label(
    own: Threshold, requested: List[Threshold], seed: int
) -> None:
    """Alone, in a batch, as it goes through `join` and `of`: it is always the same exit."""
    rows = len(requested)
    evidence = random_evidence(seed, rows, exits=4)
    policy = bound(ConfidencePolicy(own), 4)
    expected = [expected_exit(p, t, own) for p, t in zip(evidence.probs, requested)]
    together = policy.settings_for({"threshold": requested}, rows)
    assert policy.replay(evidence, together).tolist() == expected
    alone = [policy.settings_for({"threshold": one}) for one in requested]
    assert policy.replay(evidence, RowSettings.join(alone)).tolist() == expected
    for row in range(rows):
        lone = Evidence(evidence.probs[row : row + 1])
        for settings in (alone[row], together.of([row])):
            assert policy.replay(lone, settings).tolist() == [expected[row]]
    halves = [together.of(list(range(rows // 2))), together.of(list(range(rows // 2, rows)))]
    joined = RowSettings.join(halves, [rows // 2, rows - rows // 2])
    assert policy.replay(evidence, joined).tolist() == expected


@given(maps, st.integers(0, 10_000))
def test_the_policys_own_map_holds_for_all_rows(own: Dict[str, float], seed: int) -> None:
    evidence = random_evidence(seed, rows=6, exits=3)
    policy = bound(ConfidencePolicy(own))
    expected = [expected_exit(probs, own, 0.9) for probs in evidence.probs]
    assert policy.replay(evidence).tolist() == expected
    again = bound(ExitPolicy.make(policy.config()))  # type: ignore[arg-type]
    assert again.replay(evidence).tolist() == expected
    with_rest = policy.settings_for({"threshold": {"ham": 0.7}}, base=policy.values)
    merged = {"*": 0.9, **own, "ham": 0.7}
    assert policy.replay(evidence, with_rest).tolist() == [
        expected_exit(probs, merged, 0.9) for probs in evidence.probs
    ]


def test_one_for_all_labels_takes_the_place_of_the_map() -> None:
    rows = two_labels([0.8, 0.95, 0.5], [0.3, 0.1, 0.5])
    policy = bound(ConfidencePolicy({"spam": 0.99}), labels=LABELS[:2])
    assert policy.replay(rows).tolist() == [1, 2]
    assert policy.replay(rows, policy.settings_for({"threshold": 0.7})).tolist() == [0, 0]
    assert policy.config()["threshold"] == {"*": 0.9, "spam": 0.99}
    policy.change({"threshold": {"*": 0.8}})
    assert policy.config()["threshold"] == {"*": 0.8, "spam": 0.99} and policy.swept == 0.8
    policy.sweep_to(0.6)
    assert policy.config()["threshold"] == {"*": 0.6, "spam": 0.99}
    policy.change({"threshold": 0.5})
    assert policy.config() == {"type": "confidence", "threshold": 0.5}


def test_only_ones_for_all_labels_exclude_all_exits() -> None:
    policy = bound(ConfidencePolicy({"*": 1.0, "spam": 1.0}))
    plan = policy.plan(2, {}, policy.values)
    assert plan is not None and plan.tolist() == [2, 2]
    some = policy.settings_for({"threshold": {"spam": 0.5}})
    assert policy.plan(2, {}, some) is None
    both = policy.settings_for({"threshold": [{"spam": 0.5}, 1.0]}, 2)
    assert policy.plan(2, {}, both) is None


def test_labels_that_are_not_named_keep_the_thresholds_of_the_exits() -> None:
    rows = two_labels([0.6, 0.8, 0.5], [0.3, 0.1, 0.5], [0.75, 0.9, 0.5])
    policy = bound(ConfidencePolicy({"spam": 0.65}, thresholds=[0.7, 1.0]), labels=LABELS[:2])
    assert policy.replay(rows).tolist() == [2, 0, 0]
    config = {"type": "confidence", "threshold": {"spam": 0.65}, "thresholds": [0.7, 1.0]}
    assert policy.config() == config
    assert ExitPolicy.make(config).config() == config
    plain = bound(ConfidencePolicy(thresholds=[0.7, 1.0]), labels=LABELS[:2])
    requested = plain.settings_for({"threshold": {"spam": 0.65}})
    assert plain.replay(rows, requested).tolist() == [2, 0, 0]
    with pytest.raises(ValueError, match="either threshold or thresholds"):
        ConfidencePolicy({"*": 0.5}, thresholds=[0.7, 1.0])


@pytest.mark.parametrize(
    "threshold, message",
    [
        ({"spa": 0.9}, "the label 'spa', which the model does not know; its labels are 'ham', 'sp"),
        ({"spam": 1.5}, "threshold of 'spam' must be a number between 0 and 1, got 1.5"),
        ({"spam": None}, "threshold of 'spam' must be a number between 0 and 1, got None"),
        ({"spam": {"ham": 0.5}}, "threshold must map labels to numbers"),
        ({}, "must be a number between 0 and 1, or map labels to such"),
    ],
)
def test_bad_maps(threshold: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bound(ConfidencePolicy(threshold))
    with pytest.raises(ValueError, match=message):
        bound(ConfidencePolicy()).settings_for({"threshold": [0.5, threshold]}, 2)
    policy = bound(ConfidencePolicy(0.7))
    with pytest.raises(ValueError, match=message):
        policy.change({"threshold": threshold})
    assert policy.threshold == 0.7


def test_other_policies_take_no_maps() -> None:
    with pytest.raises(ValueError, match="threshold must be a number between 0 and 1, got {"):
        ExitPolicy.make({"type": "patience_confidence", "threshold": {"spam": 0.9}})
    check_for_some_policy({"threshold": {"spam": 0.9}})
    with pytest.raises(ValueError, match="must be a number"):
        check_for_some_policy({"threshold": {"spam": 9}})


def test_maps_go_through_allennlps_configs() -> None:
    params = Params({"type": "confidence", "threshold": {"spam": 0.99, "*": 0.8}})
    policy = RegisteredPolicy.from_params(params)
    assert policy.config() == {"type": "confidence", "threshold": {"*": 0.8, "spam": 0.99}}
    with pytest.raises(ValueError, match="call `bind` first"):
        _ = policy.values
