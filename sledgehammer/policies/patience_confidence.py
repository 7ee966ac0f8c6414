"""Stop when several exits in a row are sure."""

from typing import List

import numpy as np
from numpy import ndarray

from sledgehammer.policies.base import ExitPolicy
from sledgehammer.policies.evidence import Evidence
from sledgehammer.policies.grids import between, confidence, unit_grid
from sledgehammer.policies.settings import RowSettings, SettingRange


@ExitPolicy.register("patience_confidence")
class PatienceConfidencePolicy(ExitPolicy):
    """Stop when `patience` exits in a row are confident, even if they answer differently.

    A row's counter grows by one at an exit with `max_k p_k >= threshold`, p being its
    probabilities, (labels,), and goes back to 0 at any other. The row stops where the counter
    reaches `patience`: with 2, at the second exit at the earliest.

    Source: Zhang et al., "PCEE-BERT: Accelerating BERT Inference via Patient and Confident Early
    Exiting", Findings of NAACL 2022. There an exit is confident if its entropy is small; here, if
    its calibrated confidence reaches the threshold, as in the policy `confidence`, which this one
    equals at `patience` 1.

    # Parameters

    threshold : `float`, optional (default = `0.9`)
        In [0, 1]. 0.0 always takes the first exit at which the patience can be reached; 1.0
        always runs to the last exit.
    patience : `int`, optional (default = `2`)
        At least 1.
    """

    settings = {
        "threshold": SettingRange(default=0.9),
        "patience": SettingRange(default=2, low=1, high=np.inf, whole=True),
    }
    sweeps = "threshold"
    threshold: float
    patience: int

    def stops(self, evidence: Evidence, settings: RowSettings) -> ndarray:
        threshold = np.asarray(settings["threshold"])[..., None]
        confident = confidence(evidence.probs) >= threshold  # (rows, exits so far)
        counter = np.logical_and.accumulate(confident[:, ::-1], axis=1).sum(axis=1)
        return counter >= settings["patience"]

    def grid(self, labels: int) -> List[float]:
        return unit_grid(above=1 / labels)

    def distinct(self, evidence: Evidence) -> List[float]:
        return between(0.0, confidence(evidence.probs[:, :-1]).ravel(), 1.0)
