"""Let every layer learn from the mean of the exits above it."""

from torch import Tensor

from sledgehammer.network.runner import GradientFlow
from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses


@ExitObjective.register("gradient_equilibrium")
class GradientEquilibriumObjective(ExitObjective):
    """Minimise `sum_i L_i`, but give each layer the mean gradient of the exits above it (Li et al.,
    "Improved Techniques for Training Adaptive Deep Networks", ICCV 2019, arXiv 1908.06294,
    section 3.1).

    With the sum, the lowest layers would get as many gradients as there are exits, the highest only
    one. The weights of the exits themselves get all of their gradients. A pooler that all exits
    share (pooling `first`) gets the gradients of every layer's states.
    """

    gradients = GradientFlow.EQUILIBRIUM

    def loss(self, batch: ExitBatch) -> Tensor:
        return exit_losses(batch).sum()
