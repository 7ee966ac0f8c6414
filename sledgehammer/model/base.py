"""What all classifiers with several exits share: the pass over a batch, answers and metrics."""

import math
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, Optional, Protocol, Sequence, Union

import numpy as np
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.models import Model
from torch import Tensor

from sledgehammer.calibration import Scaling, fit_scalings, fit_temperatures, mixed
from sledgehammer.lexical import Pieces
from sledgehammer.model.fingerprint import fingerprint
from sledgehammer.model.fitted_rows import PURPOSES, SeenRows
from sledgehammer.model.lexical import LexicalExit
from sledgehammer.model.metrics import AnswerStatistics, ExitAccuracy
from sledgehammer.model.policy_config import configuration_errors
from sledgehammer.network.encoder import TokenTensors
from sledgehammer.network.runner import Answers, GradientFlow, LexicalLogits
from sledgehammer.network.signals import (
    CERTAINTY,
    DEPTH,
    SIGNALS,
    AllExits,
    beside_lexical,
    rows_of,
    signal_loss,
)
from sledgehammer.objectives import UNLABELLED, ExitBatch, ExitObjective, JointObjective
from sledgehammer.policies import (
    Choice,
    Conditions,
    ConfidencePolicy,
    Evidence,
    ExitPolicy,
    Exits,
    RowSettings,
    exit_shares,
    known_shares,
    unknown_shares,
)


class Runner(Protocol):
    """Runs a batch up to all exits, or each row until its answer."""

    def run_all_exits(
        self, tokens: TokenTensors, gradients: GradientFlow = GradientFlow.ALL
    ) -> AllExits:
        """What every exit of the network says of every row, and how far gradients flow back."""

    def run_until_answered(
        self,
        tokens: TokenTensors,
        temperatures: Tensor,
        policy: ExitPolicy,
        settings: Optional[RowSettings] = None,
        lexical: Optional[LexicalLogits] = None,
    ) -> Answers:
        """Run each row until `policy` lets it exit; the last exit answers the rest."""


