"""Calibrate the model while it trains, and tell its objective how far the run has come."""

import logging
import os
from functools import partial
from typing import Any, Dict, List, Mapping, Optional

import torch
from allennlp.common.util import dump_metrics
from allennlp.data import TensorDict
from allennlp.training import GradientDescentTrainer
from allennlp.training.callbacks import TrainerCallback
from torch import Tensor

from sledgehammer.calibration import TEMPERATURE_BOUNDS, expected_calibration_error
from sledgehammer.model.metrics import AnswerStatistics
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.fingerprints import row_hashes
from sledgehammer.network.signals import SIGNALS
from sledgehammer.objectives.base import TrainingRun
from sledgehammer.training.distributed import gather_rows
from sledgehammer.training.lexical_exit import fit_before_training
from sledgehammer.training.rows import label_counts, rows_of
from sledgehammer.training.schedule import StagedTriangular

logger = logging.getLogger(__name__)


@TrainerCallback.register("sledgehammer_calibration")
class CalibrationCallback(TrainerCallback):
    """Fit the temperatures after every validation pass, and store them in the model.

    A lexical exit, if the model has one, is fitted to the training rows when the run begins; how
    much of its logits each other exit adds is fitted with the temperatures (`exit_LAYER_mixing`).

    The callback runs before the trainer saves the best weights, so the archive carries the
    temperatures of the best epoch. For each exit, `metrics.json` gets `exit_LAYER_temperature`,
    `exit_LAYER_ece_before` and `exit_LAYER_ece_after` (expected calibration error), under both
    `validation_` and `best_validation_`; the policy's figures there are those with the new
    temperatures. During the run, validation passes run all exits.

    It also remembers which rows the weights have learned from, and which rows fitted the
    temperatures (see `SeenRows`). That takes 8 bytes a text, and microseconds of a training step.
    """

    def __init__(self, serialization_dir: str) -> None:
        super().__init__(serialization_dir)
        self._logits: List[Tensor] = []
        self._signals: Dict[str, List[Tensor]] = {name: [] for name in SIGNALS}
        self._labels: List[Tensor] = []
        self._hashes: List[Tensor] = []
        self._learned: List[Tensor] = []  # fingerprints of the rows trained on since the last epoch

    def on_start(
        self, trainer: GradientDescentTrainer, is_primary: bool = True, **kwargs: Any
    ) -> None:
        super().on_start(trainer, is_primary, **kwargs)
        if self._model.lexical is not None and not self._model.lexical.is_fitted:
            fit_before_training(self._model, trainer)
        self._model.always_run_all_exits = True

    def on_batch(
        self,
        trainer: GradientDescentTrainer,
        batch_inputs: List[TensorDict],
        batch_outputs: List[Dict[str, Any]],
        batch_metrics: Dict[str, Any],
        epoch: int,
        batch_number: int,
        is_training: bool,
        is_primary: bool = True,
        batch_grad_norm: Optional[float] = None,
        **kwargs: Any,
    ) -> None:
        if is_training:
            self._learned += [row_hashes(inputs["tokens"]) for inputs in batch_inputs]  # type: ignore[arg-type]
            return
        for inputs, outputs in zip(batch_inputs, batch_outputs):
            self._logits.append(outputs["logits"].detach().float().cpu())
            for name in self._model.signals:
                self._signals[name].append(outputs[name].detach().cpu())
            label = inputs["label"]
            assert isinstance(label, Tensor)
            self._labels.append(label.cpu())
            self._hashes.append(row_hashes(inputs["tokens"]))  # type: ignore[arg-type]

    def on_epoch(
        self,
        trainer: GradientDescentTrainer,
        metrics: Dict[str, Any],
        epoch: int,
        is_primary: bool = True,
        **kwargs: Any,
    ) -> None:
        learned = torch.cat([torch.zeros(0, dtype=torch.long), *self._learned]).unique()
        self._model.seen.add_training_rows(gather_rows(learned))
        self._learned = []
        if not self._logits:
            return  # no validation pass in this epoch
        logits = gather_rows(torch.cat(self._logits))
        label = gather_rows(torch.cat(self._labels))
        hashes = gather_rows(torch.cat(self._hashes))
        signals = {n: gather_rows(torch.cat(self._signals.pop(n))) for n in self._model.signals}
        self._signals = {name: [] for name in SIGNALS}
        self._logits, self._labels, self._hashes = [], [], []
        figures = calibrate(self._model, logits, label, signals)
        self._model.seen.temperatures = hashes.to(self._model.temperatures.device)
        tracker = trainer._metric_tracker
        prefixes = ["validation_"] + ["best_validation_"] * tracker.is_best_so_far()
        for prefix in prefixes:
            _replace(metrics, figures, self._model.exit_layers, prefix)
        if tracker.is_best_so_far():
            # A recovered run takes what it reports about the best epoch from here.
            _replace(tracker.best_epoch_metrics, figures, self._model.exit_layers)
        if is_primary and self.serialization_dir:
            file_name = f"metrics_epoch_{epoch}.json"
            dump_metrics(os.path.join(self.serialization_dir, file_name), metrics)

    def on_end(self, trainer: GradientDescentTrainer, **kwargs: Any) -> None:  # type: ignore[override]
        self._model.always_run_all_exits = False

    @property
    def _model(self) -> MultiExitClassifier:
        return _model_of(self.trainer)


