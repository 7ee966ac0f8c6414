"""Run a transformer encoder one layer at a time."""

from typing import Any, Callable, Dict

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sledgehammer.network.families import FAMILIES, LayerInput, TokenTensors, check_supported

__all__ = [
    "FAMILIES", "LayerInput", "LayeredEncoder", "Pooling", "TokenTensors", "check_supported",
    "mean_pool",
]  # fmt: skip

Pooling = Callable[[LayerInput], Tensor]
"""Turn a layer's states, (rows, tokens, hidden size), into one vector a row, (rows, hidden size)."""


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
        return self._family.layers()

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

    def read(self, inputs: LayerInput) -> LayerInput:
        """Return a layer's states as exits read them: through the final norm, if there is one.

        Some models have a norm above their last layer. An exit reads what a model that was cut off
        at its layer would return, and the last one transformers' `last_hidden_state`; the next
        layer goes on from the states before the norm. Without it, the states of high layers, which
        such models let grow, would drown those of low ones in an exit's mix.
        """
        if not self._family.has_final_norm:
            return inputs
        return inputs._replace(hidden=self._family.final_norm(inputs.hidden))

    def narrow(self, inputs: LayerInput, rows: Tensor, tokens: int) -> LayerInput:
        """Keep only some rows (indices) and the first `tokens` columns.

        The columns that are cut off must be padding in every row that stays.
        """
        hidden = inputs.hidden[:, :tokens].index_select(0, rows)
        return self._layer_input(hidden, inputs.mask[:, :tokens].index_select(0, rows))

    def pooling(self, name: str) -> Pooling:
        """Return the function that turns a layer's states, as read, into one vector for all exits.

        With `attention` it is the mean, to which each exit adds what its own queries see.
        """
        return self.pool_first if name == "first" else mean_pool

    def pool_first(self, inputs: LayerInput) -> Tensor:
        """Return the first token of states that were read, through the transformer's own pooler.

        Shape (rows, hidden size).
        """
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
