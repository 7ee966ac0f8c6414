"""Run encoders that turn queries and keys by their positions: ModernBERT, NomicBERT.

Source of the rotation: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding",
2021. Positions count from the first token of a row, so that cutting padding off changes nothing.
"""

from typing import Any, Dict, NamedTuple, Optional

import torch
from allennlp.common.checks import ConfigurationError
from torch import Tensor
from transformers import PretrainedConfig

from sledgehammer.network.bert import BertFamily, LayerInput, additive_mask, states_of

_EVERYWHERE, _NEARBY = "full_attention", "sliding_attention"
"""What transformers calls the layers that see all tokens, and those that see a window."""


class _Attention(NamedTuple):
    """Hold what the layers of a family with positions by rotation share.

    # Parameters

    everywhere : `Optional[Tensor]`
        Shape (rows, 1, 1, tokens), added to the scores of layers that see all tokens.
    nearby : `Optional[Tensor]`
        Shape (rows, 1, tokens, tokens) or that of `everywhere`: for layers that see a window.
    positions : `Tensor`
        Shape (1, tokens).
    turns : `Dict[str, Any]`
        By kind of layer, the cosines and sines by which queries and keys are turned, where the
        layers do not compute them from the positions.
    """

    everywhere: Optional[Tensor]
    nearby: Optional[Tensor]
    positions: Tensor
    turns: Dict[str, Any]


class _RotaryFamily(BertFamily):
    """Hold what the families have in common; the layers are the transformer's own `layers`."""

    def keep_layers(self, count: int) -> None:
        self.transformer.layers = self.transformer.layers[:count]
        self.run_as = list(self.transformer.layers)

    def layers(self) -> torch.nn.ModuleList:
        return self.transformer.layers

    def _everywhere(self, hidden: Tensor, mask: Tensor, padded: bool) -> Optional[Tensor]:
        if padded:
            return additive_mask(hidden, mask)
        # Eager attention adds the mask, whether there is one or not.
        is_eager = getattr(self.transformer.config, "_attn_implementation", None) == "eager"
        return hidden.new_zeros(1, 1, 1, 1) if is_eager else None


class ModernBertFamily(_RotaryFamily):
    """Run ModernBERT (and Ettin): most layers see a window of tokens, every third all of them.

    Source: Warner et al., "Smarter, Better, Faster, Longer: A Modern Bidirectional Encoder", 2024.
    The norm stands before each part of a layer, and one more above the last layer. Attention by
    FlashAttention 2 takes rows without padding side by side, in another form than here: `settle`
    chooses PyTorch's own instead.
    """

    takes_token_types = False
    has_final_norm = True

    @staticmethod
    def settle(config: PretrainedConfig) -> None:
        config._attn_implementation = "sdpa"
        # Compiled parts would be compiled anew for every shape of a shrinking batch.
        config.reference_compile = False

    def __init__(self, transformer: Any, full_layers: int) -> None:
        super().__init__(transformer, full_layers)
        attention = transformer.config._attn_implementation
        if attention not in ("eager", "sdpa"):
            raise ConfigurationError(
                f"modernbert with attention {attention!r} is not supported: build it with "
                "attn_implementation 'sdpa' or 'eager'"
            )
        transformer.config.reference_compile = False
        # Since version 5 the model, not each layer, computes the turns.
        self._turn: Any = getattr(transformer, "rotary_emb", None)

    def embed(self, tokens: Dict[str, Tensor]) -> Tensor:
        return self.transformer.embeddings(tokens["input_ids"])

    def attention(self, hidden: Tensor, mask: Tensor, padded: bool) -> Any:
        everywhere = self._everywhere(hidden, mask, padded)
        positions = torch.arange(hidden.size(1), device=hidden.device)[None]
        turns = {}
        if self._turn is not None:
            turns = {kind: self._turn(hidden, positions, kind) for kind in (_EVERYWHERE, _NEARBY)}
        return _Attention(everywhere, self._nearby(hidden, everywhere, positions), positions, turns)

    def _nearby(
        self, hidden: Tensor, everywhere: Optional[Tensor], positions: Tensor
    ) -> Optional[Tensor]:
        reach = self.transformer.config.local_attention // 2
        if hidden.size(1) <= reach + 1 and not torch.jit.is_tracing():
            return everywhere  # the window covers every text
        far = (positions - positions.transpose(0, 1)).abs() > reach
        seen = hidden.new_zeros(1, 1, 1, 1) if everywhere is None else everywhere
        # Half the lowest number is low enough for a weight of 0. From the lowest, a score could
        # overflow, and padding that is far from all tokens would have no number at all.
        lowest = hidden.new_tensor(torch.finfo(hidden.dtype).min / 2)
        return torch.where(far[None, None], lowest, seen)

    def run_layer(self, index: int, inputs: LayerInput) -> Tensor:
        shared, layer = inputs.attention, self.run_as[index]
        if self._turn is None:
            output = layer(
                inputs.hidden, attention_mask=shared.everywhere,
                sliding_window_mask=shared.nearby, position_ids=shared.positions,
            )  # fmt: skip
        else:
            kind = layer.attention_type
            mask = shared.nearby if kind == _NEARBY else shared.everywhere
            output = layer(inputs.hidden, mask, position_embeddings=shared.turns[kind])
        return states_of(output)

    def final_norm(self, hidden: Tensor) -> Tensor:
        return self.transformer.final_norm(hidden)


class NomicBertFamily(_RotaryFamily):
    """Run NomicBERT as transformers 5 has it, without code from the hub."""

    def attention(self, hidden: Tensor, mask: Tensor, padded: bool) -> Any:
        everywhere = self._everywhere(hidden, mask, padded)
        positions = torch.arange(hidden.size(1), device=hidden.device)[None]
        turns = {_EVERYWHERE: self.transformer.rotary_emb(hidden, positions)}
        return _Attention(everywhere, everywhere, positions, turns)

    def run_layer(self, index: int, inputs: LayerInput) -> Tensor:
        shared = inputs.attention
        output = self.run_as[index](
            inputs.hidden, shared.everywhere, position_embeddings=shared.turns[_EVERYWHERE]
        )
        return states_of(output)
