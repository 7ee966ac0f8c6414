"""Stop when an exit is sure."""

from typing import List

from sledgehammer.policies.base import ExitPolicy
from sledgehammer.policies.evidence import Evidence
from sledgehammer.policies.grids import between, confidence, unit_grid
from sledgehammer.policies.settings import Decision, Setting, Settings


@ExitPolicy.register("confidence")
class ConfidencePolicy(ExitPolicy):
    """Stop at the first exit whose confidence reaches a threshold.

    `max_k p_k >= threshold`, with the calibrated probabilities p of one exit, (labels,).

    Source: Schwartz et al., "The Right Tool for the Job", ACL 2020, section 3.2.

    # Parameters

    threshold : `float`, optional (default = `0.9`)
        In [0, 1]. 0.0 always takes the first exit; 1.0 always runs to the last exit, even where
        a confidence rounds to 1.0.
    """

    settings = {"threshold": Setting(default=0.9)}
    sweeps = "threshold"
    threshold: float

    def stops(self, evidence: Evidence, settings: Settings) -> Decision:
        return evidence.confidence >= settings["threshold"]

    def grid(self, labels: int) -> List[float]:
        return unit_grid(above=1 / labels)  # no confidence is below

    def distinct(self, evidence: Evidence) -> List[float]:
        return between(0.0, confidence(evidence.probs[:, :-1]).ravel(), 1.0)
