"""The exact test is valid whatever the chance of a loss is, and not much larger than need be."""

from functools import cache

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from sledgehammer.analysis.exact_test import exact_p_value, score


@cache
def most_losses(changes: int, rows: int, bound: float, level: float) -> int:
    """Return how many of `changes` losses may be 1 so that the test still passes; -1 if none.

    For p-values that rise with the losses of 1, which a test below shows.
    """
    low, high = -1, changes
    while low < high:
        middle = (low + high + 1) // 2
        if exact_p_value(middle, changes - middle, rows, bound, level) <= level:
            low = middle
        else:
            high = middle - 1
    return low


def size(q: float, drop: float, rows: int, bound: float, level: float) -> float:
    """Return the exact chance that the test passes where losses of 1 exceed gains by `drop`."""
    changes = np.arange(rows + 1)
    chance = binom.pmf(changes, rows, q)
    changes = changes[chance > 1e-12]
    most = np.array([most_losses(int(d), rows, bound, level) for d in changes])
    share = (q + drop) / (2 * q)
    return float(chance[changes] @ binom.cdf(most, changes, share))


@pytest.mark.parametrize("rows, bound", [(60, 0.05), (150, 0.02), (150, 0.1)])
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_its_size_never_exceeds_the_level(rows: int, bound: float, level: float) -> None:
    """Enumerated, not drawn: at every chance of a loss, on the boundary and beyond it."""
    for q in (bound, bound + 0.001, bound + 0.01, bound + 0.05, 0.2, 0.4):
        if q >= bound:
            assert size(q, bound, rows, bound, level) <= level
            assert size(q, min(q, 1.3 * bound), rows, bound, level) <= level


def test_it_uses_up_most_of_the_level() -> None:
    """A test that never passes would be valid too."""
    assert size(0.06, 0.02, 400, 0.02, 0.1) > 0.075


@pytest.mark.parametrize("gain, loss", [(0.0, 0.02), (0.01, 0.03), (0.04, 0.06)])
def test_violations_over_two_thousand_draws(gain: float, loss: float) -> None:
    rows, bound, draws = 872, 0.02, 2000
    counts = np.random.default_rng(4).multinomial(rows, [gain, loss, 1 - gain - loss], draws)
    for level in (0.05, 0.1):
        passed = [b <= most_losses(b + c, rows, bound, level) for c, b, _ in counts.tolist()]
        assert np.mean(passed) <= level + 3 * np.sqrt(level * (1 - level) / draws)


def test_more_losses_speak_less_against_the_hypothesis() -> None:
    for changes in (1, 7, 30):
        b = np.arange(changes + 1)
        assert (np.diff(score(b, changes - b, 200, 0.05)) < 0).all()
        values = [
            exact_p_value(int(k), int(changes - k), 200, 0.05) for k in b[:: max(1, changes // 6)]
        ]
        assert (np.diff(values) >= 0).all()


def test_the_p_value_is_the_worst_chance_of_such_outcomes() -> None:
    """Against a plain sum over all outcomes of few rows, at many values of q."""
    rows, bound, losses, gains = 30, 0.15, 2, 1
    outcomes = [(b, c) for b in range(rows + 1) for c in range(rows + 1 - b)]
    seen = float(score(losses, gains, rows, bound))
    extreme = [(b, c) for b, c in outcomes if float(score(b, c, rows, bound)) >= seen - 1e-9]
    worst = 0.0
    for q in np.linspace(bound, 0.6, 60):
        chances = [(q + bound) / 2, (q - bound) / 2, 1 - q]
        law = multinomial(rows, chances)
        worst = max(worst, sum(law.pmf([b, c, rows - b - c]) for b, c in extreme))
    found = exact_p_value(losses, gains, rows, bound)
    assert worst - 1e-6 <= found <= worst + 0.02


@pytest.mark.parametrize("losses, gains", [(20, 14), (8, 2), (40, 30), (25, 20)])
def test_with_a_level_it_is_on_the_same_side(losses: int, gains: int) -> None:
    exact = exact_p_value(losses, gains, 872, 0.02)
    for level in (0.01, 0.05, 0.1, 0.2, 0.5):
        quick = exact_p_value(losses, gains, 872, 0.02, level)
        assert (quick <= level) == (exact <= level) and (quick >= exact or quick > level)


def test_the_ends() -> None:
    assert exact_p_value(0, 0, 0, 0.1) == 1.0
    assert exact_p_value(10, 0, 100, 0.1) == 1.0
    assert exact_p_value(0, 0, 5000, 0.1) < 1e-5
    # Without any loss it is about the chance of that if losses were all there is.
    assert 0.95**100 <= exact_p_value(0, 0, 100, 0.05) <= 2 * 0.95**100
