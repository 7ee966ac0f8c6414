"""Make exits sure of right answers, and unsure of wrong ones."""

import math
from typing import List, Optional, Sequence

from allennlp.common.checks import ConfigurationError
from torch import Tensor
from torch.nn.functional import log_softmax

from sledgehammer.network.runner import GradientFlow
from sledgehammer.objectives.base import ExitBatch, ExitObjective, TrainingRun
from sledgehammer.objectives.joint import JointObjective


@ExitObjective.register("gatekeeper")
class GatekeeperObjective(ExitObjective):
    """Add `weight * sum_i G_i` to another objective's loss, over the exits i that it trains now.

    `G = alpha * [right] CE + (1 - alpha) * [wrong] KL(p || uniform)` is a mean over labelled rows
    (Rabanser et al., "Gatekeeper: Improving Model Cascades Through Confidence Tuning", NeurIPS 2025,
    arXiv 2502.19335, section 3).

    It makes an exit keep the texts that it gets right, and leave the others to the exits above. The
    original tunes a trained model with `G` alone; here it can be a term of any training.

    # Parameters

    objective : `ExitObjective`, optional (default = `joint`)
    alpha : `float`, optional (default = `0.5`)
        In [0, 1]; the lower, the more an exit leaves to the exits above.
    weight : `float`, optional (default = `1.0`)
        The weight of the term; positive.

    # Raises

    `ConfigurationError` for other values, or what the other objective raises.
    """

    def __init__(
        self, objective: Optional[ExitObjective] = None, alpha: float = 0.5, weight: float = 1.0
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ConfigurationError(f"alpha must be between 0 and 1, got {alpha}")
        if not weight > 0:
            raise ConfigurationError(f"weight must be positive, got {weight}")
        self.objective = objective or JointObjective()
        self.alpha = alpha
        self.weight = weight

    def loss(self, batch: ExitBatch) -> Tensor:
        exits = self.learning(batch.logits.size(1))
        return self.objective.loss(batch) + self.weight * self._term(batch, exits)

    def loss_over_all_exits(self, batch: ExitBatch) -> Tensor:
        exits = range(batch.logits.size(1))
        return self.objective.loss_over_all_exits(batch) + self.weight * self._term(batch, exits)

    def _term(self, batch: ExitBatch, exits: Sequence[int]) -> Tensor:
        log_probs = log_softmax(batch.logits[:, list(exits)], dim=-1)
        label = batch.label.clamp(min=0)[:, None, None].expand(-1, len(exits), 1)
        right = (log_probs.argmax(dim=-1, keepdim=True) == label).squeeze(-1)
        cross_entropy = -log_probs.gather(-1, label).squeeze(-1)
        from_uniform = (log_probs.exp() * log_probs).sum(dim=-1) + math.log(log_probs.size(-1))
        each = right * self.alpha * cross_entropy + ~right * (1 - self.alpha) * from_uniform
        return (each * batch.row_weights[:, None]).sum() / batch.total_weight

    # For everything else, ask the other objective.

    @property
    def gradients(self) -> GradientFlow:  # type: ignore[override]
        return self.objective.gradients

    def learning(self, exits: int) -> range:
        return self.objective.learning(exits)

    def check_epochs(self, epochs: int) -> None:
        self.objective.check_epochs(epochs)

    def stage_epochs(self, epochs: int) -> List[int]:
        return self.objective.stage_epochs(epochs)

    def begin(self, run: TrainingRun) -> None:
        self.objective.begin(run)

    def begin_epoch(self, progress: float) -> None:
        self.objective.begin_epoch(progress)

    def begin_step(self, number: int) -> None:
        self.objective.begin_step(number)

    @property
    def stage(self) -> int:
        return self.objective.stage

    def end_stage(self) -> bool:
        return self.objective.end_stage()
