"""Use the exit layer as a measure of difficulty (Schwartz et al. 2020, sections 1 and 6)."""

from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence

import torch
from scipy.stats import spearmanr
from torch import Tensor


@dataclass(frozen=True)
class DifficultyClass:
    """Describe the rows that one exit answers.

    `accuracy` is `None` without labels or without rows, `mean_tokens` without rows.
    """

    exit_layer: int
    rows: int
    share: float
    accuracy: Optional[float]
    mean_tokens: Optional[float]


@dataclass(frozen=True)
class Consistency:
    """Count the rows that an exit is the first to get right, and those that then stay right."""

    exit_layer: int
    first_right: int
    right_ever_after: int


def rank(exit: Tensor, confidence: Tensor) -> Tensor:
    """Return the positions of the rows, the easiest first.

    They are sorted by exit, then by confidence at that exit, from high to low.

    # Parameters

    exit : `Tensor`
        Shape (rows,): the position of the exit that answered.
    confidence : `Tensor`
        Shape (rows, exits).
    """
    answered = confidence.gather(1, exit[:, None]).squeeze(1)
    by_confidence = torch.sort(answered, descending=True, stable=True).indices
    return by_confidence[torch.sort(exit[by_confidence], stable=True).indices]


def changes(predicted: Tensor, exit_layers: Sequence[int]) -> List[List[int]]:
    """Return for each row the layers whose answer differs from that of the exit before.

    # Parameters

    predicted : `Tensor`
        Shape (rows, exits): the label index that each exit answers.
    exit_layers : `Sequence[int]`
    """
    changed = predicted[:, 1:] != predicted[:, :-1]
    return [
        [layer for layer, is_other in zip(exit_layers[1:], row) if is_other]
        for row in changed.tolist()
    ]


def classes(
    exit: Tensor, tokens: Tensor, exit_layers: Sequence[int], correct: Optional[Tensor]
) -> List[DifficultyClass]:
    """Describe the rows of each exit.

    # Parameters

    exit, tokens : `Tensor`
        Shape (rows,): the position of the exit that answered; the number of word pieces.
    exit_layers : `Sequence[int]`
    correct : `Tensor`, optional
        Shape (rows,), bool: which answers are right, if that is known.
    """
    described = []
    for position, layer in enumerate(exit_layers):
        members = exit == position
        rows = int(members.sum())
        accuracy = None
        if correct is not None and rows:
            accuracy = float(correct[members].double().mean())
        mean_tokens = float(tokens[members].double().mean()) if rows else None
        described.append(DifficultyClass(layer, rows, rows / len(exit), accuracy, mean_tokens))
    return described


def length_correlation(exit: Tensor, tokens: Tensor) -> Optional[float]:
    """Return Spearman's rank correlation of length and exit, or `None` if either is constant."""
    if len(exit.unique()) < 2 or len(tokens.unique()) < 2:
        return None
    return float(spearmanr(tokens.numpy(), exit.numpy()).statistic)


def consistency(correct: Tensor, exit_layers: Sequence[int]) -> List[Consistency]:
    """Measure the paper's consistency: once right, right at every later exit (section 6).

    # Parameters

    correct : `Tensor`
        Shape (rows, exits), bool: which answers are right.
    exit_layers : `Sequence[int]`
        The last exit has no later one and is left out of the result.
    """
    first = correct.long().argmax(dim=1)
    counted = []
    for position, layer in enumerate(exit_layers[:-1]):
        members = correct.any(dim=1) & (first == position)
        ever_after = correct[members][:, position:].all(dim=1)
        counted.append(Consistency(layer, int(members.sum()), int(ever_after.sum())))
    return counted


def examples(order: Tensor, count: int) -> Dict[str, List[int]]:
    """Return the positions of the easiest rows, and of the hardest, the hardest first.

    There are at most `count` of each, and no row is among both.
    """
    positions = order.tolist()
    easiest = positions[: min(count, (len(positions) + 1) // 2)]
    hardest = positions[len(easiest) :][::-1][:count]
    return {"easiest": easiest, "hardest": hardest}
