"""Choose the exit before the run."""

from typing import List, Mapping, Optional

import numpy as np
from numpy import ndarray

from sledgehammer.policies.base import ExitPolicy
from sledgehammer.policies.evidence import Evidence
from sledgehammer.policies.grids import between, unit_grid
from sledgehammer.policies.settings import RowSettings, SettingRange


@ExitPolicy.register("predicted_depth")
class PredictedDepthPolicy(ExitPolicy):
    """Stop at the exit that is predicted, from the embeddings alone, to be deep enough.

    That is the first exit i with `sum_{j <= i} q_j >= coverage`: q, (exits,), is the signal
    `depth`, a distribution over the exits. A classifier on the mean of the embedding layer's output
    predicts it, and was trained on the depth that texts turned out to need. The exits below it are
    not computed (in exported models they are, as parts of the graphs, and are ignored).

    A lexical exit has no share in the distribution: rows stop there only with a coverage of 0.0, or
    by the cap.

    Sources: Elbayad et al., "Depth-Adaptive Transformer", ICLR 2020, section 3.1 (multinomial:
    the depth of a sequence from its first states, trained on oracle depths); Dabre et al.,
    "Balancing Cost and Benefit with Tied-Multi Transformers", 2020; Liu et al., "Explicitly
    Modeling Adaptive Depths for Transformer", 2020. These choose depths of an encoder or decoder
    in translation; here the exit that classifies a text. They take the most probable depth; the
    coverage turns that into a whole curve: too shallow costs accuracy, too deep only time.

    # Parameters

    coverage : `float`, optional (default = `0.5`)
        In [0, 1]: how probable it must be that the exit is deep enough. 0.0 always takes the first
        exit; 1.0 always runs to the last exit, even where a sum rounds to 1.0.
    """

    settings = {"coverage": SettingRange(default=0.5)}
    sweeps = "coverage"
    needs = ("depth",)
    coverage: float

    def stops(self, evidence: Evidence, settings: RowSettings) -> ndarray:
        position = evidence.seen - 1
        return _covered(evidence.signals["depth"])[:, position] >= settings["coverage"]

    def plan(
        self, rows: int, signals: Mapping[str, ndarray], settings: RowSettings
    ) -> Optional[ndarray]:
        covered = _covered(signals["depth"])
        enough = covered >= np.asarray(settings["coverage"])[..., None]
        # The last exit answers what nothing else does.
        enough = enough & np.logical_not(np.asarray(self.never(settings))[..., None])
        enough[:, -1] = True
        return np.minimum(enough.argmax(axis=1), self.highest(settings))

    def grid(self, labels: int) -> List[float]:
        return unit_grid()

    def distinct(self, evidence: Evidence) -> List[float]:
        return between(0.0, _covered(evidence.signals["depth"])[:, :-1].ravel(), 1.0)


def _covered(depth: ndarray) -> ndarray:
    return np.cumsum(depth, axis=1, dtype=depth.dtype)
