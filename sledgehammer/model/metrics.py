"""Measure what the exits did, as AllenNLP metrics.

In a distributed run each worker reports its own counts until a metric is reset at the end of a
pass; then the counts of all workers are summed.
"""

from typing import Dict, Sequence

import torch
from allennlp.nn.util import dist_reduce_sum
from allennlp.training.metrics import Metric
from torch import Tensor

from sledgehammer.calibration import BINS, bin_counts, error_from_bins


class AnswerStatistics(Metric):
    """Measure how accurate the answers are, which exits gave them, and what that cost.

    # Parameters

    exit_layers : `Sequence[int]`
        The layers with an exit, counted from 0.
    full_layers : `int`
        Layers of the full model, against which `layer_speedup` is computed.
    """

    def __init__(self, exit_layers: Sequence[int], full_layers: int) -> None:
        self.exit_layers = list(exit_layers)
        self.full_layers = full_layers
        self.reset()

    def reset(self) -> None:
        # Answers and correct answers of each exit; the bins of the calibration error.
        self._count = torch.zeros(len(self.exit_layers), dtype=torch.double)
        self._right = torch.zeros(len(self.exit_layers), dtype=torch.double)
        self._bins = torch.zeros(3, BINS, dtype=torch.double)

    def __call__(  # type: ignore[override]
        self, answered_by: Tensor, confidence: Tensor, correct: Tensor
    ) -> None:
        """Count answers.

        # Parameters

        answered_by : `Tensor`
            Shape (rows,), long: the position of the exit that answered.
        confidence : `Tensor`
            Shape (rows,), in [0, 1].
        correct : `Tensor`
            Shape (rows,), bool.
        """
        answered_by, confidence, correct = self.detach_tensors(answered_by, confidence, correct)
        exits = len(self.exit_layers)
        device = answered_by.device
        self._count = self._count.to(device) + _counts(answered_by, exits)
        self._right = self._right.to(device) + _counts(answered_by[correct], exits)
        self._bins = self._bins.to(device) + torch.stack(bin_counts(confidence, correct))

    def get_metric(self, reset: bool = False) -> Dict[str, float]:
        """Return `accuracy` and `layer_speedup`; with `reset` all that `details` returns.

        The speedup is a ratio of means, and left out if the lexical exit answered all rows.
        """
        if not reset:
            return self._summary()
        self._count, self._right = dist_reduce_sum(self._count), dist_reduce_sum(self._right)
        self._bins = dist_reduce_sum(self._bins)
        metrics = self.details()
        self.reset()
        return metrics

    def details(self) -> Dict[str, float]:
        """Return all figures, computed from this worker's counts; none before the first answer.

        They are `accuracy`, `layer_speedup`, `mean_exit_layer`, `calibration_error` (expected, of
        the answers given), and for each exit `share_at_exit_LAYER` and, if it gave an answer,
        `accuracy_at_exit_LAYER`.
        """
        metrics = self._summary()
        if not metrics:
            return metrics
        metrics["mean_exit_layer"] = self._mean_exit_layer()
        metrics["calibration_error"] = error_from_bins(*self._bins)
        total = float(self._count.sum())
        counts = zip(self.exit_layers, self._count.tolist(), self._right.tolist())
        for layer, answers, right in counts:
            metrics[f"share_at_exit_{layer}"] = answers / total
            if answers:
                metrics[f"accuracy_at_exit_{layer}"] = right / answers
        return metrics

    def _summary(self) -> Dict[str, float]:
        total = float(self._count.sum())
        if not total:
            return {}
        summary = {"accuracy": float(self._right.sum()) / total}
        if mean_layers := self._mean_exit_layer() + 1:
            summary["layer_speedup"] = self.full_layers / mean_layers
        return summary

    def _mean_exit_layer(self) -> float:
        layers = self._count.new_tensor(self.exit_layers)
        return float((layers * self._count).sum() / self._count.sum())


class ExitAccuracy(Metric):
    """Measure every exit's accuracy on all instances, for passes that run all exits.

    # Parameters

    exit_layers : `Sequence[int]`
        The layers with an exit, counted from 0.
    """

    def __init__(self, exit_layers: Sequence[int]) -> None:
        self.exit_layers = list(exit_layers)
        self.reset()

    def reset(self) -> None:
        self._right = torch.zeros(len(self.exit_layers), dtype=torch.double)
        self._count = 0

    def __call__(  # type: ignore[override]
        self, logits: Tensor, label: Tensor
    ) -> None:
        """Count correct answers, from logits (rows, exits, labels) and labels (rows,)."""
        logits, label = self.detach_tensors(logits, label)
        right = logits.argmax(dim=-1) == label[:, None]
        self._right = self._right.to(label.device) + right.sum(dim=0).double()
        self._count += len(label)

    def get_metric(self, reset: bool = False) -> Dict[str, float]:
        """Return `mean_exit_accuracy`; with `reset` also `exit_LAYER_accuracy` for each exit."""
        right, count = self._right, self._count
        if reset:
            right, count = dist_reduce_sum(right), dist_reduce_sum(count)
            self.reset()
        if not count:
            return {}
        accuracies = (right / count).tolist()
        metrics = {"mean_exit_accuracy": sum(accuracies) / len(accuracies)}
        if reset:
            for layer, accuracy in zip(self.exit_layers, accuracies):
                metrics[f"exit_{layer}_accuracy"] = accuracy
        return metrics


def _counts(positions: Tensor, size: int) -> Tensor:
    return torch.bincount(positions, minlength=size).double()
