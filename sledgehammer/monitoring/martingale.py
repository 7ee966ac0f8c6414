"""Bet against "nothing has changed", and raise an alarm when the bets have won too much.

The test. Texts come one after another. Each gets a score, such as the confidence of the first exit,
and its *conformal p-value*: the share of the scores so far, those of the reference among them, that
are above its own (a tie counts at random). As long as the texts are exchangeable with the reference,
the p-values are independent and uniform, *whatever* the distribution of the scores and however few
rows the reference has (Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005). A
gambler who multiplies a capital of 1 by a bet on each p-value then has no edge: with probability
1 - alpha the capital never reaches 1 / alpha, however long the stream runs (Ville's inequality). So
an alarm at 1 / alpha has a false-alarm rate of at most alpha over the whole life of the server, and
one may look at it after every text.

Why a betting martingale and not a test on windows: those are valid at one moment, or pay for each look.

Why these bets: the *jumper* (Vovk et al., "Retrain or not retrain: conformal test martingales for
change-point detection", COPA 2021) divides its capital among simple bets (p-values lie low, or high,
or in the middle, or at the ends) and lets a little of it move between them with every text, so that it
is ready for a change that comes late. How much moves is not known beforehand, so capital is divided
among several shares too; a mean of martingales is one.
"""

import math

import numpy as np
from numpy import ndarray

TILTS = (-1.8, -0.9, 0.9, 1.8)
"""Bets that p-values lie low or high: 1 + tilt * (p - 1/2)."""

BENDS = (-0.9, 0.9, 1.8)
"""Bets that they lie in the middle or at the ends: 1 + bend * (6 (p - 1/2)^2 - 1/2)."""

JUMPS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Shares of the capital that move to other bets with every text."""

HIGHEST = 1e100
"""Where the capital stops growing: an alarm was raised long before."""


_BETS = len(TILTS) + len(BENDS) + 1
_TILT = np.array([0.0, *TILTS, *[0.0] * len(BENDS)])
_BEND = np.array([0.0, *[0.0] * len(TILTS), *BENDS])
_MOVE = np.array(JUMPS)[:, None]


def starting_capital() -> ndarray:
    """Return a capital of 1, divided among bets: (shares that move, bets)."""
    return np.full((len(JUMPS), _BETS), 1 / (len(JUMPS) * _BETS))


def after_bet(capital: ndarray, p: "float | ndarray") -> ndarray:
    """Return what a capital becomes when a p-value is seen.

    # Parameters

    capital : `ndarray`
        Shape (..., shares that move, bets).
    p : `ndarray`
        In [0, 1]; a number, or of shape (..., 1, 1).
    """
    centred = p - 0.5
    factors = 1 + _TILT * centred + _BEND * (6 * centred * centred - 0.5)
    means = capital.sum(axis=-1, keepdims=True) / _BETS
    return ((1 - _MOVE) * capital + _MOVE * means) * factors


class Martingale:
    """Bet on p-values that are uniform as long as nothing has changed."""

    def __init__(self) -> None:
        self._capital = starting_capital()
        self.capital = self.highest = 1.0

    def bet(self, p: float) -> None:
        """Bet on a p-value in [0, 1]; `capital` is what is left, `highest` the most there was."""
        self._capital = after_bet(self._capital, p)
        self.capital = float(self._capital.sum())
        if self.capital > HIGHEST:
            self._capital *= HIGHEST / self.capital
            self.capital = HIGHEST
        self.highest = max(self.highest, self.capital)


class ConformalTest:
    """Test whether scores are exchangeable with those of a reference.

    It keeps counts only, and so needs the same memory however long it runs. Scores of one bin are
    ties, which are broken at random: that loses some power, but no validity.

    # Parameters

    counts : `ndarray`
        Shape (bins,): how many scores of the reference lie in each bin.
    rng : `np.random.Generator`
        Breaks ties.
    """

    def __init__(self, counts: ndarray, rng: np.random.Generator) -> None:
        self._counts = np.asarray(counts, np.int64).copy()
        self._total = int(self._counts.sum())
        self._rng = rng
        self._martingale = Martingale()
        self.seen = 0

    @property
    def capital(self) -> float:
        """Return what a capital of 1 has become."""
        return self._martingale.capital

    @property
    def highest(self) -> float:
        """Return the most that the capital has been."""
        return self._martingale.highest

    def see(self, bin: int) -> float:
        """Take the bin of the next score, and return its p-value."""
        self._counts[bin] += 1
        self._total += 1
        self.seen += 1
        above = int(self._counts[bin + 1 :].sum())
        p = (above + self._rng.random() * int(self._counts[bin])) / self._total
        self._martingale.bet(p)
        return p


def level(alpha: float, tests: int) -> float:
    """Return the capital at which one of several tests raises an alarm.

    Each may err with probability alpha / tests, so all together with at most alpha.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    return tests / alpha


def log10(capital: float) -> float:
    """Return the logarithm of a capital, for metrics."""
    return math.log10(max(capital, 1e-300))
