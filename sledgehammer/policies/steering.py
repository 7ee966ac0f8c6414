"""Keep the mean cost of a stream of texts at a budget, however hard the texts are."""

from typing import List, NamedTuple, Optional, Sequence

import numpy as np
from numpy import ndarray

RECENT = 32
"""The last so many rows that reached an exit tell what share goes on at which threshold."""

PAYBACK = 32
"""A surplus or a debt is settled over so many rows. Over fewer, the threshold would jump from text
to text; over more, the stream could be away from its budget for longer."""

SLACK = 0.001
"""A balance of this share of what all rows may cost is settled twice as fast; a larger one, even
faster."""

SOON = 200
"""A stream counts as at least so many rows for `SLACK`. With fewer, short streams would end nearer to
their budget, but the threshold would jump more from text to text."""

REFRESH = 8
"""A threshold is used for so many rows at an exit before it is computed anew."""


class _Threshold(NamedTuple):
    """Hold a threshold on confidence at an exit."""

    confidence: float
    """Rows stop from this confidence on; infinite if all go on."""

    later: float
    """The expected mean cost of a row that goes on."""

    balance: float
    """The balance of the account when the threshold was computed."""

    rows: int
    """For how many rows it has been used."""

    def serves(self, rows: int, balance: float, most: float) -> bool:
        """Return whether so many more rows may use it; the balance may have moved by `most`."""
        return self.rows + rows <= REFRESH and abs(balance - self.balance) <= most


