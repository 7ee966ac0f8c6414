"""Know how each family of transformers calls its embeddings, layers, attention mask and pooler.

The tests compare every family with the library's own forward pass, layer by layer. A family that is
not listed is refused: some run layer by layer without an error and are silently wrong.
"""

from typing import Any, Dict, Type

from allennlp.common.checks import ConfigurationError
from torch import Tensor
from transformers import PretrainedConfig

from sledgehammer.network.bert import BertFamily, LayerInput, TokenTensors, states_of
from sledgehammer.network.deberta import DebertaFamily, DebertaV2Family
from sledgehammer.network.rotary import ModernBertFamily, NomicBertFamily

__all__ = ["FAMILIES", "BertFamily", "LayerInput", "TokenTensors", "check_supported"]


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

    def attention(self, hidden: Tensor, mask: Tensor, padded: bool) -> Any:
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
        return states_of(group(inputs.hidden, inputs.attention, no_head_mask))

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
        return states_of(self.run_as[index](inputs.hidden, inputs.attention, None, bias))


class RobertaPreLayerNormFamily(BertFamily):
    """Run RoBERTa with the norm before each part of a layer, and one more above the last layer."""

    has_final_norm = True

    def final_norm(self, hidden: Tensor) -> Tensor:
        return self.transformer.LayerNorm(hidden)


class XlmRobertaXlFamily(BertFamily):
    """Run XLM-RoBERTa-XL, built in the same way; the last norm stands beside the layers."""

    has_final_norm = True

    def final_norm(self, hidden: Tensor) -> Tensor:
        return self.transformer.encoder.LayerNorm(hidden)


FAMILIES: Dict[str, Type[BertFamily]] = {
    "albert": AlbertFamily,
    "bert": BertFamily,
    "camembert": BertFamily,
    "deberta": DebertaFamily,
    "deberta-v2": DebertaV2Family,
    "distilbert": DistilBertFamily,
    "electra": ElectraFamily,
    "modernbert": ModernBertFamily,
    "mpnet": MPNetFamily,
    "nomic_bert": NomicBertFamily,
    "roberta": BertFamily,
    "roberta-prelayernorm": RobertaPreLayerNormFamily,
    "xlm-roberta": BertFamily,
    "xlm-roberta-xl": XlmRobertaXlFamily,
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
