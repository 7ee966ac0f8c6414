"""Let each row count most at the exits where it would leave."""

from typing import Tuple

import torch
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.objectives.base import UNLABELLED, ExitBatch, ExitObjective, losses_of_rows


@ExitObjective.register("exit_weighted")
class ExitWeightedObjective(ExitObjective):
    """Minimise `sum_i mean_r w_ri L_ri + hinge * H`: exit i learns most from rows r that leave it.

    Source: He et al., "COSEE: Consistency-Oriented Signal-Based Early Exiting via Calibrated Sample
    Weighting Mechanism", AAAI 2025, arXiv 2412.13236.

    For each batch some thresholds are drawn, and each row leaves at the first exit that is sure
    enough. Its weight is 1 there, and smaller by the factor `decay` for each exit further away, up
    or down; the weights are averaged over the thresholds, and scaled so that those of a row add up
    to the number of exits. `H` is the exits' mean of `max(0, margin - (c_right - c_wrong))`, with c
    the mean confidence in the batch's right answers and in its wrong ones: it makes confidence tell
    them apart. No gradient flows through the weights, nor through what is right.

    The original decides by an energy, we by the confidence, as rows do at run time; weights that
    fall geometrically with the distance are ours. In validation the thresholds are evenly spread.

    # Parameters

    thresholds : `int`, optional (default = `5`)
        How many thresholds are drawn for a batch, at least 1.
    decay : `float`, optional (default = `0.5`)
        In [0, 1]; with 1 all rows count the same everywhere, as in `joint`.
    hinge : `float`, optional (default = `0.1`)
        The weight of `H`, at least 0.
    margin : `float`, optional (default = `0.3`)
        How much more confident right answers should be than wrong ones, in [0, 1].

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
        weighted = (weights * losses_of_rows(batch)).sum() / batch.total_weight
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
        """Return thresholds between the confidence of a guess and 1: (thresholds,)."""
        device = batch.logits.device
        if batch.training:
            shares = torch.rand(self.thresholds, device=device)
        else:
            shares = (torch.arange(self.thresholds, device=device) + 0.5) / self.thresholds
        guess = 1 / batch.logits.size(-1)
        return guess + (1 - guess) * shares

    def _hinges(self, confidence: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
        """Return each exit's hinge, 0 where all answers or none are right: (exits,)."""
        (c_right, some_right), (c_wrong, some_wrong) = (
            _mean_of(confidence, rows) for rows in (right, wrong)
        )
        return (self.margin - (c_right - c_wrong)).clamp(min=0) * (some_right & some_wrong)


def _mean_of(values: Tensor, rows: Tensor) -> Tuple[Tensor, Tensor]:
    """Return each column's mean over the chosen rows, and whether it has any: (columns,) both."""
    count = rows.sum(dim=0)
    return (values * rows).sum(dim=0) / count.clamp(min=1), count > 0
