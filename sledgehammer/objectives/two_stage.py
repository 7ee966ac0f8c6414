"""Train the backbone first, then the exits on the frozen backbone."""

from torch import Tensor

from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses
from sledgehammer.objectives.staged import StagedObjective


@ExitObjective.register("two_stage")
class TwoStageObjective(StagedObjective):
    """Fine-tune backbone and last exit, then freeze both and train the other exits on the labels.

    First `L_n`, then `sum_{i<n} L_i` (Xin et al., "DeeBERT", ACL 2020, section 3.2). The full model
    is as good as the standard baseline by construction; the lower exits have to live with states
    that were not made for them. A learning rate that `sledgehammer_slanted_triangular` schedules
    starts anew in the second stage, as the original's does.
    """

    def second_loss(self, batch: ExitBatch) -> Tensor:
        return exit_losses(batch)[:-1].sum()
