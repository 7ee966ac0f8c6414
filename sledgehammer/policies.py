"""When to stop: exit policies."""

from typing import Any, Optional

import torch
from allennlp.common import Registrable
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.lines import valid_threshold


class ExitPolicy(Registrable):
    """Decides for each row whether the exit just computed answers it.

    A decision is made per row and from that row alone, so that it is the same in every batch.
    The last exit always answers; a policy is not asked there.
    """

    default_implementation = "confidence"

    threshold: float
    """The run-time setting, which a predictor or a single row may override."""

    def should_exit(self, probs: Tensor, threshold: Optional[Tensor] = None) -> Tensor:
        """Which rows stop here.

        # Parameters

        probs : `Tensor`
            Shape (rows, exits so far, labels): calibrated probabilities of all exits so far, the
            current one last.
        threshold : `Optional[Tensor]`
            Shape (rows,): settings of single rows, in place of the policy's own.

        # Returns

        Shape (rows,), bool.
        """
        raise NotImplementedError

    def may_exit(self, threshold: Optional[Tensor] = None) -> bool:
        """False if no row whatsoever could stop before the last exit.

        It must not look at the values in `threshold`, which may be on a device.
        """
        return True

    def replay(self, probs: Tensor, threshold: Optional[Tensor] = None) -> Tensor:
        """The exit that would answer each row, given the probabilities of all exits.

        (rows, exits, labels) -> (rows,), the position of the exit, long.
        """
        rows, exits, _ = probs.shape
        answered_by = torch.full((rows,), exits - 1, dtype=torch.long, device=probs.device)
        for position in reversed(range(exits - 1)):
            stops = self.should_exit(probs[:, : position + 1], threshold)
            answered_by = answered_by.masked_fill(stops, position)
        return answered_by


@ExitPolicy.register("confidence")
class ConfidencePolicy(ExitPolicy):
    """Stop at the first exit whose confidence reaches a threshold (Schwartz et al. 2020, 3.2).

    Confidence is the largest calibrated probability.

    # Parameters

    threshold : `float`, optional (default = `0.9`)
        In [0, 1]. 0.0 always takes the first exit; 1.0 always runs to the last exit, even where
        a confidence rounds to 1.0.
    """

    # Not annotated as float: AllenNLP would refuse what is none before `checked_threshold` does.
    def __init__(self, threshold: Any = 0.9) -> None:
        self.threshold = checked_threshold(threshold)

    def should_exit(self, probs: Tensor, threshold: Optional[Tensor] = None) -> Tensor:
        confidence = probs[:, -1].amax(dim=-1)
        if threshold is None:
            if self.threshold >= 1.0:
                return torch.zeros_like(confidence, dtype=torch.bool)
            return confidence >= self.threshold
        return (confidence >= threshold) & (threshold < 1.0)

    def may_exit(self, threshold: Optional[Tensor] = None) -> bool:
        return threshold is not None or self.threshold < 1.0


def checked_threshold(value: Any, name: str = "threshold") -> float:
    """`value` as a float, if it is a number in [0, 1].

    # Raises

    `ConfigurationError` otherwise.
    """
    try:
        return valid_threshold(value, name)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
