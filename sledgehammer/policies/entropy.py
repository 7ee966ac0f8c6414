"""Stop when an exit's distribution is narrow."""

import math
from typing import List

import numpy as np
from numpy import ndarray

from sledgehammer.policies.base import ExitPolicy
from sledgehammer.policies.evidence import Evidence
from sledgehammer.policies.grids import between
from sledgehammer.policies.settings import RowSettings, SettingRange


@ExitPolicy.register("entropy")
class EntropyPolicy(ExitPolicy):
    """Stop at the first exit whose entropy is below a threshold.

    `-sum_k p_k ln p_k < entropy`, with the probabilities p of one exit, (labels,).

    Source: Xin et al., "DeeBERT: Dynamic Early Exiting for Accelerating BERT Inference", ACL
    2020. There the probabilities are used as trained; here they are calibrated, as for every
    policy, so that one threshold means the same at all exits.

    # Parameters

    entropy : `float`, optional (default = `0.3`)
        In nats, at least 0. 0.0 always runs to the last exit; a value above the logarithm of the
        number of labels always takes the first exit.
    """

    settings = {"entropy": SettingRange(default=0.3, full=0.0, fastest=math.inf, high=math.inf)}
    sweeps = "entropy"
    entropy: float

    def stops(self, evidence: Evidence, settings: RowSettings) -> ndarray:
        return nats(evidence.last) < settings["entropy"]

    def grid(self, labels: int) -> List[float]:
        # The largest entropy there is may round to a little more.
        step = math.log(labels) / 100
        small = [step / parts for parts in (2, 5, 10, 100)]
        return [round(v, 6) for v in (*(step * i for i in range(101, 0, -1)), *small)] + [0.0]

    def distinct(self, evidence: Evidence) -> List[float]:
        entropies = nats(evidence.probs[:, :-1]).ravel()
        # Equal is not below: the next larger number is the first at which a row stops.
        return between(self.grid(evidence.probs.shape[2])[0], np.nextafter(entropies, np.inf), 0.0)


def nats(probs: ndarray) -> ndarray:
    """Return the entropy in nats: (..., labels) -> (...)."""
    # The smallest number stands in for 0, which has no logarithm; multiplied by 0 it vanishes.
    return -(probs * np.log(np.maximum(probs, np.finfo(probs.dtype).tiny))).sum(axis=-1)
