"""Know how each family of transformers calls its embeddings, layers, attention mask and pooler.

The tests compare every family with the library's own forward pass, layer by layer. A family that is
not listed is refused: some run layer by layer without an error and are silently wrong.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Type

import torch
from allennlp.common.checks import ConfigurationError
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

TokenTensors = Dict[str, Tensor]
"""What a `TransformerTextField` becomes: `input_ids`, `attention_mask`, maybe `token_type_ids`,
each of shape (rows, tokens), padded on the right."""


class LayerInput(NamedTuple):
    """Hold what a layer needs besides its weights.

    # Parameters

    hidden : `Tensor`
        Shape (rows, tokens, hidden size).
    mask : `Tensor`
        Shape (rows, tokens), bool; true for real tokens.
    attention : `Optional[Tensor]`
        The mask in the form that the family's layers take.
    padded : `bool`, optional (default = `True`)
        False if all tokens are known to be real.
    """

    hidden: Tensor
    mask: Tensor
    attention: Optional[Tensor]
    padded: bool = True


class BertFamily:
    """Run BERT and models built like it: RoBERTa, XLM-R, CamemBERT."""

    takes_token_types = True

    def __init__(self, transformer: PreTrainedModel, full_layers: int) -> None:
        self.transformer = transformer
        self.full_layers = full_layers
        # The module that runs as each layer. Looking it up in the transformer takes 10
        # microseconds, a hundredth of the time of a small transformer's layer.
        self.run_as: List[Any] = []

    def keep_layers(self, count: int) -> None:
        """Drop the layers from `count` on, if the transformer was built with more."""
        stack = self.layer_stack()
        stack.layer = stack.layer[:count]
        self.run_as = list(stack.layer)

    def layer_stack(self) -> Any:
        """Return the module that holds the layers."""
        return self.transformer.encoder

    def embed(self, tokens: TokenTensors) -> Tensor:
        """Return the embeddings: (rows, tokens, hidden size)."""
        arguments = {"input_ids": tokens["input_ids"]}
        if self.takes_token_types and "token_type_ids" in tokens:
            arguments["token_type_ids"] = tokens["token_type_ids"]
        return self.transformer.embeddings(**arguments)

    def attention(self, hidden: Tensor, mask: Tensor, padded: bool) -> Optional[Tensor]:
        """Return the mask in the form that the layers take."""
        # Attention kernels are faster with no mask at all.
        return _additive_mask(hidden, mask) if padded else None

    def run_layer(self, index: int, inputs: LayerInput) -> Tensor:
        """Return the hidden states after one layer: (rows, tokens, hidden size)."""
        return self.run_as[index](inputs.hidden, inputs.attention)[0]

    def pool_first(self, hidden: Tensor) -> Tensor:
        """Return the first token of (rows, tokens, hidden), through the pooler if there is one."""
        pooler = getattr(self.transformer, "pooler", None)
        return hidden[:, 0] if pooler is None else pooler(hidden)

    def drop_pooler(self) -> None:
        """Remove the pooler, whose weights nothing will use."""
        if getattr(self.transformer, "pooler", None) is not None:
            self.transformer.pooler = None


class ElectraFamily(BertFamily):
    """Run ELECTRA discriminators: embeddings may be narrower than the layers; no pooler."""

    def embed(self, tokens: TokenTensors) -> Tensor:
        embedded = super().embed(tokens)
        project = getattr(self.transformer, "embeddings_project", None)
        return embedded if project is None else project(embedded)


class DistilBertFamily(BertFamily):
    """Run DistilBERT: no token types, no pooler; without SDPA the mask is (rows, tokens)."""

    takes_token_types = False

    def layer_stack(self) -> Any:
        return self.transformer.transformer

    def embed(self, tokens: TokenTensors) -> Tensor:
        return self.transformer.embeddings(tokens["input_ids"])

    def attention(self, hidden: Tensor, mask: Tensor, padded: bool) -> Optional[Tensor]:
        if getattr(self.transformer, "_use_sdpa", False):
            return super().attention(hidden, mask, padded)
        return mask.to(hidden.dtype)

    def run_layer(self, index: int, inputs: LayerInput) -> Tensor:
        return self.run_as[index](inputs.hidden, inputs.attention)[-1]


class AlbertFamily(BertFamily):
    """Run ALBERT: layers share weights in groups; the pooler is a linear map and an activation."""

    def _group(self, layer: int) -> int:
        # Computed as in the library: another order of operations rounds to other groups.
        return int(layer / (self.full_layers / self.transformer.config.num_hidden_groups))

    def keep_layers(self, count: int) -> None:
        stack = self.layer_stack()
        stack.albert_layer_groups = stack.albert_layer_groups[: self._group(count - 1) + 1]
        self.run_as = [stack.albert_layer_groups[self._group(layer)] for layer in range(count)]

    def embed(self, tokens: TokenTensors) -> Tensor:
        return self.layer_stack().embedding_hidden_mapping_in(super().embed(tokens))

    def run_layer(self, index: int, inputs: LayerInput) -> Tensor:
        group = self.run_as[index]
        no_head_mask = [None] * len(group.albert_layers)
        return group(inputs.hidden, inputs.attention, no_head_mask)[0]

    def pool_first(self, hidden: Tensor) -> Tensor:
        pooler = self.transformer.pooler
        if pooler is None:
            return hidden[:, 0]
        return self.transformer.pooler_activation(pooler(hidden[:, 0]))


class MPNetFamily(BertFamily):
    """Run MPNet: every layer adds the same relative position bias."""

    takes_token_types = False

    def run_layer(self, index: int, inputs: LayerInput) -> Tensor:
        bias = self.layer_stack().compute_position_bias(inputs.hidden)
        return self.run_as[index](inputs.hidden, inputs.attention, None, bias)[0]


FAMILIES: Dict[str, Type[BertFamily]] = {
    "albert": AlbertFamily,
    "bert": BertFamily,
    "camembert": BertFamily,
    "distilbert": DistilBertFamily,
    "electra": ElectraFamily,
    "mpnet": MPNetFamily,
    "roberta": BertFamily,
    "xlm-roberta": BertFamily,
}
"""Supported values of `config.model_type`."""


def check_supported(config: PretrainedConfig) -> None:
    """Raise a `ConfigurationError` that names the supported types, if `config` has another type."""
    if config.model_type not in FAMILIES:
        raise ConfigurationError(
            f"transformers of type {config.model_type!r} are not supported; supported types: "
            + ", ".join(sorted(FAMILIES))
        )
    if getattr(config, "is_decoder", False):
        raise ConfigurationError("decoders (is_decoder: true) are not supported, only encoders")


def _additive_mask(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return a (rows, tokens) mask as (rows, 1, 1, tokens): 0 for real tokens, else very low."""
    lowest = torch.finfo(hidden.dtype).min
    return (1.0 - mask[:, None, None, :].to(hidden.dtype)) * lowest
