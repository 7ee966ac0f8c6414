"""Let deeper exits count more."""

from torch import Tensor

from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses


@ExitObjective.register("weighted")
class WeightedObjective(ExitObjective):
    """Minimise `sum_i d_i L_i / sum_i d_i`, d_i the layers run at exit i (Zhou et al., "BERT Loses
    Patience", NeurIPS 2020, section 3.3).

    In the original every layer has an exit, and d_i is the exit's number. Where only some layers
    have one, depth keeps that number's meaning: the share of the compute that an exit has used.
    """

    def loss(self, batch: ExitBatch) -> Tensor:
        losses = exit_losses(batch)
        depth = losses.new_tensor(batch.exit_layers) + 1
        return (depth * losses).sum() / depth.sum()
