"""Train the backbone first, then everything."""

from torch import Tensor

from sledgehammer.network.runner import GradientFlow
from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses
from sledgehammer.objectives.staged import StagedObjective


@ExitObjective.register("mixed")
class MixedObjective(StagedObjective):
    """Fine-tune the backbone with the last exit, then go on with all exits and freeze nothing.

    First `L_n`, then `sum_i L_i` (Kubaty et al., "How to Train Your Multi-Exit Model?",
    arXiv 2407.14320). The lower exits begin on a backbone that has learned the task, and may still
    change it. A learning rate that `sledgehammer_slanted_triangular` schedules starts anew in the
    second stage.
    """

    later_gradients = GradientFlow.ALL

    def second_loss(self, batch: ExitBatch) -> Tensor:
        return exit_losses(batch).sum()

    def loss_over_all_exits(self, batch: ExitBatch) -> Tensor:
        return self.second_loss(batch)
