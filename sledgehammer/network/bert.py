"""Run BERT and models built like it; the other families differ from it in some of the steps."""

from typing import Any, Dict, List, NamedTuple

import torch
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
    attention : `Any`
        What the family's layers need besides the states, the same for all of them: the mask in the
        form that they take, and relative positions if they look at those.
    padded : `bool`, optional (default = `True`)
        False if all tokens are known to be real.
    """

    hidden: Tensor
    mask: Tensor
    attention: Any
    padded: bool = True


class BertFamily:
    """Run BERT and models built like it: RoBERTa, XLM-R, CamemBERT."""

    takes_token_types = True
    has_final_norm = False

    @staticmethod
    def settle(config: PretrainedConfig) -> None:
        """Change what a config may not leave open, before a transformer is built from it."""

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

    def layers(self) -> torch.nn.ModuleList:
        """Return the layers, lowest first."""
        return self.layer_stack().layer

    def embed(self, tokens: TokenTensors) -> Tensor:
        """Return the embeddings: (rows, tokens, hidden size)."""
        arguments = {"input_ids": tokens["input_ids"]}
        if self.takes_token_types and "token_type_ids" in tokens:
            arguments["token_type_ids"] = tokens["token_type_ids"]
        return self.transformer.embeddings(**arguments)

    def attention(self, hidden: Tensor, mask: Tensor, padded: bool) -> Any:
        """Return what `LayerInput.attention` says; `padded` is false if all tokens are real."""
        # Attention kernels are faster with no mask at all.
        return additive_mask(hidden, mask) if padded else None

    def run_layer(self, index: int, inputs: LayerInput) -> Tensor:
        """Return the hidden states after one layer: (rows, tokens, hidden size)."""
        return states_of(self.run_as[index](inputs.hidden, inputs.attention))

    def final_norm(self, hidden: Tensor) -> Tensor:
        """Return (rows, tokens, hidden size) as the norm above the last layer makes it.

        Only for a family that has one, see `has_final_norm`.
        """
        return hidden

    def pool_first(self, hidden: Tensor) -> Tensor:
        """Return the first token of (rows, tokens, hidden), through the pooler if there is one."""
        pooler = getattr(self.transformer, "pooler", None)
        return hidden[:, 0] if pooler is None else pooler(hidden)

    def drop_pooler(self) -> None:
        """Remove the pooler, whose weights nothing will use."""
        if getattr(self.transformer, "pooler", None) is not None:
            self.transformer.pooler = None


def states_of(output: Any) -> Tensor:
    """Return the hidden states from what a layer returns: a tuple, or the states alone."""
    return output if isinstance(output, Tensor) else output[0]


def additive_mask(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return a (rows, tokens) mask as (rows, 1, 1, tokens): 0 for real tokens, else very low."""
    lowest = torch.finfo(hidden.dtype).min
    return (1.0 - mask[:, None, None, :].to(hidden.dtype)) * lowest
