"""Run DeBERTa, whose attention looks at the distance between tokens.

Source: He et al., "DeBERTa: Decoding-enhanced BERT with Disentangled Attention", ICLR 2021, and
"DeBERTaV3", ICLR 2023 (in transformers `deberta-v2` too).
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from sledgehammer.network.bert import BertFamily, LayerInput, TokenTensors, states_of


class _Attention(NamedTuple):
    """Hold what all layers share.

    # Parameters

    mask : `Tensor`
        Shape (rows, 1, 1, tokens), bool; true for real tokens.
    relative : `Optional[Tensor]`
        Shape (1, tokens, tokens): from each token to each, the distance, or its bucket.
    embeddings : `Optional[Tensor]`
        Shape (distances, hidden size): the embeddings of the distances.
    """

    mask: Tensor
    relative: Optional[Tensor]
    embeddings: Optional[Tensor]


class DebertaFamily(BertFamily):
    """Run the first DeBERTa."""

    def __init__(self, transformer: Any, full_layers: int) -> None:
        super().__init__(transformer, full_layers)
        self.takes_token_types = transformer.config.type_vocab_size > 0

    def embed(self, tokens: TokenTensors) -> Tensor:
        # The embeddings of padding are 0, so that a convolution over tokens does not see it.
        return self.transformer.embeddings(
            input_ids=tokens["input_ids"],
            token_type_ids=tokens.get("token_type_ids"),
            mask=tokens["attention_mask"],
        )

    def attention(self, hidden: Tensor, mask: Tensor, padded: bool) -> Any:
        stack = self.layer_stack()
        return _Attention(
            mask[:, None, None, :].bool(), self._relative(hidden), stack.get_rel_embedding()
        )

    def run_layer(self, index: int, inputs: LayerInput) -> Tensor:
        shared = inputs.attention
        output = self.run_as[index](
            inputs.hidden, shared.mask, relative_pos=shared.relative,
            rel_embeddings=shared.embeddings,
        )  # fmt: skip
        return states_of(output)

    def _relative(self, hidden: Tensor) -> Optional[Tensor]:
        if not self.layer_stack().relative_attention:
            return None
        return _distances(hidden)


class DebertaV2Family(DebertaFamily):
    """Run DeBERTa v2 and v3: distances are in buckets; v2 has a convolution over the tokens."""

    def __init__(self, transformer: Any, full_layers: int) -> None:
        super().__init__(transformer, full_layers)
        self._buckets: Optional[Tensor] = None

    def run_layer(self, index: int, inputs: LayerInput) -> Tensor:
        hidden = super().run_layer(index, inputs)
        convolution = self.layer_stack().conv
        if index > 0 or convolution is None:
            return hidden
        return convolution(inputs.hidden, hidden, inputs.mask.long())

    def _relative(self, hidden: Tensor) -> Optional[Tensor]:
        stack = self.layer_stack()
        if not stack.relative_attention or stack.position_buckets <= 0:
            return super()._relative(hidden)
        buckets = self._bucket_of_each_distance(hidden.device)
        longest = len(buckets) // 2
        return buckets[_distances(hidden).clamp(-longest, longest) + longest]

    def _bucket_of_each_distance(self, device: torch.device) -> Tensor:
        """Return the bucket of each distance from the longest back to the longest ahead.

        The library computes them from logarithms. Rounded by another runtime, these would put some
        distances into the next bucket; a table is the same everywhere. From `longest` on, all
        distances are in the last bucket.
        """
        if self._buckets is None or self._buckets.device != device:
            stack = self.layer_stack()
            longest = 2 * stack.max_relative_positions
            each = stack.get_rel_pos(torch.empty(1, longest + 1, 1))[0].long()
            self._buckets = torch.cat([each[0, 1:].flip(0), each[:, 0]]).to(device)
        return self._buckets


def _distances(hidden: Tensor) -> Tensor:
    """Return how far each token stands after each other one: (1, tokens, tokens)."""
    positions = torch.arange(hidden.size(1), device=hidden.device)
    return (positions[:, None] - positions[None, :])[None]
