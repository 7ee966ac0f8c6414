"""Train all exits at once."""

from torch import Tensor

from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses


@ExitObjective.register("joint")
class JointObjective(ExitObjective):
    """Minimise `sum_i L_i`, L_i the cross-entropy of exit i (Schwartz et al. 2020, section 3.3)."""

    def loss(self, batch: ExitBatch) -> Tensor:
        return exit_losses(batch).sum()