@TrainerCallback.register("sledgehammer_objective")
class ObjectiveCallback(TrainerCallback):
    """Tell the model's objective that a run begins, and how far it has come.

    With an objective in stages, early stopping counts within a stage: when validation has not
    improved for the trainer's `patience`, the next stage begins, and the best epoch, whose weights
    the archive gets, is one of the last stage. Where a model balances its classes, their rows are
    counted when the run begins. A learning rate that
    `sledgehammer_slanted_triangular` schedules starts anew in each stage.

    # Raises

    `ConfigurationError`, at the start of a run, if the objective does not fit the model or the
    number of epochs.
    """

    def __init__(self, serialization_dir: str) -> None:
        super().__init__(serialization_dir)
        self._steps = 0
        self._stages_ended = 0  # how many stages ended early

    def on_start(
        self, trainer: GradientDescentTrainer, is_primary: bool = True, **kwargs: Any
    ) -> None:
        super().on_start(trainer, is_primary, **kwargs)
        model = _model_of(trainer)
        if model.balances:
            model.balance(label_counts(trainer.data_loader))
        model.objective.check_epochs(trainer._num_epochs)
        model.objective.begin(self._described(trainer))
        model.objective.begin_step(self._steps)
        done = trainer._start_after_epochs_completed  # recovered: not 0
        if not done:
            _begin_schedule(trainer, model.objective.stage_epochs(trainer._num_epochs)[0])
        self._begin_epoch(trainer, done)

    def _described(self, trainer: GradientDescentTrainer) -> TrainingRun:
        model = _model_of(trainer)
        loaders = [trainer.data_loader, trainer._validation_data_loader]
        return TrainingRun(
            model.labels, model.network_layers, model.full_layers, self.serialization_dir,
            model.temperatures.device, rows=partial(rows_of, loaders),
        )  # fmt: skip

    def on_batch(self, trainer: GradientDescentTrainer, *args: Any, **kwargs: Any) -> None:
        if kwargs["is_training"]:
            self._steps += 1
            _model_of(trainer).objective.begin_step(self._steps)

    def on_epoch(self, trainer: GradientDescentTrainer, *args: Any, **kwargs: Any) -> None:
        objective, tracker = _model_of(trainer).objective, trainer._metric_tracker
        before = objective.stage
        if tracker.should_stop_early() and objective.end_stage():
            self._stages_ended = objective.stage
        self._begin_epoch(trainer, kwargs["epoch"] + 1)
        if objective.stage != before:
            # Losses and accuracies of another stage are no measure for this one. The tracker still
            # says whether the last epoch was the best, as its weights have not been saved yet.
            tracker._best_so_far = None
            tracker._epochs_with_no_improvement = 0
            _begin_schedule(trainer, trainer._num_epochs - (kwargs["epoch"] + 1))

    def _begin_epoch(self, trainer: GradientDescentTrainer, done: int) -> None:
        model = _model_of(trainer)
        model.objective.begin_epoch(min(done / trainer._num_epochs, 1.0))
        while model.objective.stage < self._stages_ended and model.objective.end_stage():
            pass
        for weight in model.parameters():
            # Old optimizers set gradients to zero instead: then a frozen weight would go on moving
            # by its momentum.
            weight.grad = None

    def state_dict(self) -> Dict[str, Any]:
        return {"steps": self._steps, "stages_ended": self._stages_ended}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        # Checkpoints of older versions have neither.
        self._steps = state_dict.get("steps", 0)
        self._stages_ended = state_dict.get("stages_ended", 0)


