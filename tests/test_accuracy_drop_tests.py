"""The test that the package takes is the tightest of the valid ones."""

import numpy as np
import pytest

from benchmarks.accuracy_drop_tests import RIVALS, betting, shares_of_safe

DRAWS = 1000


@pytest.mark.parametrize("rows, bound, gains", [(200, 0.05, 0.02), (872, 0.02, 0.01)])
def test_none_says_safe_too_often(rows: int, bound: float, gains: float) -> None:
    found = shares_of_safe(rows, bound, bound, gains, 0.1, DRAWS)
    assert max(found.values()) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / DRAWS)


def test_the_exact_one_says_so_most_often_where_it_is_true() -> None:
    found = shares_of_safe(872, 0.02, 0.006, 0.01, 0.1, 300)
    others = max(share for name, share in found.items() if name != "exact")
    assert found["exact"] > others + 0.1
    assert set(found) == set(RIVALS)


def test_bets_by_hand() -> None:
    """Without any loss every stake grows by (1 + lambda E) a row."""
    bound, rows = 0.1, 50
    stakes = np.linspace(0, 1, 257)[1:-1] / (1 - bound)
    expected = 1 / np.mean((1 + stakes * bound) ** rows)
    assert betting(255)(np.zeros(rows, dtype=int), bound, 0.1) == pytest.approx(expected)
    assert betting(255)(np.ones(rows, dtype=int), bound, 0.1) == 1.0
