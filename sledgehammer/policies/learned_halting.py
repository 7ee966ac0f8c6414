"""Stop when a trained judge of the exits says so."""

from typing import List

from numpy import ndarray

from sledgehammer.policies.base import ExitPolicy
from sledgehammer.policies.evidence import Evidence
from sledgehammer.policies.grids import between, unit_grid
from sledgehammer.policies.settings import RowSettings, SettingRange


@ExitPolicy.register("learned_halting")
class LearnedHaltingPolicy(ExitPolicy):
    """Stop at the first exit whose answer is predicted to be right with enough certainty.

    `u_i >= threshold`, where `u_i = sigmoid(w_i h_i + b_i)` is the signal `certainty`, computed
    from the exit's mixed state h: one number a row and exit, trained beside the exits to tell their
    right answers from their wrong ones.

    Sources: Xin et al., "BERxiT: Early Exiting for BERT with Better Fine-Tuning and Extension to
    Regression", EACL 2021 (learning to exit); Elbayad et al., "Depth-Adaptive
    Transformer", ICLR 2020, section 3.2 (geometric-like halting). BERxiT shares one head among
    all layers; here each exit has its own. Elbayad et al. decide for each token of an output
    sequence and multiply the chances of not halting into a distribution over depths; here each
    exit makes one decision about the whole text, by a threshold on its own number.

    # Parameters

    threshold : `float`, optional (default = `0.9`)
        In [0, 1]. 0.0 always takes the first exit; 1.0 always runs to the last exit.
    """

    settings = {"threshold": SettingRange(default=0.9)}
    sweeps = "threshold"
    needs = ("certainty",)
    threshold: float

    def stops(self, evidence: Evidence, settings: RowSettings) -> ndarray:
        return evidence.signals["certainty"][:, -1] >= settings["threshold"]

    def grid(self, labels: int) -> List[float]:
        return unit_grid()

    def distinct(self, evidence: Evidence) -> List[float]:
        return between(0.0, evidence.signals["certainty"][:, :-1].ravel(), 1.0)
