"""Train one exit at a time."""

import torch
from torch import Tensor

from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses


@ExitObjective.register("random_exit")
class RandomExitObjective(ExitObjective):
    """Train one exit, drawn anew for each batch, as the code of Schwartz et al. 2020 does.

    In validation the loss is that of `joint`. For distributed training set
    `find_unused_parameters: true` in the `ddp_accelerator`: layers above the drawn exit get no
    gradient.
    """

    def loss(self, batch: ExitBatch) -> Tensor:
        losses = exit_losses(batch)
        if not batch.training:
            return losses.sum()
        return losses[int(torch.randint(len(losses), ()))]
