"""Run a transformer encoder one layer at a time.

Each supported family says how its embeddings, layers, attention mask and pooler are called. The
tests compare every family with the library's own forward pass, layer by layer. A family that is
not listed is refused: some run layer by layer without an error and are silently wrong.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Type

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


Pooling = Callable[[LayerInput], Tensor]
"""(rows, tokens, hidden) with its mask -> (rows, hidden)."""


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


class LayeredEncoder(torch.nn.Module):
    """Run the first `num_layers` layers of a pretrained encoder, one at a time.

    # Parameters

    transformer : `PreTrainedModel`
        A model of a supported type. It is changed in place: upper layers and an unused pooler go.
    num_layers : `int`
        Layers to keep, at least 1.
    full_layers : `int`
        Layers of the full model; `transformer` may have been built with fewer.
    keep_pooler : `bool`, optional (default = `True`)
        Whether `pool_first` is needed. Without it the pooler's weights are dropped.
    """

    def __init__(
        self,
        transformer: PreTrainedModel,
        num_layers: int,
        full_layers: int,
        keep_pooler: bool = True,
    ) -> None:
        super().__init__()
        check_supported(transformer.config)
        self.transformer = transformer
        self.num_layers = num_layers
        self.full_layers = full_layers
        self._family = FAMILIES[transformer.config.model_type](transformer, full_layers)
        self._family.keep_layers(num_layers)
        if not keep_pooler:
            self._family.drop_pooler()
        self._register_load_state_dict_pre_hook(self._reconcile_position_ids)

    @property
    def takes_token_types(self) -> bool:
        """Return whether `token_type_ids` make a difference."""
        return self._family.takes_token_types

    @property
    def layers(self) -> torch.nn.ModuleList:
        """Return the transformer's own layers, lowest first; ALBERT, which shares them, has none.

        They may be changed, but not replaced by other modules.
        """
        return self._family.layer_stack().layer

    @property
    def hidden_size(self) -> int:
        """Return the size of a token's hidden state."""
        return self.transformer.config.hidden_size

    def start(self, tokens: TokenTensors) -> LayerInput:
        """Return the embedding layer's output, which is the input of layer 0."""
        mask = tokens["attention_mask"].bool()
        return self._layer_input(self._family.embed(tokens), mask)

    def resume(self, hidden: Tensor, mask: Tensor) -> LayerInput:
        """Return the input of a layer, from hidden states and their (rows, tokens) bool mask."""
        return self._layer_input(hidden, mask)

    def run_layer(self, index: int, inputs: LayerInput) -> LayerInput:
        """Run layer `index`, and return the input of the next layer: same rows and tokens."""
        hidden = self._family.run_layer(index, inputs)
        return LayerInput(hidden, inputs.mask, inputs.attention, inputs.padded)

    def narrow(self, inputs: LayerInput, rows: Tensor, tokens: int) -> LayerInput:
        """Keep only some rows (indices) and the first `tokens` columns.

        The columns that are cut off must be padding in every row that stays.
        """
        hidden = inputs.hidden[:, :tokens].index_select(0, rows)
        return self._layer_input(hidden, inputs.mask[:, :tokens].index_select(0, rows))

    def pooling(self, name: str) -> Pooling:
        """Return the function that turns a layer's states into one vector for all exits.

        With `attention` it is the mean, to which each exit adds what its own queries see.
        """
        return self.pool_first if name == "first" else mean_pool

    def pool_first(self, inputs: LayerInput) -> Tensor:
        """Return the first token, through the transformer's own pooler: (rows, hidden size)."""
        return self._family.pool_first(inputs.hidden)

    def _layer_input(self, hidden: Tensor, mask: Tensor) -> LayerInput:
        padded = _may_be_padded(mask)
        return LayerInput(hidden, mask, self._family.attention(hidden, mask, padded), padded)

    def _reconcile_position_ids(self, state_dict: Dict[str, Any], prefix: str, *_: Any) -> None:
        """Load weights with and without `position_ids`, a constant that old transformers store."""
        name = prefix + "transformer.embeddings.position_ids"
        position_ids = self.transformer.state_dict().get("embeddings.position_ids")
        if position_ids is None:
            state_dict.pop(name, None)
        else:
            state_dict.setdefault(name, position_ids)


def mean_pool(inputs: LayerInput) -> Tensor:
    """Return the mean over the real tokens, special tokens included: (rows, hidden size)."""
    # Sums over many tokens, and what the exits compute from them, are never in half precision.
    dtype = inputs.hidden.dtype
    if dtype != torch.float32:
        dtype = torch.promote_types(dtype, torch.float32)
    if not inputs.padded:
        return inputs.hidden.mean(dim=1, dtype=dtype)
    mask = inputs.mask.unsqueeze(-1)
    return (inputs.hidden * mask).sum(dim=1, dtype=dtype) / mask.sum(dim=1)


def _may_be_padded(mask: Tensor) -> bool:
    # On a GPU we would have to wait for the answer; a traced graph must work for any rows.
    return mask.device.type != "cpu" or torch.jit.is_tracing() or not bool(mask.all())


def _additive_mask(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return a (rows, tokens) mask as (rows, 1, 1, tokens): 0 for real tokens, else very low."""
    lowest = torch.finfo(hidden.dtype).min
    return (1.0 - mask[:, None, None, :].to(hidden.dtype)) * lowest
