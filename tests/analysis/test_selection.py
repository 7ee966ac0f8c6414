"""Choosing from a curve."""

from typing import Any, Optional

import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.selection import Wish, choose
from sledgehammer.analysis.tradeoff import Point


def point(threshold: float, accuracy: float, speedup: float) -> Point:
    return Point(threshold, accuracy, accuracy, 6 / speedup, speedup, 0.0, {})


CURVE = [point(0.0, 0.80, 6.0), point(0.6, 0.89, 3.0), point(0.9, 0.92, 2.0), point(1.0, 0.91, 1.0)]
INCONSISTENCIES = [0.2, 0.05, 0.03, 0.0]


def threshold(**wish: Any) -> Optional[float]:
    chosen = choose(CURVE, INCONSISTENCIES, CURVE[-1], Wish(**wish))
    setting = None if chosen is None else chosen.setting
    assert not isinstance(setting, list)
    return setting


def test_a_wish_about_answers_gives_the_fastest() -> None:
    assert threshold(min_accuracy=0.89) == 0.6
    assert threshold(max_accuracy_drop=0.02) == 0.6
    assert threshold(max_accuracy_drop=0.0) == 0.9
    assert threshold(max_inconsistency=0.03) == 0.9


def test_a_wish_about_speed_gives_the_most_accurate() -> None:
    assert threshold(min_speedup=1.5) == 0.9
    assert threshold(min_speedup=3) == 0.6
    assert threshold(min_speedup=1) == 0.9


def test_all_conditions_hold_at_once() -> None:
    assert threshold(min_accuracy=0.8, max_inconsistency=0.05) == 0.6
    assert threshold(min_accuracy=0.9, min_speedup=3) is None
    assert threshold(min_accuracy=0.99) is None


@pytest.mark.parametrize(
    "wish, message",
    [
        ({"min_accuracy": 92.0}, "--min-accuracy must be between 0 and 1"),
        ({"max_accuracy_drop": -0.1}, "--max-accuracy-drop must be between 0 and 1"),
        ({"min_speedup": 0.5}, "--min-speedup must be at least 1"),
        ({"min_speedup": float("nan")}, "--min-speedup must be at least 1"),
    ],
)
def test_impossible_wishes(wish: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Wish(**wish)
