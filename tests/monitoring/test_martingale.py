"""False alarms are as rare as promised, and changes are noticed."""

from typing import List

import numpy as np
import pytest

from sledgehammer.monitoring.martingale import (
    ConformalTest,
    Martingale,
    after_bet,
    level,
    starting_capital,
)

ALPHA = 0.05


def first_alarm(reference: np.ndarray, stream: np.ndarray, seed: int) -> int:
    """Return the number of the text at which the alarm is raised; 0 for none."""
    test = ConformalTest(np.bincount(reference, minlength=50), np.random.default_rng(seed))
    for number, bin in enumerate(stream.tolist(), 1):
        test.see(bin)
        if test.highest >= level(ALPHA, 1):
            return number
    return 0


def draw(rng: np.random.Generator, size: int, a: float = 5.0, b: float = 2.0) -> np.ndarray:
    return np.minimum((rng.beta(a, b, size) * 50).astype(int), 49)


def test_false_alarms_in_1000_streams_of_10000_texts() -> None:
    """P-values of texts that are exchangeable are uniform, so that is what is drawn."""
    rng = np.random.default_rng(0)
    capital, highest = starting_capital(), np.zeros(1000)
    for _ in range(10_000):
        capital = after_bet(capital, rng.random((1000, 1, 1)))
        highest = np.maximum(highest, capital.sum(axis=(1, 2)))
    assert 0 < (highest >= level(ALPHA, 1)).mean() <= ALPHA


@pytest.mark.parametrize("rows", [60, 1000])
def test_a_small_reference_is_taken_for_what_it_is(rows: int) -> None:
    """A test against its histogram, as if that were the truth, would alarm in the end."""
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        alarms += first_alarm(draw(rng, rows), draw(rng, 300), seed) > 0
    # 40 streams with at most 5 % each: more than 6 would come once in 200 times.
    assert alarms <= 6


def test_the_mean_capital_stays_1() -> None:
    """It is a fair game: what a few streams win, the others lose."""
    rng, capital = np.random.default_rng(0), starting_capital()
    for _ in range(10):
        capital = after_bet(capital, rng.random((20_000, 1, 1)))
    final = capital.sum(axis=(1, 2))
    assert final.mean() == pytest.approx(1.0, abs=4 * final.std() / len(final) ** 0.5)
    assert final.min() > 0 and final.std() > 0.05


@pytest.mark.parametrize("late", [0, 600])
@pytest.mark.parametrize(
    "a, b", [(2.0, 2.0), (9.0, 1.0), (0.6, 0.25)], ids=["lower", "higher", "to the ends"]
)
def test_a_change_is_noticed_within_500_texts(a: float, b: float, late: int) -> None:
    delays: List[int] = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        stream = np.concatenate([draw(rng, late), draw(rng, 1000, a, b)])
        alarm = first_alarm(draw(rng, 2000), stream, seed)
        delays.append(alarm - late if alarm > late else 10_000)
    assert np.median(delays) < 500


def test_p_values_are_uniform_whatever_the_ties() -> None:
    test = ConformalTest(np.array([30, 10, 60]), np.random.default_rng(0))
    rng = np.random.default_rng(1)
    p = np.array([test.see(bin) for bin in rng.choice(3, 4000, p=[0.3, 0.1, 0.6]).tolist()])
    counts = np.histogram(p, 10, (0, 1))[0]
    assert ((counts - 400) ** 2 / 400).sum() < 27.9, "chi squared, 9 degrees: once in 1000"


def test_the_capital_does_not_overflow() -> None:
    game = Martingale()
    for _ in range(2_000):
        game.bet(0.999)
    assert np.isfinite(game.capital) and game.capital > 1e90
    with pytest.raises(ValueError, match="between 0 and 1"):
        level(0.0, 1)