class Steering:
    """Choose which rows go on past an exit, so that a stream's rows cost the budget on average.

    It keeps an account. A row is booked at the budget when it begins, and booked anew at every exit
    it reaches: at the exit's cost if it stops there, otherwise at the mean cost to be expected of
    the rows that go on. That expectation follows from the confidences of the rows that reached each
    exit last, the current batch included. So rows on their way count, with what is known of them,
    and a batch of unusually hard texts shows at its first exit, where most of its cost can still be
    avoided.

    The threshold on confidence is the one at which the batch should cost what it is booked at, plus
    its part of the balance: `rows / PAYBACK` of it, at most all of it. Until enough rows have been
    seen, the shares of the calibration data stand in for them.

    # Parameters

    budget : `float`
        Mean cost of a row, above that of the first exit and below that of the last.
    cost : `Sequence[float]`
        What a row costs that stops at an exit: one figure an exit, not falling.
    shares : `ndarray`
        The shares of the calibration data, as `exit_shares` returns them.
    """

    def __init__(self, budget: float, cost: Sequence[float], shares: ndarray) -> None:
        self._budget = budget
        self._cost = [float(c) for c in cost]
        decisions = len(self._cost) - 1
        self._balance = 0.0
        self._rows = 0
        self._in_flight = [0] * decisions  # rows on their way to each exit but the last
        self._booked = [0.0] * decisions  # the sum at which those rows are booked
        self._passes = [_Passes(shares, position) for position in range(decisions)]
        self._thresholds: List[Optional[_Threshold]] = [None] * decisions

    def stops(self, position: int, confidence: ndarray, must_stop: ndarray) -> ndarray:
        """Return which rows stop at an exit, and book them.

        # Parameters

        position : `int`
            Position of the exit, which is not the last one.
        confidence : `ndarray`
            Shape (rows,): the largest probability of each row at this exit.
        must_stop : `ndarray`
            Shape (rows,), bool: rows that may go no further than this exit.
        """
        booked = self._arrive(position, len(confidence))
        capped = int(must_stop.sum())
        booked_free = booked - capped * self._cost[position]
        if capped == len(must_stop):
            self._balance += booked_free
            return must_stop
        self._passes[position].add(confidence[~must_stop])
        threshold = self._threshold(position, len(must_stop) - capped, booked_free)
        stopped = must_stop | (confidence >= threshold.confidence)
        tied = np.flatnonzero(~must_stop & (confidence == threshold.confidence))
        each = threshold.later - self._cost[position]
        if len(tied) and each > 0:
            # No threshold separates these rows: as many go on as the whole balance pays for.
            going = (booked + self._balance - self._cost_of(position, stopped, threshold)) / each
            going = min(max(round(going), 0), len(tied))
            stopped[tied[np.arange(going) * len(tied) // max(going, 1)]] = False
        self._balance += booked - self._cost_of(position, stopped, threshold)
        self._leave(position, int((~stopped).sum()), threshold)
        return stopped

    def _arrive(self, position: int, rows: int) -> float:
        """Take rows out of those on their way to an exit; return the sum they are booked at."""
        if position == 0:
            self._rows += rows
            return rows * self._budget
        booked = self._booked[position] * rows / self._in_flight[position]
        self._in_flight[position] -= rows
        self._booked[position] -= booked
        return booked

    def _leave(self, position: int, rows: int, threshold: _Threshold) -> None:
        self._thresholds[position] = threshold
        if position + 1 < len(self._passes):
            self._in_flight[position + 1] += rows
            self._booked[position + 1] += rows * threshold.later

    @property
    def _slack(self) -> float:
        """Return the balance at which it is settled twice as fast."""
        return SLACK * self._budget * max(self._rows, SOON)

    def _urgency(self) -> float:
        return 1.0 + (self._balance / self._slack) ** 2

    def _cost_of(self, position: int, stopped: ndarray, threshold: _Threshold) -> float:
        count = int(stopped.sum())
        return count * self._cost[position] + (len(stopped) - count) * threshold.later

    def _threshold(self, position: int, rows: int, booked: float) -> _Threshold:
        known = self._thresholds[position]
        if known is not None and known.serves(rows, self._balance, self._slack / 2):
            return known._replace(rows=known.rows + rows)
        target = booked / rows + self._balance * min(1.0 / rows, self._urgency() / PAYBACK)
        # The threshold is one for all exits, so it may lie between confidences of the later ones.
        candidates = np.sort(np.concatenate([p.candidates() for p in self._passes[position:]]))
        later = np.full(len(candidates), self._cost[-1])
        for exit in range(len(self._passes) - 1, position, -1):
            cost = self._cost[exit]
            later = cost + self._passes[exit].rate(candidates) * (later - cost)
        cost = self._cost[position]
        expected = cost + self._passes[position].rate(candidates) * (later - cost)
        # Rising but for the noise in what follows; the first candidate lets nothing go on.
        expected = np.maximum.accumulate(expected)
        best = max(0, int(np.searchsorted(expected, target, side="right")) - 1)
        return _Threshold(float(candidates[best]), float(later[best]), self._balance, rows)


class _Passes:
    """Estimate the share of the rows at an exit that pass it, by threshold.

    # Parameters

    shares : `ndarray`
        As `exit_shares` returns them.
    position : `int`
        Position of the exit.
    """

    def __init__(self, shares: ndarray, position: int) -> None:
        reach = shares[:, 1 + position :].sum(axis=1)
        go_on = shares[:, 2 + position :].sum(axis=1)
        rates = np.divide(go_on, reach, out=np.zeros(len(shares)), where=reach > 0)
        self._knots = shares[:, 0].astype(float)
        self._rates = np.maximum.accumulate(rates)
        self._recent = np.empty(0)
        self._ordered: Optional[ndarray] = self._recent

    def add(self, confidence: ndarray) -> None:
        """Take note of the confidences of rows that have reached the exit: (rows,)."""
        size = max(RECENT, len(confidence))
        self._recent = np.concatenate([self._recent, confidence])[-size:]
        self._ordered = None

    @property
    def ordered(self) -> ndarray:
        """Return the confidences of the last rows, in rising order."""
        if self._ordered is None:
            self._ordered = np.sort(self._recent)
        return self._ordered

    @property
    def _weight(self) -> int:
        """Return for how many rows the calibration data still stand in."""
        return max(0, RECENT - len(self._recent))

    def candidates(self) -> ndarray:
        """Return thresholds at which the share changes: from 0, where none pass, to infinity."""
        inner = [self._knots, self.ordered] if self._weight else [self.ordered]
        return np.concatenate([[0.0], *inner, [np.inf]])

    def rate(self, thresholds: ndarray) -> ndarray:
        """Return the share of rows that pass at each threshold: those that are less sure."""
        below = np.searchsorted(self.ordered, thresholds, side="left")
        weight = self._weight
        if not weight:
            return below / len(self.ordered)
        prior = np.interp(thresholds, self._knots, self._rates)
        prior[np.isinf(thresholds)] = 1.0
        return (weight * prior + below) / (weight + len(self.ordered))
