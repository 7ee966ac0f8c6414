"""Remember how fast a model runs, to tell what a text or a queue will take."""

from typing import List

SMOOTHING = 0.1
"""How much the newest measurement counts."""


class Estimates:
    """Estimate times from those measured, exponentially smoothed; 0 until there are any.

    # Parameters

    exits : `int`
    """

    def __init__(self, exits: int) -> None:
        self._per_token: List[float] = [0.0] * exits
        self._seconds, self._answers = 0.0, 0.0

    def saw_segment(self, position: int, tokens: int, seconds: float) -> None:
        """Note how long the segment of an exit took for so many word pieces, padding included."""
        self._per_token[position] = _smoothed(self._per_token[position], seconds / max(tokens, 1))

    def saw_answers(self, answers: int, seconds: float) -> None:
        """Note how many texts a worker answered in some seconds."""
        self._seconds += seconds - SMOOTHING * self._seconds
        self._answers += answers - SMOOTHING * self._answers

    def segment(self, position: int, tokens: int) -> float:
        """Return the seconds that a segment will take."""
        return self._per_token[position] * tokens

    def whole(self, tokens: int) -> float:
        """Return the seconds that a text takes that runs through all exits."""
        return sum(self._per_token) * tokens

    def queue(self, texts: int) -> float:
        """Return the seconds that one worker takes for so many texts."""
        return texts * self._seconds / self._answers if self._answers else 0.0


def _smoothed(old: float, new: float) -> float:
    return new if not old else old + SMOOTHING * (new - old)
