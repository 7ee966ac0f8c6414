"""First the backbone, then the exits."""

from torch import Tensor

from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses
from sledgehammer.objectives.staged import StagedObjective


@ExitObjective.register("two_stage")
class TwoStageObjective(StagedObjective):
    """Fine-tune backbone and last exit, then freeze both and train the others on the labels: first
    `L_n`, then `sum_{i<n} L_i` (Xin et al., "DeeBERT", ACL 2020, section 3.2).

    The full model is as good as the standard baseline by construction; the lower exits have to live
    with states that were not made for them. The schedule of the learning rate starts anew in the
    second stage, as the original's does, if it is `sledgehammer_slanted_triangular`.
    """

    def second_loss(self, batch: ExitBatch) -> Tensor:
        return exit_losses(batch)[:-1].sum()
