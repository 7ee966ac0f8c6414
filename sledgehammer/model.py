"""The AllenNLP model: one encoder, several exits."""

from typing import Any, Dict, List, Optional, Sequence

import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.models import Model
from torch import Tensor

from sledgehammer import pretrained
from sledgehammer.early_exit import Answers, LayerwiseRunner, Pooling
from sledgehammer.encoder import LayeredEncoder, TokenTensors, check_supported, mean_pool
from sledgehammer.exits import ExitHead
from sledgehammer.metrics import AnswerStatistics, ExitAccuracy
from sledgehammer.objectives import ExitObjective, JointObjective
from sledgehammer.policies import ConfidencePolicy, ExitPolicy
from sledgehammer.seen import SeenRows


@Model.register("sledgehammer")
class MultiExitClassifier(Model):
    """A transformer classifier with several exits (Schwartz et al., ACL 2020).

    In training, and in the trainer's validation passes, all exits run. Otherwise (evaluation,
    prediction) each row stops at the exit that the policy chooses.

    # Parameters

    vocab : `Vocabulary`
    exit_layers : `Sequence[int]`
        The layers, counted from 0, after which an exit stands: strictly increasing. Layers above
        the last one are dropped, so `[23]` is the standard 24-layer baseline and `[12]` an
        efficient one.
    model_name : `str`, optional
        Hub name, local folder or `package:NAME/PATH`. In a training run it is the dataset
        reader's; a model built elsewhere needs it.
    pooling : `str`, optional (default = `"first"`)
        How a layer's states become one vector: `first` (first token, through the transformer's
        own pooler, as in the paper) or `mean` (over the real tokens).
    dropout : `float`, optional (default = `0.1`)
        Before each exit's linear map.
    objective : `ExitObjective`, optional (default = `joint`)
    policy : `ExitPolicy`, optional (default = `confidence`)
    label_namespace : `str`, optional (default = `"labels"`)
    pretrained_weights : `bool`, optional (default = `True`)
        Whether to start from pretrained weights. Loading an archive never does.

    # Raises

    `ConfigurationError` for exit layers that are empty, unordered or outside of the model, an
    unknown pooling, an unsupported transformer.
    """

    default_predictor = "sledgehammer"

    temperatures: Tensor
    """Shape (exits,): a buffer, so that weights and archives carry it."""

    def __init__(
        self,
        vocab: Vocabulary,
        exit_layers: Sequence[int],  # AllenNLP would turn a List's `true` into layer 1
        model_name: Optional[str] = None,
        pooling: str = "first",
        dropout: float = 0.1,
        objective: Optional[ExitObjective] = None,
        policy: Optional[ExitPolicy] = None,
        label_namespace: str = "labels",
        pretrained_weights: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(vocab, **kwargs)
        self.objective = objective or JointObjective()
        self.policy = policy or ConfidencePolicy()
        self.label_namespace = label_namespace
        self.encoder = _build_encoder(
            model_name, exit_layers, self.serialization_dir, pretrained_weights, pooling
        )
        self.exit_layers = list(exit_layers)
        exits = [
            ExitHead(
                layer, self.encoder.hidden_size, vocab.get_vocab_size(label_namespace), dropout
            )
            for layer in exit_layers
        ]
        self.exits = torch.nn.ModuleList(exits)
        self.register_buffer("temperatures", torch.ones(len(exit_layers)))
        self.seen = SeenRows()
        pool: Pooling = mean_pool if pooling == "mean" else self.encoder.pool_first
        self._runner = LayerwiseRunner(self.encoder, pool, exits)
        self.always_run_all_exits = False
        """Whether passes outside of training mode run all exits too; a trainer callback sets it
        for as long as a training run lasts."""
        self._statistics = AnswerStatistics(exit_layers, self.encoder.full_layers)
        self._exit_accuracy = ExitAccuracy(exit_layers)

    def forward(
        self,
        tokens: TokenTensors,
        label: Optional[Tensor] = None,
        metadata: Optional[List[Dict[str, Any]]] = None,
        threshold: Optional[Tensor] = None,
    ) -> Dict[str, Any]:
        """Classify a batch.

        # Parameters

        tokens : `TokenTensors`
            From a `TransformerTextField`; each tensor of shape (rows, tokens).
        label : `Tensor`, optional
            Shape (rows,).
        metadata : `List[Dict[str, Any]]`, optional
            Ignored.
        threshold : `Tensor`, optional
            Shape (rows,): thresholds of single rows, in place of the policy's own.

        # Returns

        `probs` (rows, labels), calibrated; `confidence`, `exit_layer`, `layers_run` and
        `layer_speedup`, each (rows,); `loss` if there are labels: the objective's where all
        exits run, else the mean negative log-likelihood of the answers. Where all exits run also
        `logits` (rows, exits, labels), uncalibrated.
        """
        output: Dict[str, Any] = {}
        if self.training or self.always_run_all_exits:
            logits = self._runner.run_all_exits(tokens)
            answers = self.answer(logits.detach(), threshold)
            output["logits"] = logits
            if label is not None:
                output["loss"] = self.objective.loss(logits, label, self.training)
                self._exit_accuracy(logits, label)
        else:
            answers = self._runner.run_until_answered(
                tokens, self.temperatures, self.policy, threshold
            )
            if label is not None:
                # A probability may be too small for float32: the loss stays a number.
                smallest = torch.finfo(answers.probs.dtype).tiny
                log_probs = answers.probs.clamp(min=smallest).log()
                output["loss"] = torch.nn.functional.nll_loss(log_probs, label)
        output.update(self._describe(answers))
        if label is not None:
            correct = answers.probs.argmax(dim=-1) == label
            self._statistics(answers.exit, output["confidence"], correct)
        return output

    def answer(self, logits: Tensor, threshold: Optional[Tensor] = None) -> Answers:
        """What the policy would have answered, given the logits of all exits.

        # Parameters

        logits : `Tensor`
            Shape (rows, exits, labels), uncalibrated.
        threshold : `Tensor`, optional
            Shape (rows,).
        """
        probs = self.calibrated(logits)
        answered_by = self.policy.replay(probs, threshold)
        rows = torch.arange(len(probs), device=probs.device)
        return Answers(answered_by, probs[rows, answered_by])

    def calibrated(self, logits: Tensor) -> Tensor:
        """Probabilities of (rows, exits, labels) logits, each exit at its temperature."""
        temperatures = self.temperatures.to(logits.device)
        return torch.softmax(logits.float() / temperatures[:, None], dim=-1)

    def make_output_human_readable(self, output_dict: Dict[str, Any]) -> Dict[str, Any]:
        """Add `label`, and give `probs` by label name. What is not a row's own is left out."""
        names = self.vocab.get_index_to_token_vocabulary(self.label_namespace)
        probs = output_dict["probs"].tolist()
        readable = {k: v for k, v in output_dict.items() if k not in ("loss", "logits")}
        readable["probs"] = [{names[i]: p for i, p in enumerate(row)} for row in probs]
        readable["label"] = [names[row.index(max(row))] for row in probs]
        return readable

    def get_metrics(self, reset: bool = False) -> Dict[str, float]:
        return {**self._statistics.get_metric(reset), **self._exit_accuracy.get_metric(reset)}

    def _describe(self, answers: Answers) -> Dict[str, Tensor]:
        exit_layer = torch.tensor(self.exit_layers, device=answers.exit.device)[answers.exit]
        return {
            "probs": answers.probs,
            "confidence": answers.probs.max(dim=-1).values,
            "exit_layer": exit_layer,
            "layers_run": exit_layer + 1,
            "layer_speedup": self.encoder.full_layers / (exit_layer + 1),
        }

    @classmethod
    def _load(cls, config: Params, *args: Any, **kwargs: Any) -> "Model":
        # The archive has the weights: the pretrained ones need not even be reachable.
        config["model"]["pretrained_weights"] = False
        return super()._load(config, *args, **kwargs)


def _build_encoder(
    model_name: Optional[str],
    exit_layers: Sequence[int],
    directory: Optional[str],
    pretrained_weights: bool,
    pooling: str,
) -> LayeredEncoder:
    if pooling not in ("first", "mean"):
        raise ConfigurationError(f"pooling must be 'first' or 'mean', got {pooling!r}")
    config = pretrained.load_config(model_name, directory)
    check_supported(config)
    full_layers = config.num_hidden_layers
    check_exit_layers(exit_layers, full_layers)
    num_layers = exit_layers[-1] + 1
    config.num_hidden_layers = num_layers
    if pretrained_weights:
        source = model_name or pretrained.snapshot_source(directory)
        assert source is not None
        transformer = pretrained.load_transformer(source, config)
    else:
        transformer = pretrained.empty_transformer(config)
    return LayeredEncoder(transformer, num_layers, full_layers, keep_pooler=pooling == "first")


def check_exit_layers(exit_layers: Sequence[int], full_layers: int) -> None:
    """Raise a `ConfigurationError` unless the layers are some of the model's, in order."""
    valid = f"strictly increasing layers between 0 and {full_layers - 1}"
    if not isinstance(exit_layers, (list, tuple)):
        raise ConfigurationError(f"exit_layers must be a list: {valid}, got {exit_layers!r}")
    if not exit_layers:
        raise ConfigurationError(f"exit_layers is empty: give {valid}")
    if not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in exit_layers):
        raise ConfigurationError(f"exit_layers must be {valid}, got {exit_layers}")
    increasing = all(low < high for low, high in zip(exit_layers, exit_layers[1:]))
    if not increasing or exit_layers[0] < 0 or exit_layers[-1] >= full_layers:
        raise ConfigurationError(f"exit_layers must be {valid}, got {exit_layers}")
