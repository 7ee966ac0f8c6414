"""Keep exits from pulling at the same weights."""

from torch import Tensor

from sledgehammer.network.runner import GradientFlow
from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses


@ExitObjective.register("sweet")
class SweetObjective(ExitObjective):
    """Minimise `sum_i L_i`, but let a layer learn only from the next exit above it (Rotem et al.,
    "Finding the SWEET Spot", ACL 2023, section 4).

    The gradient of each exit's loss is cut at the exit below, so that no gradients conflict. It is
    cut in the exit's mix too, whose weights for the lower layers still learn. A pooler that all
    exits share (pooling `first`) learns from all of them.
    """

    gradients = GradientFlow.BETWEEN_EXITS

    def loss(self, batch: ExitBatch) -> Tensor:
        return exit_losses(batch).sum()
