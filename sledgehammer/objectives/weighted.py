"""Deeper exits count more."""

from torch import Tensor

from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses


@ExitObjective.register("weighted")
class WeightedObjective(ExitObjective):
    """`sum_i d_i L_i / sum_i d_i`, d_i the layers run at exit i (Zhou et al., "BERT Loses Patience",
    NeurIPS 2020, section 3.3).

    There each layer has an exit, so that d_i is the exit's number; where only some layers have one,
    the depth is what their weights stand for: the share of the compute that an exit has seen.
    """

    def loss(self, batch: ExitBatch) -> Tensor:
        losses = exit_losses(batch)
        depth = losses.new_tensor(batch.exit_layers) + 1
        return (depth * losses).sum() / depth.sum()
