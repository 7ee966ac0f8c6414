"""Joint steps and steps of the last exit, in turn."""

from torch import Tensor

from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses


@ExitObjective.register("alternating")
class AlternatingObjective(ExitObjective):
    """`L_n` in the first, third, ... batch, `sum_i L_i` in the others (Xin et al., "BERxiT", EACL
    2021, section 3.1).

    So the last exit is not sacrificed to the lower ones. In validation the loss is that of `joint`.
    Which kind of step is next is not remembered when a run is recovered. For distributed
    training set `find_unused_parameters: true`.
    """

    def __init__(self) -> None:
        self._joint = True

    def loss(self, batch: ExitBatch) -> Tensor:
        losses = exit_losses(batch)
        if not batch.training:
            return losses.sum()
        self._joint = not self._joint
        return losses.sum() if self._joint else losses[-1]
