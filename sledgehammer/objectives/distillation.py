"""A bigger model teaches all exits."""

from typing import Any, List, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.models import load_archive
from torch import Tensor

from sledgehammer.network.pretrained import load_tokenizer
from sledgehammer.objectives.base import ExitBatch, ExitObjective, divergence, exit_losses


@ExitObjective.register("distillation")
class DistillationObjective(ExitObjective):
    """`sum_i (1 - w) L_i + w T^2 KL(softmax(t / T) || softmax(z_i / T))`, z_i the logits of exit i
    and t those of the teacher's last exit (Hinton et al. 2015, section 2; Sanh et al. 2019, section
    2, for transformers).

    Every exit learns from the teacher, where the originals have one. Sanh et al. distil in
    pretraining, with a loss on hidden states too; here the pretrained student is fine-tuned. Rows
    without a label learn from the teacher alone. Validation has the same loss; without a teacher,
    when the run is over, that of `joint`.

    # Parameters

    teacher : `str`
        An archive of ours with the same labels and the same tokenizer, since the teacher reads the
        student's word pieces. Only training needs it.
    temperature : `float`, optional (default = `2.0`)
        T, positive.
    weight : `float`, optional (default = `0.5`)
        w, in [0, 1].

    # Raises

    `ConfigurationError` for other values; when a run begins, for a teacher that is not there or does
    not fit; in training, without `sledgehammer_objective` among the trainer's callbacks.
    """

    def __init__(self, teacher: str, temperature: float = 2.0, weight: float = 0.5) -> None:
        if not temperature > 0:
            raise ConfigurationError(f"temperature must be positive, got {temperature}")
        if not 0 <= weight <= 1:
            raise ConfigurationError(f"weight must be between 0 and 1, got {weight}")
        self.teacher = teacher
        self.temperature = temperature
        self.weight = weight
        self._model: Optional[Any] = None
        self._order: List[int] = []

    def begin(self, labels: List[str], directory: str) -> None:
        try:
            archive = load_archive(self.teacher)
        except (OSError, ConfigurationError) as error:
            raise ConfigurationError(
                f"cannot load the teacher {self.teacher!r}: {error}"
            ) from error
        self._model = archive.model.eval().requires_grad_(False)
        known = getattr(archive.model, "labels", None)
        if known is None or set(known) != set(labels):
            raise ConfigurationError(
                f"the teacher {self.teacher!r} has the labels {known}, the student {labels}"
            )
        self._order = [known.index(label) for label in labels]
        reader: Any = archive.validation_dataset_reader
        if reader._tokenizer.get_vocab() != load_tokenizer(None, directory).get_vocab():
            raise ConfigurationError(
                f"the teacher {self.teacher!r} has another tokenizer than the student: it would "
                "not understand the student's word pieces"
            )

    def loss(self, batch: ExitBatch) -> Tensor:
        hard = exit_losses(batch).sum()
        if self._model is None and not batch.training:
            return hard
        teacher = self._teacher_logits(batch)[:, None].expand_as(batch.logits)
        # Their gradients shrink by T^2 as the temperature grows.
        soft = self.temperature**2 * divergence(
            teacher / self.temperature, batch.logits / self.temperature
        )
        return (1 - self.weight) * hard + self.weight * soft.mean(dim=0).sum()

    def _teacher_logits(self, batch: ExitBatch) -> Tensor:
        if self._model is None:
            raise ConfigurationError(
                "no training run has begun for the distillation objective: add "
                "'sledgehammer_objective' to trainer.callbacks"
            )
        model = self._model.to(batch.logits.device)
        with torch.no_grad():
            return model.runner.run_all_exits(batch.tokens).logits[:, -1, self._order]
