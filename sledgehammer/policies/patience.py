"""Stop when exits agree."""

from typing import List

import numpy as np
from numpy import ndarray

from sledgehammer.policies.base import ExitPolicy
from sledgehammer.policies.evidence import Evidence
from sledgehammer.policies.settings import RowSettings, SettingRange


@ExitPolicy.register("patience")
class PatiencePolicy(ExitPolicy):
    """Stop when `patience` exits in a row have each agreed with the exit before.

    A row's counter is 0 at the first exit. At each later exit it grows by one if the most probable
    label is that of the exit before, otherwise it goes back to 0. The row stops where the counter
    reaches `patience`: with 2, at the third exit at the earliest, if all three agree. A lexical
    exit counts like any other.

    Source: Zhou et al., "BERT Loses Patience: Fast and Robust Inference with Early Exit",
    NeurIPS 2020, for classification. The rule is theirs; their code takes a patience of 0 for
    "off", here it always takes the first exit.

    # Parameters

    patience : `int`, optional (default = `2`)
        At least 0. 0 always takes the first exit; the number of exits, or more, always runs to the
        last exit.
    """

    settings = {"patience": SettingRange(default=2, full=np.inf, high=np.inf, whole=True)}
    sweeps = "patience"
    patience: int

    @property
    def full(self) -> float:
        return len(self.layers)

    def stops(self, evidence: Evidence, settings: RowSettings) -> ndarray:
        return agreeing(evidence.probs.argmax(axis=-1)) >= settings["patience"]

    def grid(self, labels: int) -> List[float]:
        return [*range(len(self.layers) - 1), self.full]


def agreeing(predicted: ndarray) -> ndarray:
    """Return how many exits, up to the last, agree with the one before.

    (rows, exits) -> (rows,)
    """
    same = predicted[:, :0:-1] == predicted[:, -2::-1]  # the last pair first
    return np.logical_and.accumulate(same, axis=1).sum(axis=1)
