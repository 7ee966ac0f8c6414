"""Build the AllenNLP model: one encoder, several exits."""

from functools import partial
from typing import Any, Mapping, Optional, Sequence

import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.models import Model
from allennlp.nn import RegularizerApplicator
from allennlp.nn.parallel import DdpAccelerator
from torch import Tensor

from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.chosen_setting import with_choice
from sledgehammer.model.lexical import LexicalExit
from sledgehammer.model.policy_config import RegisteredPolicy
from sledgehammer.network import pretrained
from sledgehammer.network.encoder import LayeredEncoder, TokenTensors
from sledgehammer.network.exit_head import ExitHead
from sledgehammer.network.families import check_supported
from sledgehammer.network.precision import FormatRunner, checked_dtype
from sledgehammer.network.runner import LayerwiseRunner
from sledgehammer.network.signals import CERTAINTY, DEPTH, AllExits, DepthHead, checked_signals
from sledgehammer.objectives import ExitObjective
from sledgehammer.objectives.class_weights import AUTO, balanced, checked_weights

POOLINGS = ("first", "mean", "attention")


@Model.register("sledgehammer")
class MultiExitClassifier(ExitClassifier):
    """Classify with a transformer that has several exits (Schwartz et al., ACL 2020).

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
        own pooler, as in the paper), `mean` (over the real tokens) or `attention` (each exit's
        queries weigh the tokens of its layer, see `AttentionPooling`; mean of the layers below).
    queries : `int`, optional (default = `1`)
        With `attention`, how many queries an exit has. Each adds as many weights to an exit as a
        layer's state has numbers, and each but the first as many more for each label.
    dropout : `float`, optional (default = `0.1`)
        Before each exit's linear map.
    objective : `ExitObjective`, optional (default = `joint`)
    policy : `ExitPolicy`, optional (default = `confidence`)
    label_namespace : `str`, optional (default = `"labels"`)
    pretrained_weights : `bool`, optional (default = `True`)
        Whether to start from pretrained weights. Loading an archive never does.
    signals : `Sequence[str]`, optional (default = `()`)
        What policies that learn go by: `certainty` (how sure each exit is to be right), `depth`
        (which exit is predicted to be the first right one). Their heads learn beside the exits.
    inference_dtype : `str`, optional (default = `"float32"`)
        Number format of the layers in evaluation mode: `float32`, `bfloat16` or `float16`.
        Training, and the weights in an archive, are float32 all the same.
    lexical : `LexicalExit`, optional
        An exit before the first layer, a linear model on n-grams: `{}` with the default settings.
        The dataset reader needs `"lexical": true`.
    class_weights : `Union[str, Dict[str, float]]`, optional
        How much the rows of each label count in training: a map from label to weight, 1 for what it
        does not name, or `"auto"`, by which all labels count alike, however rare. The confidences
        fit the validation rows all the same: they are calibrated without weights.

    # Raises

    `ConfigurationError` for exit layers that are empty, unordered or outside of the model, an
    unknown pooling, signal or number format, a bad number of queries, an unsupported transformer,
    or weights of labels that the data do not have.
    """

    runner: FormatRunner

    def __init__(
        self,
        vocab: Vocabulary,
        exit_layers: Sequence[int],  # AllenNLP would turn a List's `true` into layer 1
        model_name: Optional[str] = None,
        pooling: str = "first",
        dropout: float = 0.1,
        objective: Optional[ExitObjective] = None,
        policy: Optional[RegisteredPolicy] = None,
        label_namespace: str = "labels",
        pretrained_weights: bool = True,
        signals: Sequence[str] = (),
        inference_dtype: Any = "float32",  # not str: AllenNLP would make one of anything
        lexical: Optional[LexicalExit] = None,
        # AllenNLP's own. With **kwargs it would ask a config for the base's `full_layers` too.
        regularizer: Optional[RegularizerApplicator] = None,
        serialization_dir: Optional[str] = None,
        ddp_accelerator: Optional[DdpAccelerator] = None,
        queries: Any = 1,  # not int: AllenNLP would make one of 1.5, or of true
        class_weights: Any = None,  # not a Union: AllenNLP would make a text of a number
    ) -> None:
        queries = _checked_queries(pooling, queries)
        encoder = _build_encoder(
            model_name, exit_layers, serialization_dir, pretrained_weights, pooling
        )
        super().__init__(
            vocab, exit_layers, encoder.full_layers, objective, policy, label_namespace,
            checked_signals(signals), lexical, regularizer=regularizer, serialization_dir=serialization_dir,
            ddp_accelerator=ddp_accelerator,
        )  # fmt: skip
        weighting = checked_weights(
            class_weights.as_dict() if isinstance(class_weights, Params) else class_weights,
            self.labels,
        )
        self.balances = weighting == AUTO
        """Whether a training run has yet to count its labels, and weigh them by `balance`."""
        if isinstance(weighting, list):
            self.class_weights = torch.tensor(weighting)
        self.encoder = encoder
        self.pooling = pooling
        exits = [
            ExitHead(
                layer, encoder.hidden_size, len(self.labels), dropout, CERTAINTY in signals, queries
            )
            for layer in exit_layers
        ]
        self.exits = torch.nn.ModuleList(exits)
        self.depth = DepthHead(encoder.hidden_size, len(exits)) if DEPTH in signals else None
        build = partial(_build_runner, pooling, exits, self.depth)
        self.runner = FormatRunner(encoder, build, inference_dtype)

    def balance(self, counts: Mapping[str, int]) -> None:
        """Let all labels count alike in training, given how many rows each has."""
        weights = torch.tensor(balanced(counts, self.labels))
        self.class_weights = weights.to(self.temperatures.device)

    def loss_of(self, network: AllExits, tokens: TokenTensors, label: Tensor) -> Tensor:
        if self.training and self.balances and self.class_weights is None:
            raise ConfigurationError(
                'class_weights is "auto", but nothing has counted the labels: add '
                "'sledgehammer_objective' to trainer.callbacks"
            )
        return super().loss_of(network, tokens, label)

    def use_number_format(self, dtype: str) -> None:
        self.runner.dtype = checked_dtype(dtype)
        self.runner.forget()

    @property
    def number_format(self) -> str:
        return self.runner.dtype

    def train(self, mode: bool = True) -> "MultiExitClassifier":
        self.runner.forget()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self.runner.forget()
        return super().load_state_dict(*args, **kwargs)

    def _apply(self, *args: Any, **kwargs: Any) -> "MultiExitClassifier":
        self.runner.forget()
        return super()._apply(*args, **kwargs)

    @classmethod
    def _load(cls, config: Params, serialization_dir: Any, *args: Any, **kwargs: Any) -> "Model":
        # The archive has the weights: the pretrained ones need not even be reachable.
        config["model"]["pretrained_weights"] = False
        return with_choice(
            super()._load(config, serialization_dir, *args, **kwargs), serialization_dir
        )


def _build_runner(
    pooling: str, exits: Sequence[ExitHead], depth: Optional[DepthHead], encoder: LayeredEncoder
) -> LayerwiseRunner:
    return LayerwiseRunner(encoder, encoder.pooling(pooling), exits, depth)


def _checked_queries(pooling: str, queries: Any) -> int:
    """Return how many queries an exit has, 0 without attention; raise if that makes no sense."""
    if pooling not in POOLINGS:
        raise ConfigurationError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
    if not isinstance(queries, int) or isinstance(queries, bool) or queries < 1:
        raise ConfigurationError(f"queries must be a whole number of at least 1, got {queries!r}")
    if pooling != "attention" and queries != 1:
        raise ConfigurationError(
            f"queries is {queries}, but pooling {pooling!r} has none: give pooling 'attention'"
        )
    return queries if pooling == "attention" else 0


def _build_encoder(
    model_name: Optional[str],
    exit_layers: Sequence[int],
    directory: Optional[str],
    pretrained_weights: bool,
    pooling: str,
) -> LayeredEncoder:
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