class ExitClassifier(Model):
    """A classifier with several exits, whatever computes them.

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
        The learned signals that the model gives, for policies that go by them.
    lexical : `LexicalExit`, optional
        An exit before the first layer: then it is the model's first exit, at the layer -1.

    # Raises

    `ConfigurationError` if the policy needs what the model does not have.
    """

    default_predictor = "sledgehammer"

    temperatures: Tensor
    """Shape (exits,): a buffer, so that weights and archives carry it."""

    mixing: Tensor
    """Shape (exits,): how much of the lexical exit's logits each exit adds to its own; a buffer
    that is stored where there is a lexical exit, and else zeros."""

    exit_shares: Tensor
    """Where rows stop at which threshold (see `policies.exit_shares`): a buffer too."""

    runner: Runner
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
        super().__init__(vocab, **kwargs)
        self.network_layers = list(exit_layers)
        """Those of the network's exits."""
        self.lexical = lexical
        exit_layers = self.network_layers if lexical is None else [-1, *exit_layers]
        self.exit_layers = list(exit_layers)
        """Those of all exits: the lexical exit, if there is one, is the first, at -1."""
        self.full_layers = full_layers
        self.objective = objective or JointObjective()
        self.label_namespace = label_namespace
        self.signals = list(signals)
        self.register_buffer("temperatures", torch.ones(len(exit_layers)))
        zeros = torch.zeros(len(exit_layers))
        self.register_buffer("mixing", zeros, persistent=lexical is not None)
        # Before calibration it has the same shape, so that any weights can be loaded.
        self.register_buffer("exit_shares", torch.from_numpy(unknown_shares(len(exit_layers))))
        self._register_load_state_dict_pre_hook(self._adopt_shares)
        self.policy = policy or ConfidencePolicy()
        # Looked up for every answer, so on the model's device; archives need not carry them.
        layers = torch.tensor(self.exit_layers)
        self.register_buffer("_layer_of_exit", layers, persistent=False)
        self.register_buffer("_speedup_of_exit", full_layers / (layers + 1), persistent=False)
        self.seen = SeenRows()
        # All workers of a distributed run remember the same rows: no step need send them around.
        alike = [f"seen.{name}" for name in PURPOSES]
        # And they fit the same lexical exit.
        alike += [f"lexical.{name}" for name in ("table", "bias", "space")]
        self._ddp_params_and_buffers_to_ignore = alike
        self.choice: Optional[Choice] = None
        """What the policy's setting was chosen for, if that is known."""
        self.always_run_all_exits = False
        """Whether passes outside of training mode run all exits too; a trainer callback sets it
        for as long as a training run lasts."""
        self._statistics = AnswerStatistics(exit_layers, full_layers)
        self._exit_accuracy = ExitAccuracy(exit_layers)

    @property
    def policy(self) -> ExitPolicy:
        """When rows stop; a policy that is set is bound to this model.

        # Raises

        `ConfigurationError` when it is set, if it needs what this model does not have.
        """
        return self._policy

    @policy.setter
    def policy(self, policy: ExitPolicy) -> None:
        self._bind(policy, self.exit_shares)
        self._policy = policy

    @contextmanager
    def deciding_by(self, policy: ExitPolicy) -> Iterator[None]:
        """Let another policy, which is bound to this model, decide inside of the block."""
        before, self._policy = self._policy, policy
        try:
            yield
        finally:
            self._policy = before

    def measure_shares(self, logits: Tensor) -> None:
        """Keep where rows stop at which threshold, for the policies that ask.

        # Parameters

        logits : `Tensor`
            Shape (rows, exits, labels), uncalibrated: those of calibration data.
        """
        self.store_shares(exit_shares(self.calibrated(logits).cpu().numpy()))

    def store_shares(self, shares: np.ndarray) -> None:
        """Keep what `policies.exit_shares` made of calibration data."""
        self.exit_shares.copy_(torch.from_numpy(shares))
        self._bind(self.policy, self.exit_shares)

    def shares_on_host(self) -> Optional[np.ndarray]:
        """What `store_shares` was given, if it was."""
        return known_shares(self.exit_shares.cpu().numpy())

    def _bind(self, policy: ExitPolicy, shares: Tensor) -> None:
        with configuration_errors():
            policy.bind(Exits(self.exit_layers, self.signals, known_shares(shares.cpu().numpy())))

    def _adopt_shares(self, state_dict: Dict[str, Any], prefix: str, *_: Any) -> None:
        """Archives of older versions have none; those without a lexical exit can get one."""
        if self.lexical is not None:
            state_dict.setdefault(prefix + "mixing", self.mixing)
            stored = state_dict.get(prefix + "temperatures")
            if stored is not None and len(stored) == len(self.network_layers):
                state_dict[prefix + "temperatures"] = torch.cat([stored.new_ones(1), stored])
                state_dict[prefix + "exit_shares"] = torch.zeros_like(self.exit_shares)
        self._bind(self.policy, state_dict.setdefault(prefix + "exit_shares", self.exit_shares))

    @property
    def labels(self) -> List[str]:
        """The names of the labels, by index."""
        names = self.vocab.get_index_to_token_vocabulary(self.label_namespace)
        return [names[index] for index in range(len(names))]

    def use_number_format(self, dtype: str) -> None:
        """Compute in this number format from now on, other than in training mode.

        # Parameters

        dtype : `str`
            `float32`, `bfloat16` or `float16`.

        # Raises

        `ConfigurationError` for another one, or if the model has but one.
        """
        raise ConfigurationError(f"a {type(self).__name__} has one number format, not {dtype!r}")

    @property
    def number_format(self) -> str:
        """The number format in which rows are answered."""
        return "float32"

    def weights_fingerprint(self) -> str:
        """Return a short text that is another one for other weights; empty if that is unknown."""
        return fingerprint(self)

    def conditions(self) -> Conditions:
        """Return what a choice of the policy's setting depends on, as it is now."""
        return Conditions(
            self.policy.config(),
            self.temperatures.tolist(),
            self.number_format,
            self.weights_fingerprint(),
            [] if self.lexical is None else self.mixing.tolist(),
        )

    def choice_problem(self) -> Optional[str]:
        """Return what to say if the policy's setting was chosen for something else."""
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
            Of one row each, in place of the policy's own.
        pieces : `Sequence[Pieces]`, optional
            The word pieces of the whole texts, for the lexical exit; readers with
            `"lexical": true` give them.

        # Returns

        `probs` (rows, labels), calibrated; `confidence`, `exit_layer`, `layers_run` and
        `layer_speedup` (infinite where no layer was run), each (rows,); `loss` if there are
        labels: the objective's, and that of the signals, where all exits run, else the mean
        negative log-likelihood of the answers. Where all exits run also `logits` (rows, exits,
        labels), uncalibrated, and the signals that the model has (see `AllExits`).

        # Raises

        `ConfigurationError` if there is a lexical exit and no `pieces`, or it has not been fitted.
        """
        output: Dict[str, Any] = {}
        own = None if settings is None else RowSettings.join(settings)
        if self.training or self.always_run_all_exits:
            network = self.runner.run_all_exits(tokens, self.objective.gradients)
            found = self.with_lexical(network, pieces)
            answers = self.answer(found.logits.detach(), own, found.signals)
            output.update(logits=found.logits, **found.signals)
            if label is not None:
                output["loss"] = self.loss_of(network, tokens, label)
                known = self._labelled(label)
                self._exit_accuracy(found.logits[known], label[known])
        else:
            if unready := self.policy.unready():
                raise ConfigurationError(unready)
            lexical = None
            if self.lexical is not None:
                lexical = LexicalLogits(self.lexical.logits(pieces), self.mixing)
            answers = self.runner.run_until_answered(
                tokens, self.temperatures, self.policy, own, lexical
            )
            if label is not None:
                # A probability may be too small for float32: the loss stays a number.
                smallest = torch.finfo(answers.probs.dtype).tiny
                log_probs = answers.probs.clamp(min=smallest).log()
                output["loss"] = torch.nn.functional.nll_loss(log_probs, label)
        output.update(self._describe(answers))
        if label is not None:
            known = self._labelled(label)
            correct = answers.probs.argmax(dim=-1) == label
            self._statistics(answers.exit[known], output["confidence"][known], correct[known])
        return output

    def loss_of(self, network: AllExits, tokens: TokenTensors, label: Tensor) -> Tensor:
        """Return what the network has to learn from a batch: the objective's loss, and the signals'.

        # Parameters

        network : `AllExits`
            What the network's exits say of the rows.
        tokens : `TokenTensors`
        label : `Tensor`
            Shape (rows,); `UNLABELLED` for a row without one.
        """
        batch = ExitBatch(network.logits, label, tokens, self.network_layers, self.training)
        loss = self.objective.loss(batch)
        known = self._labelled(label)
        if network.signals:
            loss = loss + signal_loss(rows_of(network, known), label[known])
        return loss

    def with_lexical(self, network: AllExits, pieces: Optional[Sequence[Pieces]]) -> AllExits:
        """Put what the lexical exit, if there is one, says before what the network's exits say.

        # Parameters

        network : `AllExits`
        pieces : `Sequence[Pieces]`, optional
            The word pieces of the rows' whole texts.
        """
        if self.lexical is None:
            return network
        lexical = self.lexical.logits(pieces)
        logits = torch.cat([lexical.to(network.logits)[:, None], network.logits], dim=1)
        signals = dict(network.signals)
        if DEPTH in signals:
            signals[DEPTH] = beside_lexical(signals[DEPTH])
        if CERTAINTY in signals:
            sure = self.calibrated(logits.detach())[:, :1].amax(dim=-1)
            signals[CERTAINTY] = torch.cat([sure, signals[CERTAINTY]], dim=1)
        return AllExits(logits, signals)

    def _labelled(self, label: Tensor) -> Union[Tensor, slice]:
        # Only training has rows without a label; to pick rows, a GPU must be waited for.
        return label != UNLABELLED if self.training else slice(None)

    def answer(
        self,
        logits: Tensor,
        settings: Optional[RowSettings] = None,
        signals: Optional[Mapping[str, Tensor]] = None,
    ) -> Answers:
        """What the policy would have answered, given the logits of all exits.

        # Parameters

        logits : `Tensor`
            Shape (rows, exits, labels), uncalibrated.
        settings : `RowSettings`, optional
            In place of the policy's own; arrays of shape (rows,) where rows have their own.
        signals : `Mapping[str, Tensor]`, optional
            Those of `AllExits`, if the policy needs some.
        """
        probs = self.calibrated(logits)
        arrays = {n: signal.detach().cpu().numpy() for n, signal in (signals or {}).items()}
        evidence = Evidence(probs.detach().cpu().numpy(), arrays)
        positions = self.policy.replay(evidence, settings)
        answered_by = torch.from_numpy(positions).to(probs.device)
        rows = torch.arange(len(probs), device=probs.device)
        return Answers(answered_by, probs[rows, answered_by])

    def calibrated(self, logits: Tensor) -> Tensor:
        """Probabilities of (rows, exits, labels) logits, each exit scaled and mixed by its own."""
        return torch.softmax(self.scaled(logits), dim=-1)

    def scaled(self, logits: Tensor) -> Tensor:
        """Return (rows, exits, labels) logits as calibration scales and mixes them."""
        logits = logits.float()
        if self.lexical is not None:
            logits = mixed(logits, self.mixing.to(logits.device))
        return logits / self.temperatures.to(logits.device)[:, None]

    @property
    def scalings(self) -> List[Scaling]:
        """How each exit's logits become probabilities."""
        return [Scaling(*both) for both in zip(self.temperatures.tolist(), self.mixing.tolist())]

    @scalings.setter
    def scalings(self, scalings: Sequence[Scaling]) -> None:
        self.temperatures.copy_(torch.tensor([scaling.temperature for scaling in scalings]))
        self.mixing.copy_(torch.tensor([scaling.mixing for scaling in scalings]))

    def fit_scalings(self, logits: Tensor, label: Tensor) -> List[Scaling]:
        """Return the scaling of each exit that fits some rows best; the model stays as it is.

        # Parameters

        logits : `Tensor`
            Shape (rows, exits, labels), uncalibrated.
        label : `Tensor`
            Shape (rows,), long.
        """
        if self.lexical is not None and self.lexical.mix:
            return fit_scalings(logits, label)
        return [Scaling(temperature, 0.0) for temperature in fit_temperatures(logits, label)]

    def make_output_human_readable(self, output_dict: Dict[str, Any]) -> Dict[str, Any]:
        """Add `label`, and give `probs` by label name. What is not a row's own is left out."""
        names = self.labels
        probs = output_dict["probs"].tolist()
        readable = {k: v for k, v in output_dict.items() if k not in ("loss", "logits", *SIGNALS)}
        readable["probs"] = [{names[i]: p for i, p in enumerate(row)} for row in probs]
        readable["label"] = [names[row.index(max(row))] for row in probs]
        if self.lexical is not None:
            # No number says how many times faster no layer is than some.
            speedups = readable["layer_speedup"].tolist()
            readable["layer_speedup"] = [None if math.isinf(s) else s for s in speedups]
        return readable

    def get_metrics(self, reset: bool = False) -> Dict[str, float]:
        return {**self._statistics.get_metric(reset), **self._exit_accuracy.get_metric(reset)}

    def _get_prediction_device(self) -> int:
        # AllenNLP's own looks at every parameter, for every batch: a tenth of a short text's time.
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