def _begin_schedule(trainer: GradientDescentTrainer, epochs: int) -> None:
    """Start the learning rate's schedule anew for a stage of so many epochs, if it can do that."""
    scheduler = trainer._learning_rate_scheduler
    if epochs and isinstance(scheduler, StagedTriangular):
        scheduler.begin_stage(epochs, trainer._total_batches_completed)


def _model_of(trainer: Optional[GradientDescentTrainer]) -> MultiExitClassifier:
    assert trainer is not None, "training has not begun"
    model = trainer.model
    assert isinstance(model, MultiExitClassifier), "this callback is for sledgehammer models"
    return model


def calibrate(
    model: MultiExitClassifier,
    logits: Tensor,
    label: Tensor,
    signals: Optional[Mapping[str, Tensor]] = None,
) -> Dict[str, float]:
    """Fit the model's temperatures and mixing, and its table of shares, to logits of all exits.

    # Parameters

    model : `MultiExitClassifier`
    logits : `Tensor`
        Shape (rows, exits, labels), uncalibrated, on the CPU.
    label : `Tensor`
        Shape (rows,), on the CPU.
    signals : `Mapping[str, Tensor]`, optional
        The model's signals for these rows, on the CPU, by name.

    # Returns

    Temperature and expected calibration error of each exit, and the policy's figures, by name.
    """
    model.scalings = model.fit_scalings(logits, label)
    device = model.temperatures.device
    model.measure_shares(logits.to(device))
    answers = model.answer(logits.to(device), signals=signals)
    confidence, predicted = answers.probs.cpu().max(dim=-1)
    statistics = AnswerStatistics(model.exit_layers, model.full_layers)
    statistics(answers.exit.cpu(), confidence, predicted == label)
    return {**_exit_figures(model, logits, label), **statistics.details()}


def _exit_figures(model: MultiExitClassifier, logits: Tensor, label: Tensor) -> Dict[str, float]:
    """Return temperature, mixing and calibration errors of each exit of a calibrated model.

    Warn of exits that have learned nothing.
    """
    figures: Dict[str, float] = {}
    probs = {"before": torch.softmax(logits, dim=-1), "after": model.calibrated(logits)}
    for position, (layer, (temperature, mixing)) in enumerate(
        zip(model.exit_layers, model.scalings)
    ):
        if temperature >= 0.99 * TEMPERATURE_BOUNDS[1]:
            logger.warning(
                "The exit at layer %d has learned nothing yet: its temperature is at "
                "the upper bound, %.1f.",
                layer,
                TEMPERATURE_BOUNDS[1],
            )
        figures[f"exit_{layer}_temperature"] = temperature
        if model.lexical is not None:
            figures[f"exit_{layer}_mixing"] = mixing
        for when, all_probs in probs.items():
            confidence, predicted = all_probs[:, position].max(dim=-1)
            error = expected_calibration_error(confidence, predicted == label)
            figures[f"exit_{layer}_ece_{when}"] = error
    return figures


def _replace(
    metrics: Dict[str, Any], figures: Dict[str, float], exit_layers: List[int], prefix: str = ""
) -> None:
    """Replace the uncalibrated figures among the metrics by the calibrated ones."""
    for layer in exit_layers:
        # An exit that now answers nothing has no accuracy: the old one must not stay.
        metrics.pop(f"{prefix}accuracy_at_exit_{layer}", None)
    metrics.update({f"{prefix}{name}": value for name, value in figures.items()})
