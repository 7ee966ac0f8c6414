"""The values by which rows run: checked and made once, then only picked and joined."""

import copy
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from sledgehammer.policies import ConfidencePolicy, PatienceConfidencePolicy, RowSettings
from tests.policies.seen import bound

POLICY = bound(PatienceConfidencePolicy(0.7))


def as_lists(settings: RowSettings) -> Any:
    return {n: v.tolist() if isinstance(v, ndarray) else v for n, v in settings.items()}


def test_what_is_not_given_is_the_policys_own() -> None:
    settings = POLICY.settings_for({"patience": 3})
    assert dict(settings) == {
        "threshold": np.float32(0.7).item(), "patience": 3.0, "max_exit_layer": np.inf
    }  # fmt: skip
    assert dict(POLICY.settings_for({})) == dict(POLICY.values)
    assert POLICY.settings_for(settings) is settings, "they were checked when they were made"


def test_a_value_for_each_row() -> None:
    settings = POLICY.settings_for({"patience": (1, 2, 3), "max_exit_layer": [None, 0, 2]}, 3)
    assert as_lists(settings.of([2, 0])) == {
        "threshold": np.float32(0.7).item(), "patience": [3, 1], "max_exit_layer": [2, np.inf]
    }  # fmt: skip
    alone = settings.of(np.array([1]))
    assert [type(value) for value in alone.values()] == [float] * 3, "a lone row's are numbers"
    assert (alone["patience"], alone["max_exit_layer"]) == (2, 0)
    assert POLICY.values.of([0, 5]) == POLICY.values, "what is shared is shared by some rows too"


@pytest.mark.parametrize(
    "given, rows, message",
    [
        ({"colour": 1}, None, "has no setting 'colour'; it has threshold, patience"),
        ({"threshold": [0.5, 0.6]}, None, r"threshold must be a number between 0 and 1, got \[0.5"),
        ({"threshold": [0.5, 0.6]}, 3, "2 values of threshold for 3 texts"),
        ({"threshold": [0.5, 1.6]}, 2, "threshold must be a number between 0 and 1, got 1.6"),
        ({"threshold": np.array([0.5, np.nan])}, 2, "threshold must be a number .* got nan"),
        ({"threshold": [None, 0.5]}, 2, "threshold must be a number between 0 and 1, got None"),
    ],
)
def test_bad_settings(given: Any, rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        POLICY.settings_for(given, rows)


def test_a_bad_value_leaves_the_policy_as_it_was() -> None:
    policy = bound(PatienceConfidencePolicy(0.7))
    with pytest.raises(ValueError, match="patience must be"):
        policy.change({"threshold": 0.1, "patience": 0})
    assert policy.threshold == 0.7


def test_joining() -> None:
    shared, other = POLICY.values, POLICY.settings_for({"threshold": 0.5})
    assert dict(RowSettings.join([shared] * 4)) == dict(shared), "one number for all"
    assert RowSettings.join([other]) is other
    three = POLICY.settings_for({"patience": [1, 2, 3]}, 3)
    joined = RowSettings.join([three, other.of([0, 1])], rows=[3, 2])
    seven, half = np.float32(0.7).item(), 0.5
    assert as_lists(joined) == {
        "threshold": [seven] * 3 + [half] * 2, "patience": [1, 2, 3, 2, 2], "max_exit_layer": np.inf
    }  # fmt: skip
    assert joined["threshold"].dtype == np.float32  # type: ignore[union-attr]
    for row in range(5):
        one = joined.of([row])
        assert dict(RowSettings.join([one])) == dict(one)


def test_they_cannot_be_changed() -> None:
    values = np.array([0.5, 0.6], np.float32)
    settings = bound(ConfidencePolicy()).settings_for({"threshold": values}, 2)
    values[0] = 0.1
    assert as_lists(settings)["threshold"] == np.array([0.5, 0.6], np.float32).tolist()
    with pytest.raises(ValueError, match="read-only"):
        settings["threshold"][0] = 0.1  # type: ignore[index]
    with pytest.raises(TypeError):
        settings["threshold"] = 0.1  # type: ignore[index]
    assert as_lists(copy.deepcopy(settings)) == as_lists(settings), "AllenNLP copies fields"
