"""Measure how far two ways of computing the same exits agree: number formats, exported models."""

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor

from sledgehammer.network.runner import Answers


@dataclass(frozen=True)
class Agreement:
    """Hold what changes for some rows if `other` answers instead of `reference`.

    # Parameters

    rows : `int`
    labels, exits : `float`
        Share of the rows that get the same label, and share that get the same exit, in [0, 1].
    probability_difference : `float`
        The largest difference of a probability among the rows with the same exit.
    mean_layers : `float`
        Layers that `other` runs for a row, on average.
    mean_layers_change : `float`
        The same, less the reference's.
    accuracy, accuracy_change : `Optional[float]`
        Accuracy of `other`, and the same less the reference's; `None` without labels.
    only_reference_right, only_other_right : `Optional[int]`
        How many rows only one of them gets right, which is what a paired comparison needs; `None`
        without labels.
    """

    rows: int
    labels: float
    exits: float
    probability_difference: float
    mean_layers: float
    mean_layers_change: float
    accuracy: Optional[float]
    accuracy_change: Optional[float]
    only_reference_right: Optional[int] = None
    only_other_right: Optional[int] = None


def compare(
    reference: Answers, other: Answers, exit_layers: Sequence[int], label: Optional[Tensor] = None
) -> Agreement:
    """Compare two sets of answers to the same rows.

    # Parameters

    reference, other : `Answers`
    exit_layers : `Sequence[int]`
        The layers with an exit, counted from 0.
    label : `Tensor`, optional
        Shape (rows,), long.

    # Raises

    `ValueError` if they answer different numbers of rows, or no rows.
    """
    if len(reference.exit) != len(other.exit) or not len(other.exit):
        raise ValueError(f"{len(reference.exit)} and {len(other.exit)} rows can't be compared")
    same_exit = reference.exit == other.exit
    difference = (reference.probs - other.probs).abs().max(dim=1).values[same_exit]
    before, after = (answers.probs.argmax(dim=1) for answers in (reference, other))
    layers = torch.tensor(exit_layers, dtype=torch.double) + 1
    layers_before, layers_after = (
        float(layers[answers.exit].mean()) for answers in (reference, other)
    )
    accuracy, change, lost, gained = _accuracies(before, after, label)
    return Agreement(
        rows=len(same_exit),
        labels=_share(before == after),
        exits=_share(same_exit),
        probability_difference=float(difference.max()) if len(difference) else 0.0,
        mean_layers=layers_after,
        mean_layers_change=layers_after - layers_before,
        accuracy=accuracy,
        accuracy_change=change,
        only_reference_right=lost,
        only_other_right=gained,
    )


def _accuracies(
    before: Tensor, after: Tensor, label: Optional[Tensor]
) -> Tuple[Optional[float], Optional[float], Optional[int], Optional[int]]:
    """Return accuracy, its change, and how many rows are right only before, and only after."""
    if label is None:
        return None, None, None, None
    accuracy = _share(after == label)
    lost = int(((before == label) & (after != label)).sum())
    gained = int(((before != label) & (after == label)).sum())
    return accuracy, accuracy - _share(before == label), lost, gained


def _share(true: Tensor) -> float:
    return float(true.double().mean())
