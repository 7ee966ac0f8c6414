"""Define what a training objective is, and the terms that several of them share."""

from dataclasses import dataclass
from typing import Callable, Iterable, List, NamedTuple, Optional, Sequence

import torch
from allennlp.common import Registrable
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from sledgehammer.network.encoder import TokenTensors
from sledgehammer.network.runner import GradientFlow

UNLABELLED = -1
"""The label index of a row without a label."""


@dataclass
class ExitBatch:
    """Hold a batch that an objective computes its loss from.

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
        `False` in a validation pass, whose loss must not be random.
    class_weights : `Tensor`, optional
        Shape (labels,): how much the rows of each label count; all alike if `None`.
    """

    logits: Tensor
    label: Tensor
    tokens: TokenTensors
    exit_layers: Sequence[int]
    training: bool
    class_weights: Optional[Tensor] = None

    @property
    def row_weights(self) -> Tensor:
        """How much each row counts, 0 without a label: (rows,)."""
        known = (self.label != UNLABELLED).to(self.logits.dtype)
        if self.class_weights is None:
            return known
        return known * self.class_weights.to(self.logits)[self.label.clamp(min=0)]

    @property
    def total_weight(self) -> Tensor:
        """Sum of the row weights, by which a sum over rows becomes their mean; 1 without labels."""
        total = self.row_weights.sum()
        return torch.where(total > 0, total, torch.ones_like(total))


class ReadRow(NamedTuple):
    """Hold a row of a run's data as it was before it was tokenised.

    # Parameters

    fingerprint : `int`
        Fingerprint of its word pieces (see `row_hashes`).
    texts : `List[str]`
        One text, or the two of a pair.
    """

    fingerprint: int
    texts: List[str]


@dataclass
class TrainingRun:
    """Hold what an objective may ask of a run that begins.

    # Parameters

    labels : `List[str]`
        The labels' names, by index.
    exit_layers : `Sequence[int]`
        The layers with an exit, counted from 0.
    full_layers : `int`
        Layers of the full model.
    directory : `str`
        The folder that the run writes to.
    device : `torch.device`
        The model's device.
    rows : `Callable[[], Iterable[ReadRow]]`
        Reads all rows of the run again, the validation rows too. Raises a `ConfigurationError` if
        their dataset reader is not one of ours.
    """

    labels: List[str]
    exit_layers: Sequence[int]
    full_layers: int
    directory: str
    device: torch.device
    rows: Callable[[], Iterable[ReadRow]]


class ExitObjective(Registrable):
    """Turn the logits of all exits into one loss, and say which weights it reaches.

    An objective belongs to one training run. It may change from epoch to epoch or from batch to
    batch; the trainer callback `sledgehammer_objective` tells it how far the run has come.
    """

    default_implementation = "joint"

    gradients = GradientFlow.ALL
    """How far down the loss of an exit reaches. The model asks before each training pass."""

    def loss(self, batch: ExitBatch) -> Tensor:
        """Return the scalar to minimise.

        # Raises

        `ConfigurationError` if the objective needs something that the run does not provide.
        """
        raise NotImplementedError

    def loss_over_all_exits(self, batch: ExitBatch) -> Tensor:
        """Return the loss of a batch over all exits, whatever the objective is training now."""
        return self.loss(batch)

    def check_epochs(self, epochs: int) -> None:
        """Raise a `ConfigurationError` if a run of so many epochs leaves an exit untrained."""

    def stage_epochs(self, epochs: int) -> List[int]:
        """Return how many epochs each stage has in a run of so many, if no stage ends early."""
        return [epochs]

    def begin(self, run: TrainingRun) -> None:
        """Prepare for a training run that begins.

        # Raises

        `ConfigurationError` if the objective does not fit the model.
        """

    def begin_epoch(self, progress: float) -> None:
        """Take note that an epoch begins.

        # Parameters

        progress : `float`
            The share of all epochs that are done, in [0, 1).
        """

    def begin_step(self, number: int) -> None:
        """Take note that an optimizer step begins, which may take several batches.

        # Parameters

        number : `int`
            Counted from 0, the first step of the run.
        """

    def learning(self, exits: int) -> range:
        """Return the positions of the exits that learn now, of so many exits."""
        return range(exits)

    @property
    def stage(self) -> int:
        """Return the stage that is being trained, counted from 0."""
        return 0

    def end_stage(self) -> bool:
        """End the stage early, because validation no longer improves.

        # Returns

        Whether another stage begins; if not, nothing has changed.
        """
        return False


class LossOverAllExits(ExitObjective):
    """Take the loss of another objective over all exits, with gradients to all layers.

    # Parameters

    objective : `ExitObjective`
    """

    def __init__(self, objective: ExitObjective) -> None:
        self._objective = objective

    def loss(self, batch: ExitBatch) -> Tensor:
        return self._objective.loss_over_all_exits(batch)

    def begin(self, run: TrainingRun) -> None:
        self._objective.begin(run)


def losses_of_rows(batch: ExitBatch) -> Tensor:
    """Return the cross-entropy of each row at each exit, times the row's weight: (rows, exits).

    It is 0 without a label.
    """
    rows, exits, _ = batch.logits.shape
    each = cross_entropy(
        batch.logits.flatten(0, 1),
        batch.label.repeat_interleave(exits),
        ignore_index=UNLABELLED,
        reduction="none",
    )
    return each.view(rows, exits) * batch.row_weights[:, None]


def exit_losses(batch: ExitBatch) -> Tensor:
    """Return the weighted mean cross-entropy of each exit over the labelled rows: (exits,).

    It is 0 without any.
    """
    return losses_of_rows(batch).sum(dim=0) / batch.total_weight


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of predictions from a target, in nats.

    KL(softmax(target) || softmax(logits)).

    # Parameters

    target : `Tensor`
        Shape (..., labels): logits of the target.
    logits : `Tensor`
        The same shape.

    # Returns

    Shape (...).
    """
    expected, predicted = log_softmax(target, dim=-1), log_softmax(logits, dim=-1)
    return (expected.exp() * (expected - predicted)).sum(dim=-1)
