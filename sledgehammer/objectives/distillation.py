"""Let another model teach the exits, exit by exit."""

from typing import Any, List, Mapping, Optional, Sequence

import torch.distributed
from allennlp.common.checks import ConfigurationError
from allennlp.common.util import is_distributed
from torch import Tensor

from sledgehammer.objectives.base import (
    ExitBatch,
    ExitObjective,
    TrainingRun,
    divergence,
    exit_losses,
)
from sledgehammer.objectives.teacher import TeacherOutputs, outputs_for


@ExitObjective.register("distillation")
class DistillationObjective(ExitObjective):
    """Minimise `sum_i (1 - w) L_i + w T^2 KL(softmax(t_i / T) || softmax(z_i / T))`.

    z_i are the logits of exit i, and t_i the calibrated logits of the teacher's exit that it learns
    from (Hinton et al. 2015, section 2; exit by exit as in Shen et al., "COST-EFF", EMNLP 2022,
    arXiv 2210.15523).

    The teacher may have any tokenizer, any depth and any exits. Before training it reads the texts
    of all rows once, the validation rows too. Its answers are kept in the run's folder
    (`teacher_outputs.npz`), by fingerprints of the student's word pieces, so that training steps
    never run the teacher, nor does a recovered run. Rows without a label learn from the teacher
    alone. Validation has the same loss, or that of `joint` once the run is over and there is no
    teacher.

    # Parameters

    teacher : `str`
        A sledgehammer archive with the same labels, whose rows have as many texts. Only training
        needs it.
    temperature : `float`, optional (default = `2.0`)
        T, positive.
    weight : `float`, optional (default = `0.5`)
        w, in [0, 1].
    exits : optional (default = `"depth"`)
        Which of the teacher's exits teaches which of the student's. `"depth"`: the one at the
        nearest share of its model's layers, the deeper of two. `"last"`: the teacher's last exit
        teaches all. Or a map from each of the student's exit layers to one of the teacher's:
        `{"0": 1, "5": 11}`.

    # Raises

    `ConfigurationError` for other values; when a run begins, if the teacher is missing or does not
    fit; in training, if `sledgehammer_objective` is not among the trainer's callbacks.
    """

    def __init__(
        self, teacher: str, temperature: float = 2.0, weight: float = 0.5, exits: Any = "depth"
    ) -> None:
        if not temperature > 0:
            raise ConfigurationError(f"temperature must be positive, got {temperature}")
        if not 0 <= weight <= 1:
            raise ConfigurationError(f"weight must be between 0 and 1, got {weight}")
        self.teacher = teacher
        self.temperature = temperature
        self.weight = weight
        self._exits = _checked_exits(exits)
        self._outputs: Optional[TeacherOutputs] = None
        self._taught_by: List[int] = []  # positions among the teacher's exits, one an exit

    def begin(self, run: TrainingRun) -> None:
        # The first of several workers writes what the others read.
        first = not is_distributed() or torch.distributed.get_rank() == 0
        if not first:
            torch.distributed.barrier()
        outputs = outputs_for(self.teacher, run)
        if first and is_distributed():
            torch.distributed.barrier()
        self._taught_by = self._match(run, outputs)
        self._outputs = outputs

    def _match(self, run: TrainingRun, teacher: TeacherOutputs) -> List[int]:
        if self._exits == "last":
            return [len(teacher.exit_layers) - 1] * len(run.exit_layers)
        if self._exits == "depth":
            shares = [(layer + 1) / teacher.full_layers for layer in teacher.exit_layers]
            return [nearest(shares, (layer + 1) / run.full_layers) for layer in run.exit_layers]
        if set(self._exits) != set(run.exit_layers):
            raise ConfigurationError(
                f"distillation's exits map the layers {sorted(self._exits)}, but the student has "
                f"exits after {list(run.exit_layers)}"
            )
        if unknown := set(self._exits.values()) - set(teacher.exit_layers):
            raise ConfigurationError(
                f"distillation's exits name the teacher's layers {sorted(unknown)}, but it has exits "
                f"after {teacher.exit_layers}"
            )
        return [teacher.exit_layers.index(self._exits[layer]) for layer in run.exit_layers]

    def loss(self, batch: ExitBatch) -> Tensor:
        hard = exit_losses(batch).sum()
        if self._outputs is None:
            if not batch.training:
                return hard
            raise ConfigurationError(
                "no training run has begun for the distillation objective: add "
                "'sledgehammer_objective' to trainer.callbacks"
            )
        teacher = self._outputs.of(batch.tokens)[:, self._taught_by].to(batch.logits.device)
        # Their gradients shrink by T^2 as the temperature grows.
        soft = self.temperature**2 * divergence(
            teacher / self.temperature, batch.logits / self.temperature
        )
        return (1 - self.weight) * hard + self.weight * soft.mean(dim=0).sum()


def nearest(shares: Sequence[float], wanted: float) -> int:
    """Return the position of the share nearest to the wanted one; of two, the later."""
    # Rounded, so that shares that are equally near as fractions are so as floats.
    return min(range(len(shares)), key=lambda i: (round(abs(shares[i] - wanted), 9), -i))


def _checked_exits(exits: Any) -> Any:
    """Return `exits` with whole numbers instead of strings, or raise a `ConfigurationError`."""
    if isinstance(exits, str) and exits in ("depth", "last"):
        return exits
    try:
        if isinstance(exits, Mapping) and exits:
            return {int(layer): int(taught_by) for layer, taught_by in exits.items()}
    except (TypeError, ValueError):
        pass
    raise ConfigurationError(
        "distillation's exits must be 'depth', 'last', or a map from the student's layers to the "
        f'teacher\'s such as {{"0": 1, "5": 11}}, got {exits!r}'
    )
