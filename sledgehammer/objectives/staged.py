"""Train the backbone first, and then the exits: the base of objectives with two stages."""

import math
from typing import List, Optional

from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.network.runner import GradientFlow
from sledgehammer.objectives.base import ExitBatch, ExitObjective, exit_losses


class StagedObjective(ExitObjective):
    """Fine-tune the backbone with the last exit, and then train the other exits.

    In the second stage backbone and last exit are frozen, unless a subclass says otherwise.

    In a run of 4 epochs with a `first_stage` of 0.5, the first two epochs are the first stage. It
    ends sooner if validation has not improved for the trainer's `patience`. For distributed
    training set `find_unused_parameters: true`: each stage leaves weights without a gradient.

    # Parameters

    first_stage : `float`, optional (default = `0.5`)
        The first stage's share of the epochs, in (0, 1). At least one epoch must be left for the
        second stage.

    # Raises

    `ConfigurationError` for another value; when a run begins, if it has no epoch for the second
    stage; in training, for a model with one exit, or if `sledgehammer_objective` is not among the
    trainer's callbacks.
    """

    later_gradients = GradientFlow.LOWER_EXITS
    """How far down the loss of an exit reaches in the second stage."""

    def __init__(self, first_stage: float = 0.5) -> None:
        if not 0 < first_stage < 1:
            raise ConfigurationError(f"first_stage must be between 0 and 1, got {first_stage}")
        self.first_stage = first_stage
        self._progress: Optional[float] = None
        self._stage = 0

    def check_epochs(self, epochs: int) -> None:
        latest = (epochs - 1) / epochs  # the progress with which the last epoch begins
        if latest >= self.first_stage:
            return
        problem = (
            f"with first_stage {self.first_stage:g} no epoch of {epochs} is in the second stage, in "
            "which the lower exits learn: train for more epochs"
        )
        # Rounded down, so that the value that we suggest is small enough.
        largest = math.floor(latest * 100) / 100
        raise ConfigurationError(
            f"{problem}, or give a first_stage of at most {largest:g}" if largest else problem
        )

    def stage_epochs(self, epochs: int) -> List[int]:
        # The same comparison as in `begin_epoch`, so that rounding makes no difference.
        first = sum(done / epochs < self.first_stage for done in range(epochs))
        return [first, epochs - first]

    def begin_epoch(self, progress: float) -> None:
        self._progress = progress
        self._set_stage(1 if progress >= self.first_stage else 0)

    def learning(self, exits: int) -> range:
        if not self.stage:
            return range(exits - 1, exits)
        return range(exits - (self.later_gradients is GradientFlow.LOWER_EXITS))

    @property
    def stage(self) -> int:
        return self._stage

    def end_stage(self) -> bool:
        if self.stage:
            return False
        self._set_stage(1)
        return True

    def _set_stage(self, stage: int) -> None:
        self._stage = stage
        self.gradients = self.later_gradients if stage else GradientFlow.ALL

    def loss(self, batch: ExitBatch) -> Tensor:
        if batch.training:
            self._check(batch)
        return self.second_loss(batch) if self.stage else exit_losses(batch)[-1]

    def loss_over_all_exits(self, batch: ExitBatch) -> Tensor:
        last = exit_losses(batch)[-1]
        return last + self.second_loss(batch) if batch.logits.size(1) > 1 else last

    def _check(self, batch: ExitBatch) -> None:
        if self._progress is None:
            raise ConfigurationError(
                "an objective with stages must be told how far training is: add "
                "'sledgehammer_objective' to trainer.callbacks"
            )
        if batch.logits.size(1) == 1:
            raise ConfigurationError("an objective with stages needs a second exit to train")

    def second_loss(self, batch: ExitBatch) -> Tensor:
        """Return the loss of the second stage, without gradients for what is then frozen."""
        raise NotImplementedError
