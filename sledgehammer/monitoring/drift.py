"""Tell whether the texts of a model in use have changed, without labels."""

from typing import Dict

import numpy as np

from sledgehammer.monitoring.martingale import ConformalTest, level
from sledgehammer.monitoring.reference import Reference, confidence_bin, length_bin

ALPHA = 0.05
"""The probability of a false alarm, over the whole life of a monitor."""


STATISTICS = ("confidence", "label", "length")
"""What is tested, of each text."""


class DriftMonitor:
    """Test the confidence and the label of the first exit, and the length, of each text.

    The alarm stays on once it was raised. With probability 1 - `alpha` it is never raised as long as
    texts are exchangeable with those of the reference; texts that come in an order, such as all of one
    customer and then all of another, are not.

    # Parameters

    reference : `Reference`
    alpha : `float`, optional
    seed : `int`, optional
        Seed of the random numbers that break ties.
    """

    def __init__(self, reference: Reference, alpha: float = ALPHA, seed: int = 0) -> None:
        histograms = (reference.confidence, reference.labels, reference.lengths)
        counts = dict(zip(STATISTICS, histograms))
        rng = np.random.default_rng(seed)
        self._tests = {name: ConformalTest(np.array(c), rng) for name, c in counts.items()}
        self.level = level(alpha, len(self._tests))
        self.seen = 0
        self.raised: Dict[str, int] = {}

    def see(self, confidence: float, label: int, length: int) -> None:
        """Take what the first exit says about the next text, and its length in word pieces."""
        self.seen += 1
        bins = {
            "confidence": confidence_bin(confidence),
            "label": label,
            "length": length_bin(length),
        }
        for name, test in self._tests.items():
            test.see(bins[name])
            if name not in self.raised and test.highest >= self.level:
                self.raised[name] = self.seen

    def capital(self) -> Dict[str, float]:
        """Return the capital of each test; an alarm is raised at `level`."""
        return {name: test.capital for name, test in self._tests.items()}

    def report(self) -> str:
        """Return a sentence about what was found."""
        if not self.raised:
            highest = max(test.highest for test in self._tests.values())
            return (
                f"no change noticed in {self.seen} texts (evidence {highest:.3g}, of {self.level:g} "
                "for an alarm)"
            )
        found = ", ".join(f"{name} (at text {at})" for name, at in sorted(self.raised.items()))
        return f"the texts have changed: {found}; of {self.seen} texts"
