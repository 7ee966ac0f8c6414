"""What a training objective is, and the terms that several of them are made of."""

from dataclasses import dataclass
from typing import Callable, Iterable, List, NamedTuple, Sequence

import torch
from allennlp.common import Registrable
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


class ReadRow(NamedTuple):
    """A row of a run's data, as it was before it was tokenised.

    # Parameters

    fingerprint : `int`
        That of its word pieces (see `row_hashes`).
    texts : `List[str]`
        One, or the two of a pair.
    """

    fingerprint: int
    texts: List[str]


@dataclass
class TrainingRun:
    """What an objective may ask of a run that begins.

    # Parameters

    labels : `List[str]`
        Their names, by index.
    exit_layers : `Sequence[int]`
        The layers with an exit, counted from 0.
    full_layers : `int`
        Layers of the full model.
    directory : `str`
        Where the run writes.
    device : `torch.device`
        Where the model is.
    rows : `Callable[[], Iterable[ReadRow]]`
        Reads all rows of the run again, those of validation too. It raises a `ConfigurationError` if
        they do not come from readers of ours.
    """

    labels: List[str]
    exit_layers: Sequence[int]
    full_layers: int
    directory: str
    device: torch.device
    rows: Callable[[], Iterable[ReadRow]]


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

    def stage_epochs(self, epochs: int) -> List[int]:
        """Return how many epochs each stage has in a run of so many, if none ends early."""
        return [epochs]

    def begin(self, run: TrainingRun) -> None:
        """A training run begins.

        # Raises

        `ConfigurationError` if the objective does not fit the model.
        """

    def begin_epoch(self, progress: float) -> None:
        """An epoch begins; `progress` is the share of all epochs that are done, in [0, 1)."""

    def begin_step(self, number: int) -> None:
        """An optimizer step begins, which may take several batches; the run's first is number 0."""

    def learning(self, exits: int) -> range:
        """Return the positions of those of so many exits that learn at the moment."""
        return range(exits)

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

    def begin(self, run: TrainingRun) -> None:
        self._objective.begin(run)


def losses_of_rows(batch: ExitBatch) -> Tensor:
    """Return the cross-entropy of each row at each exit: (rows, exits); 0 without a label."""
    rows, exits, _ = batch.logits.shape
    each = cross_entropy(
        batch.logits.flatten(0, 1),
        batch.label.repeat_interleave(exits),
        ignore_index=UNLABELLED,
        reduction="none",
    )
    return each.view(rows, exits)


def exit_losses(batch: ExitBatch) -> Tensor:
    """Mean cross-entropy of each exit over the labelled rows: (exits,); 0 without any."""
    count = (batch.label != UNLABELLED).sum().clamp(min=1)
    return losses_of_rows(batch).sum(dim=0) / count


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
