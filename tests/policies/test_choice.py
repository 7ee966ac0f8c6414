"""A choice stands as long as what it was made for does."""

import dataclasses
import json
from dataclasses import replace
from typing import Any

import pytest

from sledgehammer.policies import Choice, Conditions

THEN = Conditions({"type": "confidence", "threshold": 0.8}, [1.5, 2.0], "float32", "abc")
CHOICE = Choice(THEN, {"max_accuracy_drop": 0.01}, 872, "dev.txt", 0.1)


def test_it_survives_json() -> None:
    assert Choice.of(json.loads(json.dumps(CHOICE.as_dict()))) == CHOICE


def test_the_same_conditions_are_no_problem() -> None:
    assert CHOICE.problem(THEN) is None
    rounded = dataclasses.replace(THEN, temperatures=[1.5000001, 1.9999999])
    assert CHOICE.problem(rounded) is None
    assert CHOICE.problem(dataclasses.replace(THEN, weights="")) is None, "engines of old"


@pytest.mark.parametrize(
    "change, told",
    [
        ({"temperatures": [1.5, 2.1]}, "other temperatures"),
        ({"temperatures": [1.5]}, "other temperatures"),
        ({"number_format": "onnx int8"}, "the number format float32, not onnx int8"),
        ({"weights": "abd"}, "other weights"),
        ({"policy": {"type": "confidence", "threshold": 0.7}}, "another policy or setting"),
    ],
)
def test_each_change_is_told(change: Any, told: str) -> None:
    problem = CHOICE.problem(dataclasses.replace(THEN, **change))
    assert problem is not None
    assert f"with {told}: the choice no longer stands" in problem
    assert "for max_accuracy_drop 0.01, on 872 rows of dev.txt" in problem
    assert "its guarantee no longer holds" in problem
    free = dataclasses.replace(CHOICE, delta=None)
    assert "guarantee" not in str(free.problem(dataclasses.replace(THEN, **change)))


@pytest.mark.parametrize("content", [{}, {"conditions": {}}, {**CHOICE.as_dict(), "more": 1}])
def test_a_damaged_file_is_told(content: Any) -> None:
    with pytest.raises(ValueError, match="chosen.json is damaged"):
        Choice.of(content)


def test_another_mixing_is_told() -> None:
    mixed = replace(CHOICE, conditions=replace(CHOICE.conditions, mixing=[0.0, 0.5]))
    assert mixed.problem(mixed.conditions) is None
    other = mixed.problem(replace(mixed.conditions, mixing=[0.0, 0.7]))
    assert other is not None and "another share of the lexical exit in the others" in other
    assert CHOICE.problem(mixed.conditions) is not None
