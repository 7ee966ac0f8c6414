"""Stop when an exit's distribution is narrow, on a scale that does not depend on the labels."""

import math
from typing import List

import numpy as np
from numpy import ndarray

from sledgehammer.policies.base import ExitPolicy
from sledgehammer.policies.entropy import nats
from sledgehammer.policies.evidence import Evidence
from sledgehammer.policies.grids import between, unit_grid
from sledgehammer.policies.settings import RowSettings, SettingRange


@ExitPolicy.register("normalized_entropy")
class NormalizedEntropyPolicy(ExitPolicy):
    """Stop at the first exit whose uncertainty is at most the `speed` that the user asks for.

    `-sum_k p_k ln p_k / ln(labels) <= speed`, with the probabilities p of one exit, (labels,).

    Source: Liu et al., "FastBERT: a Self-distilling BERT with Adaptive Inference Time", ACL 2020,
    sections 3.3 and 4. There the uncertainty must be below the speed; here it may equal it, so
    that 1.0 takes the first exit even for a uniform distribution, and 0.0 is the full model by
    definition. The probabilities are calibrated, which FastBERT's are not.

    # Parameters

    speed : `float`, optional (default = `0.5`)
        In [0, 1]. 0.0 always runs to the last exit; 1.0 always takes the first exit.
    """

    settings = {"speed": SettingRange(default=0.5, full=0.0, fastest=1.0)}
    sweeps = "speed"
    speed: float

    def stops(self, evidence: Evidence, settings: RowSettings) -> ndarray:
        return uncertainty(evidence.last) <= settings["speed"]

    def grid(self, labels: int) -> List[float]:
        return [round(1 - threshold, 6) for threshold in unit_grid()]

    def distinct(self, evidence: Evidence) -> List[float]:
        return between(1.0, uncertainty(evidence.probs[:, :-1]).ravel(), 0.0)


def uncertainty(probs: ndarray) -> ndarray:
    """Return the entropy as a share of the largest possible, in [0, 1]: (..., labels) -> (...)."""
    labels = probs.shape[-1]
    if labels == 1:
        return np.zeros(probs.shape[:-1], probs.dtype)
    return np.minimum(nats(probs) / math.log(labels), 1.0)
