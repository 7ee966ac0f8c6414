"""What a curve's file may hold, and for which model it is."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict

import pytest

from sledgehammer.engine.curve import CURVE, Curve
from sledgehammer.policies import Conditions

CONDITIONS = Conditions({"type": "confidence", "threshold": 0.9}, [1.5, 2.0], "float32", "abc")


def point(setting: Any, accuracy: float, layers: float) -> Dict[str, Any]:
    return {
        "setting": setting, "accuracy": accuracy, "macro_f1": accuracy, "mean_layers": layers,
        "calibration_error": 0.01, "shares": [0.25, 0.75],
    }  # fmt: skip


def curve(**changes: Any) -> Curve:
    fields: Dict[str, Any] = {
        "data": "dev.txt", "rows": 8, "used_for": {"temperatures": 0, "threshold": 8},
        "sweeps": "threshold", "exit_layers": [0, 3], "full_layers": 4,
        "points": [point(0.0, 0.5, 1.0), point(1.0, 0.75, 4.0)], "default": point(0.9, 0.7, 3.25),
        "exit_accuracy": [0.5, 0.75], "conditions": CONDITIONS,
    }  # fmt: skip
    return Curve(**{**fields, **changes})


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    assert Curve.load(tmp_path) is None
    curve().save(tmp_path)
    loaded = Curve.load(tmp_path)
    assert loaded == curve()
    assert loaded is not None and loaded.full["setting"] == 1.0


@pytest.mark.parametrize(
    "changes, holds",
    [
        ({}, True),
        ({"policy": {"type": "confidence", "threshold": 0.5}}, True),  # another of its points
        ({"policy": {"type": "confidence", "thresholds": [0.5]}}, True),
        ({"policy": {"type": "confidence", "threshold": 0.9, "max_exit_layer": 0}}, False),
        ({"policy": {"type": "patience", "patience": 2}}, False),
        ({"temperatures": [1.5, 2.1]}, False),
        ({"temperatures": [1.5]}, False),
        ({"number_format": "onnx int8"}, False),
        ({"weights": "other"}, False),
        ({"weights": ""}, True),  # unknown
        ({"mixing": [0.0, 0.5]}, False),
    ],
)
def test_it_holds_for_the_model_that_it_was_measured_on(
    changes: Dict[str, Any], holds: bool
) -> None:
    assert curve().holds(dataclasses.replace(CONDITIONS, **changes)) is holds


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 0},
        {"points": []},
        {"points": [{"setting": 1.0}]},
        {"points": [{**point(1.0, 0.5, 1.0), "shares": [1.0]}]},
        {"points": [{**point(1.0, 1.5, 1.0)}]},
        {"points": [{**point(1.0, 0.5, float("nan"))}]},
        {"exit_accuracy": [0.5]},
        {"exit_layers": []},
        {"exit_layers": None},
        {"conditions": {}},
        {"points": 3},
        {"more": 1},
    ],
)
def test_a_damaged_file_is_reported(tmp_path: Path, change: Dict[str, Any]) -> None:
    content = {**json.loads(curve().as_bytes()), **change}
    (tmp_path / CURVE).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{CURVE} is damaged"):
        Curve.load(tmp_path)
