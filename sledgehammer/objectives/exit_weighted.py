"""A row counts most at the exits where it would leave."""

from typing import Tuple

import torch
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.objectives.base import UNLABELLED, ExitBatch, ExitObjective, losses_of_rows


@ExitObjective.register("exit_weighted")
class ExitWeightedObjective(ExitObjective):
    """`sum_i mean_r w_ri L_ri + hinge * H`: exit i learns most from the rows r that leave there (He et
    al., "COSEE: Consistency-Oriented Signal-Based Early Exiting via Calibrated Sample Weighting
    Mechanism", AAAI 2025, arXiv 2412.13236).

    For each batch some thresholds are drawn, and each row is let out at the first exit that is sure
    enough. Its weight there is 1, and `decay` times less at each exit further away, up or down;
    averaged over the thresholds and scaled so that the weights of a row add up to the number of
    exits. `H` is a mean over the exits: `max(0, margin - (c_right - c_wrong))`, the mean confidence
    in the answers of a batch that are right and in those that are wrong, so that confidence tells
    them apart. Neither weights nor right and wrong have a gradient.

    The original's signal is an energy, ours the confidence, by which rows leave here; that weights
    fall geometrically with the distance is ours. In validation the thresholds are evenly spread.

    # Parameters

    thresholds : `int`, optional (default = `5`)
        How many are drawn for a batch, at least 1.
    decay : `float`, optional (default = `0.5`)
        In [0, 1]; with 1 all rows count the same everywhere, as in `joint`.
    hinge : `float`, optional (default = `0.1`)
        At least 0.
    margin : `float`, optional (default = `0.3`)
        In [0, 1].

    # Raises

    `ConfigurationError` for other values.
    """

    def __init__(
        self, thresholds: int = 5, decay: float = 0.5, hinge: float = 0.1, margin: float = 0.3
    ) -> None:
        if thresholds < 1:
            raise ConfigurationError(f"thresholds must be at least 1, got {thresholds}")
        if hinge < 0:
            raise ConfigurationError(f"hinge must be at least 0, got {hinge}")
        for name, value in (("decay", decay), ("margin", margin)):
            if not 0 <= value <= 1:
                raise ConfigurationError(f"{name} must be between 0 and 1, got {value}")
        self.thresholds = thresholds
        self.decay = decay
        self.hinge = hinge
        self.margin = margin

    def loss(self, batch: ExitBatch) -> Tensor:
        confidence, predicted = torch.softmax(batch.logits, dim=-1).max(dim=-1)
        known = (batch.label != UNLABELLED)[:, None]
        weights = self.weights(confidence.detach(), batch)
        weighted = (weights * losses_of_rows(batch)).sum() / known.sum().clamp(min=1)
        right = known & (predicted == batch.label[:, None])
        return weighted + self.hinge * self._hinges(confidence, right, known & ~right).mean()

    def weights(self, confidence: Tensor, batch: ExitBatch) -> Tensor:
        """Return how much each row counts at each exit.

        # Parameters

        confidence : `Tensor`
            Shape (rows, exits), without a gradient.

        # Returns

        The same shape; the weights of a row add up to the number of exits.
        """
        exits = confidence.size(1)
        thresholds = self._thresholds(batch)
        sure = confidence[:, None, :] >= thresholds[None, :, None]
        sure[..., -1] = True  # the last exit answers the rest
        leaves = sure.int().argmax(dim=-1, keepdim=True)  # (rows, thresholds, 1)
        away = (torch.arange(exits, device=confidence.device) - leaves).abs()
        weights = (self.decay**away).to(confidence.dtype).mean(dim=1)
        return exits * weights / weights.sum(dim=1, keepdim=True)

    def _thresholds(self, batch: ExitBatch) -> Tensor:
        """Confidences between that of a guess and 1: (thresholds,)."""
        device = batch.logits.device
        if batch.training:
            shares = torch.rand(self.thresholds, device=device)
        else:
            shares = (torch.arange(self.thresholds, device=device) + 0.5) / self.thresholds
        guess = 1 / batch.logits.size(-1)
        return guess + (1 - guess) * shares

    def _hinges(self, confidence: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
        """One an exit, 0 where all answers, or none, are right: (exits,)."""
        (c_right, some_right), (c_wrong, some_wrong) = (
            _mean_of(confidence, rows) for rows in (right, wrong)
        )
        return (self.margin - (c_right - c_wrong)).clamp(min=0) * (some_right & some_wrong)


def _mean_of(values: Tensor, rows: Tensor) -> Tuple[Tensor, Tensor]:
    """Mean over the chosen rows of each column, and whether there are any: (columns,) both."""
    count = rows.sum(dim=0)
    return (values * rows).sum(dim=0) / count.clamp(min=1), count > 0
