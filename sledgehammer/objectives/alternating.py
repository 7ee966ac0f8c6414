"""Train the last exit alone and all exits together, in turn."""

from typing import Optional

from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses


@ExitObjective.register("alternating")
class AlternatingObjective(ExitObjective):
    """Minimise `L_n` in the first, third, ... step of the optimizer, and `sum_i L_i` in the others
    (Xin et al., "BERxiT", EACL 2021, section 3.1).

    This keeps the last exit from being sacrificed to the lower ones. All batches of a step have the
    same loss, even where gradients are accumulated over several batches. In validation the loss is
    that of `joint`. For distributed training set `find_unused_parameters: true`.

    # Raises

    `ConfigurationError` in training, if `sledgehammer_objective` is not among the trainer's
    callbacks.
    """

    def __init__(self) -> None:
        self._step: Optional[int] = None

    def begin_step(self, number: int) -> None:
        self._step = number

    def loss(self, batch: ExitBatch) -> Tensor:
        losses = exit_losses(batch)
        if not batch.training:
            return losses.sum()
        if self._step is None:
            raise ConfigurationError(
                "the alternating objective must be told when a step of the optimizer begins: add "
                "'sledgehammer_objective' to trainer.callbacks"
            )
        return losses.sum() if self._step % 2 else losses[-1]
