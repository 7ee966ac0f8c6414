"""Run DeBERTa, whose attention looks at the distance between tokens.

Source: He et al., "DeBERTa: Decoding-enhanced BERT with Disentangled Attention", ICLR 2021, and
"DeBERTaV3", ICLR 2023 (in transformers `deberta-v2` too).
"""

from typing import Any, NamedTuple, Optional

import torch
import transformers
from allennlp.common.checks import ConfigurationError
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
        stack = self.layer_stack()
        has_buckets = stack.relative_attention and stack.position_buckets > 0
        self._buckets = self._bucket_of_each_distance() if has_buckets else None

    def run_layer(self, index: int, inputs: LayerInput) -> Tensor:
        hidden = super().run_layer(index, inputs)
        convolution = self.layer_stack().conv
        if index > 0 or convolution is None:
            return hidden
        return convolution(inputs.hidden, hidden, inputs.mask.long())

    def _relative(self, hidden: Tensor) -> Optional[Tensor]:
        if self._buckets is None:
            return super()._relative(hidden)
        if self._buckets.device != hidden.device:
            self._buckets = self._buckets.to(hidden.device)
        longest = len(self._buckets) // 2
        return self._buckets[_distances(hidden).clamp(-longest, longest) + longest]

    def _bucket_of_each_distance(self) -> Tensor:
        """Return the bucket of each distance from the longest back to the longest ahead.

        The library computes them from logarithms. Rounded by another runtime, these would put some
        distances into the next bucket; a table is the same everywhere. From the longest on, all
        distances are in the last bucket.
        """
        stack = self.layer_stack()
        longest = 2 * stack.max_relative_positions
        try:
            each = stack.get_rel_pos(torch.empty(1, longest + 1, 1))[0].long()
        except AttributeError as error:  # np.int, which numpy 1.24 took away
            raise ConfigurationError(
                f"transformers {transformers.__version__} cannot run deberta-v2 with buckets of "
                f"distances on this numpy ({error.args[0].splitlines()[0]}): use a newer "
                "transformers, or numpy<1.24"
            ) from error
        return torch.cat([each[0, 1:].flip(0), each[:, 0]])


def _distances(hidden: Tensor) -> Tensor:
    """Return how far each token stands after each other one: (1, tokens, tokens)."""
    positions = torch.arange(hidden.size(1), device=hidden.device)
    return (positions[:, None] - positions[None, :])[None]
