"""Classify batches with several exits: the pass over a batch, its answers and its metrics."""

import math
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from torch import Tensor

from sledgehammer.lexical import Pieces
from sledgehammer.model.calibrated import CalibratedModel
from sledgehammer.model.fingerprint import fingerprint
from sledgehammer.model.fitted_rows import PURPOSES, SeenRows
from sledgehammer.model.lexical import LexicalExit
from sledgehammer.model.metrics import AnswerStatistics, ExitAccuracy
from sledgehammer.network.families import TokenTensors
from sledgehammer.network.runner import Answers, LexicalLogits, NetworkRunner
from sledgehammer.network.signals import SIGNALS, AllExits, signal_loss
from sledgehammer.objectives import UNLABELLED, ExitBatch, ExitObjective, JointObjective
from sledgehammer.policies import Choice, Conditions, ConfidencePolicy, ExitPolicy, RowSettings

_SAME_IN_ALL_WORKERS = (
    *(f"seen.{purpose}" for purpose in PURPOSES),
    *(f"lexical.{name}" for name in ("table", "bias", "space")),
)
"""Buffers that a distributed run need not send around at each step: all its workers remember the
same rows, and fit the same lexical exit."""


class ExitClassifier(CalibratedModel):
    """Classify with several exits, whatever computes them.

    In training, and in the trainer's validation passes, all exits run. Otherwise (evaluation,
    prediction) each row stops at the exit that the policy chooses.

    # Parameters

    vocab : `Vocabulary`
    exit_layers : `Sequence[int]`
        The layers, counted from 0, after which an exit stands.
    full_layers : `int`
        Layers of the full model, to which a speedup refers.
    objective : `ExitObjective`, optional (default = `joint`)
    policy : `ExitPolicy`, optional (default = `confidence`)
    label_namespace : `str`, optional (default = `"labels"`)
    signals : `Sequence[str]`, optional
        The learned signals that the model computes, for policies that need them.
    lexical : `LexicalExit`, optional
        An exit before the first layer: then it is the model's first exit, at the layer -1.

    # Raises

    `ConfigurationError` if the policy needs what the model does not have.
    """

    default_predictor = "sledgehammer"

    class_weights: Optional[Tensor]
    """Shape (labels,): how much the rows of each label count in training; all alike if `None`."""

    runner: NetworkRunner
    """Set by the subclass."""

    _layer_of_exit: Tensor
    _speedup_of_exit: Tensor

    def __init__(
        self,
        vocab: Vocabulary,
        exit_layers: Sequence[int],
        full_layers: int,
        objective: Optional[ExitObjective] = None,
        policy: Optional[ExitPolicy] = None,
        label_namespace: str = "labels",
        signals: Sequence[str] = (),
        lexical: Optional[LexicalExit] = None,
        **kwargs: Any,
    ) -> None:
        policy = policy or ConfidencePolicy()
        super().__init__(vocab, exit_layers, policy, label_namespace, signals, lexical, **kwargs)
        self.full_layers = full_layers
        self.objective = objective or JointObjective()
        # Looked up for every answer, so on the model's device; archives need not carry them.
        layers = torch.tensor(self.exit_layers)
        self.register_buffer("_layer_of_exit", layers, persistent=False)
        self.register_buffer("_speedup_of_exit", full_layers / (layers + 1), persistent=False)
        self.seen = SeenRows()
        self._ddp_params_and_buffers_to_ignore = list(_SAME_IN_ALL_WORKERS)
        self.choice: Optional[Choice] = None
        """What the policy's setting was chosen for, if that is known."""
        self.always_run_all_exits = False
        """Whether passes outside of training mode run all exits too; a trainer callback sets it
        for as long as a training run lasts."""
        # Only training asks for it, and each run sets it anew: archives need not carry it.
        self.register_buffer("class_weights", None, persistent=False)
        self._statistics = AnswerStatistics(self.exit_layers, full_layers)
        self._exit_accuracy = ExitAccuracy(self.exit_layers)

    def use_number_format(self, dtype: str) -> None:
        """Compute in this number format from now on, other than in training mode.

        # Parameters

        dtype : `str`
            `float32`, `bfloat16` or `float16`.

        # Raises

        `ConfigurationError` for an unknown format, or if the model has only one.
        """
        raise ConfigurationError(f"a {type(self).__name__} has one number format, not {dtype!r}")

    @property
    def number_format(self) -> str:
        """Return the number format in which rows are answered."""
        return "float32"

    def weights_fingerprint(self) -> str:
        """Return a string that changes with the weights; an empty one if it is not known."""
        return fingerprint(self)

    def conditions(self) -> Conditions:
        """Return the conditions under which a setting that is chosen now will hold."""
        return Conditions(
            self.policy.config(),
            self.temperatures.tolist(),
            self.number_format,
            self.weights_fingerprint(),
            [] if self.lexical is None else self.mixing.tolist(),
        )

    def choice_problem(self) -> Optional[str]:
        """Return a warning if the policy's setting was chosen under other conditions."""
        return None if self.choice is None else self.choice.problem(self.conditions())

    def forward(
        self,
        tokens: TokenTensors,
        label: Optional[Tensor] = None,
        metadata: Optional[List[Dict[str, Any]]] = None,
        settings: Optional[Sequence[RowSettings]] = None,
        pieces: Optional[Sequence[Pieces]] = None,
    ) -> Dict[str, Any]:
        """Classify a batch.

        # Parameters

        tokens : `TokenTensors`
            From a `TransformerTextField`; each tensor of shape (rows, tokens).
        label : `Tensor`, optional
            Shape (rows,); `UNLABELLED` for a training row without one.
        metadata : `List[Dict[str, Any]]`, optional
            Ignored.
        settings : `Sequence[RowSettings]`, optional
            One for each row, in place of the policy's own.
        pieces : `Sequence[Pieces]`, optional
            The word pieces of the whole texts, for the lexical exit; readers with
            `"lexical": true` give them.

        # Returns

        `probs` (rows, labels), calibrated; `confidence`, `exit_layer`, `layers_run` and
        `layer_speedup` (infinite where no layer was run), each (rows,); `loss` if there are
        labels: what `loss_of` returns where all exits run, else the mean negative log-likelihood
        of the answers. Where all exits run also `logits` (rows, exits,
        labels), uncalibrated, and the signals that the model has (see `AllExits`).

        # Raises

        `ConfigurationError` if there is a lexical exit and no `pieces`, or it has not been fitted.
        """
        row_settings = None if settings is None else RowSettings.join(settings)
        if self.training or self.always_run_all_exits:
            output, answers = self._run_all_exits(tokens, label, row_settings, pieces)
        else:
            output, answers = self._run_until_answered(tokens, label, row_settings, pieces)
        output.update(self._describe(answers))
        if label is not None:
            rows = self._labelled(label)
            correct = answers.probs.argmax(dim=-1) == label
            self._statistics(answers.exit[rows], output["confidence"][rows], correct[rows])
        return output

    def _run_all_exits(
        self,
        tokens: TokenTensors,
        label: Optional[Tensor],
        settings: Optional[RowSettings],
        pieces: Optional[Sequence[Pieces]],
    ) -> Tuple[Dict[str, Any], Answers]:
        """Run all exits: what they say, with the loss, and what the policy answers by it."""
        network = self.runner.run_all_exits(tokens, self.objective.gradients)
        all_exits = self.with_lexical(network, pieces)
        answers = self.answer(all_exits.logits.detach(), settings, all_exits.signals)
        output: Dict[str, Any] = {"logits": all_exits.logits, **all_exits.signals}
        if label is not None:
            output["loss"] = self.loss_of(network, tokens, label)
            rows = self._labelled(label)
            self._exit_accuracy(all_exits.logits[rows], label[rows])
        return output, answers

    def _run_until_answered(
        self,
        tokens: TokenTensors,
        label: Optional[Tensor],
        settings: Optional[RowSettings],
        pieces: Optional[Sequence[Pieces]],
    ) -> Tuple[Dict[str, Any], Answers]:
        """Run each row until its answer: the loss of the answers, and the answers."""
        if unready := self.policy.unready():
            raise ConfigurationError(unready)
        lexical = None
        if self.lexical is not None:
            lexical = LexicalLogits(self.lexical.logits(pieces), self.mixing)
        answers = self.runner.run_until_answered(
            tokens, self.temperatures, self.policy, settings, lexical
        )
        if label is None:
            return {}, answers
        # A probability may be too small for float32: the loss stays a number.
        smallest = torch.finfo(answers.probs.dtype).tiny
        log_probs = answers.probs.clamp(min=smallest).log()
        return {"loss": torch.nn.functional.nll_loss(log_probs, label)}, answers

    def loss_of(self, network: AllExits, tokens: TokenTensors, label: Tensor) -> Tensor:
        """Return the loss of the objective and of the signals on a batch.

        # Parameters

        network : `AllExits`
            What the network's exits say of the rows.
        tokens : `TokenTensors`
        label : `Tensor`
            Shape (rows,); `UNLABELLED` for a row without one.
        """
        batch = ExitBatch(
            network.logits, label, tokens, self.network_layers, self.training, self.class_weights
        )
        loss = self.objective.loss(batch)
        if network.signals:
            rows = self._labelled(label)
            loss = loss + signal_loss(network.of_rows(rows), label[rows])
        return loss

    def _labelled(self, label: Tensor) -> Union[Tensor, slice]:
        """Return which rows have a label, as an index."""
        # Only training has rows without a label; to pick rows, a GPU must be waited for.
        return label != UNLABELLED if self.training else slice(None)

    def make_output_human_readable(self, output_dict: Dict[str, Any]) -> Dict[str, Any]:
        """Add `label`, turn `probs` into a dictionary by label, leave out all but the answers."""
        names = self.labels
        probs = output_dict["probs"].tolist()
        readable = {k: v for k, v in output_dict.items() if k not in ("loss", "logits", *SIGNALS)}
        readable["probs"] = [{names[i]: p for i, p in enumerate(row)} for row in probs]
        readable["label"] = [names[row.index(max(row))] for row in probs]
        if self.lexical is not None:
            # Running no layer at all is infinitely faster, for which JSON has no number.
            speedups = readable["layer_speedup"].tolist()
            readable["layer_speedup"] = [None if math.isinf(s) else s for s in speedups]
        return readable

    def get_metrics(self, reset: bool = False) -> Dict[str, float]:
        return {**self._statistics.get_metric(reset), **self._exit_accuracy.get_metric(reset)}

    def _get_prediction_device(self) -> int:
        # AllenNLP's method looks at every parameter, for every batch: a tenth of a short text's time.
        device = self.temperatures.device
        return (device.index or 0) if device.type == "cuda" else -1

    def _describe(self, answers: Answers) -> Dict[str, Tensor]:
        exit_layer = self._layer_of_exit.index_select(0, answers.exit)
        return {
            "probs": answers.probs,
            "confidence": answers.probs.amax(dim=-1),
            "exit_layer": exit_layer,
            "layers_run": exit_layer + 1,
            "layer_speedup": self._speedup_of_exit.index_select(0, answers.exit),
        }
