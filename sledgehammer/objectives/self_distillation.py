"""Let the last exit teach the others."""

from torch import Tensor

from sledgehammer.objectives.base import ExitBatch, ExitObjective, divergence
from sledgehammer.objectives.staged import StagedObjective


@ExitObjective.register("self_distillation")
class SelfDistillationObjective(StagedObjective):
    """Fine-tune backbone and last exit, then freeze both and teach the other exits what it says.

    First `L_n`, then `sum_{i<n} KL(p_i || p_n)` (Liu et al., "FastBERT", ACL 2020, sections 3.2.2
    and 3.2.3). The second stage needs no labels: rows without one (reader
    `sledgehammer_unlabelled`) take part in it, and in nothing else. The original's exits each have
    a layer of attention; ours are light.
    """

    def second_loss(self, batch: ExitBatch) -> Tensor:
        exits = batch.logits[:, :-1]
        teacher = batch.logits[:, -1:].detach().expand_as(exits)
        return divergence(exits, teacher).mean(dim=0).sum()
