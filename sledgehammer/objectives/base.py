"""What a training objective is, and the terms that several of them are made of."""

import math
from dataclasses import dataclass
from typing import List, Optional, Sequence

from allennlp.common import Registrable
from allennlp.common.checks import ConfigurationError
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from sledgehammer.network.encoder import TokenTensors
from sledgehammer.network.runner import GradientFlow

UNLABELLED = -1
"""The label index of a row whose label is not known."""


@dataclass
class ExitBatch:
    """What an objective learns from.

    # Parameters

    logits : `Tensor`
        Shape (rows, exits, labels), uncalibrated.
    label : `Tensor`
        Shape (rows,), long; `UNLABELLED` where there is none.
    tokens : `TokenTensors`
        The model's input, each tensor of shape (rows, tokens).
    exit_layers : `Sequence[int]`
        The layers with an exit, counted from 0.
    training : `bool`
        False in a validation pass, whose loss must not depend on chance.
    """

    logits: Tensor
    label: Tensor
    tokens: TokenTensors
    exit_layers: Sequence[int]
    training: bool


class ExitObjective(Registrable):
    """Turns the logits of all exits into one loss, and says which weights it reaches.

    An objective belongs to one training run. It may change from epoch to epoch or from batch to
    batch; the trainer callback `sledgehammer_objective` tells it how far the run is.
    """

    default_implementation = "joint"

    gradients = GradientFlow.ALL
    """How far the loss of an exit reaches down. The model asks before each training pass."""

    def loss(self, batch: ExitBatch) -> Tensor:
        """A scalar to minimise.

        # Raises

        `ConfigurationError` if the objective needs what the run does not give it.
        """
        raise NotImplementedError

    def loss_over_all_exits(self, batch: ExitBatch) -> Tensor:
        """Return the loss of a batch over all exits, whatever the objective trains at the moment."""
        return self.loss(batch)

    def check_epochs(self, epochs: int) -> None:
        """Raise a `ConfigurationError` if a run of so many epochs leaves an exit untrained."""

    def begin(self, labels: List[str], directory: str) -> None:
        """A training run begins.

        # Parameters

        labels : `List[str]`
            Their names, by index.
        directory : `str`
            Where the run writes; the transformer's tokenizer is there.

        # Raises

        `ConfigurationError` if the objective does not fit the model.
        """

    def begin_epoch(self, progress: float) -> None:
        """An epoch begins; `progress` is the share of all epochs that are done, in [0, 1)."""

    def begin_step(self, number: int) -> None:
        """An optimizer step begins, which may take several batches; the run's first is number 0."""

    @property
    def stage(self) -> int:
        """The stage that is being trained, counted from 0."""
        return 0

    def end_stage(self) -> bool:
        """End the stage ahead of its time, as validation no longer improves.

        # Returns

        Whether another stage begins; if not, nothing is changed.
        """
        return False


class LossOverAllExits(ExitObjective):
    """The loss of another objective over all exits, with gradients to all layers.

    # Parameters

    objective : `ExitObjective`
    """

    def __init__(self, objective: ExitObjective) -> None:
        self._objective = objective

    def loss(self, batch: ExitBatch) -> Tensor:
        return self._objective.loss_over_all_exits(batch)

    def begin(self, labels: List[str], directory: str) -> None:
        self._objective.begin(labels, directory)


class StagedObjective(ExitObjective):
    """Fine-tunes the backbone with the last exit; then freezes both and trains the other exits.

    In a run of 4 epochs and `first_stage` 0.5 the first two epochs are the first stage. It ends
    sooner if validation has not improved for the trainer's `patience`. For distributed training set
    `find_unused_parameters: true`: each stage leaves weights without a gradient.

    # Parameters

    first_stage : `float`, optional (default = `0.5`)
        The share of the epochs, in (0, 1). At least one epoch must be left for the second stage.

    # Raises

    `ConfigurationError` for another value; in training, for a model with one exit, and without
    `sledgehammer_objective` among the trainer's callbacks; when a run begins, if no epoch of it is
    in the second stage.
    """

    def __init__(self, first_stage: float = 0.5) -> None:
        if not 0 < first_stage < 1:
            raise ConfigurationError(f"first_stage must be between 0 and 1, got {first_stage}")
        self.first_stage = first_stage
        self._progress: Optional[float] = None

    def check_epochs(self, epochs: int) -> None:
        latest = (epochs - 1) / epochs  # the progress with which the last epoch begins
        if latest >= self.first_stage:
            return
        problem = (
            f"with first_stage {self.first_stage:g} no epoch of {epochs} is in the second stage, in "
            "which the lower exits learn: train for more epochs"
        )
        # Rounded down, so that the value, when given, is small enough.
        largest = math.floor(latest * 100) / 100
        raise ConfigurationError(
            f"{problem}, or give a first_stage of at most {largest:g}" if largest else problem
        )

    def begin_epoch(self, progress: float) -> None:
        self._progress = progress
        self._set_stage(1 if progress >= self.first_stage else 0)

    @property
    def stage(self) -> int:
        return 1 if self.gradients is GradientFlow.LOWER_EXITS else 0

    def end_stage(self) -> bool:
        if self.stage:
            return False
        self._set_stage(1)
        return True

    def _set_stage(self, stage: int) -> None:
        self.gradients = GradientFlow.LOWER_EXITS if stage else GradientFlow.ALL

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
        """The loss of the second stage, in which the last exit must get no gradient."""
        raise NotImplementedError


def exit_losses(batch: ExitBatch) -> Tensor:
    """Mean cross-entropy of each exit over the labelled rows: (exits,); 0 without any."""
    rows, exits, _ = batch.logits.shape
    each = cross_entropy(
        batch.logits.flatten(0, 1),
        batch.label.repeat_interleave(exits),
        ignore_index=UNLABELLED,
        reduction="none",
    )
    count = (batch.label != UNLABELLED).sum().clamp(min=1)
    return each.view(rows, exits).sum(dim=0) / count


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence of predictions from a target: KL(target || softmax(logits)).

    # Parameters

    target : `Tensor`
        Shape (..., labels): logits of the target.
    logits : `Tensor`
        The same shape.

    # Returns

    Shape (...), in nats.
    """
    wanted, said = log_softmax(target, dim=-1), log_softmax(logits, dim=-1)
    return (wanted.exp() * (wanted - said)).sum(dim=-1)
