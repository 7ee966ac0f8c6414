"""Pool the states of a layer's tokens by learned queries."""

import torch
from torch import Tensor

from sledgehammer.network.families import LayerInput


class AttentionPooling(torch.nn.Module):
    """Average the real tokens, weighted by learned queries: `sum_t softmax_t(s_t . q) s_t`.

    Queries begin at 0, where that is the plain mean. Those of several queries stand side by side.
    (A query is the context vector of Yang et al., "Hierarchical Attention Networks for Document
    Classification", NAACL 2016, without the hidden layer before it.)

    # Parameters

    queries : `int`
        At least 1.
    hidden_size : `int`
    """

    def __init__(self, queries: int, hidden_size: int) -> None:
        super().__init__()
        self.query = torch.nn.Parameter(torch.zeros(queries, hidden_size))

    def forward(self, hidden: Tensor, mask: Tensor, padded: bool = True) -> Tensor:
        """Pool the states of a layer.

        # Parameters

        hidden : `Tensor`
            Shape (rows, tokens, hidden size), of any number format.
        mask : `Tensor`
            Shape (rows, tokens), bool; true for real tokens.
        padded : `bool`, optional (default = `True`)
            False where all tokens are known to be real.

        # Returns

        Shape (rows, queries * hidden size), in the format of the queries.
        """
        # Sums over many tokens, and what the exits make of them, are never of half precision.
        states = hidden.to(self.query.dtype)
        scores = torch.matmul(states, self.query.t())
        if padded:
            lowest = torch.finfo(scores.dtype).min
            scores = scores.masked_fill(~mask.unsqueeze(-1), lowest)
        shares = torch.softmax(scores, dim=1)
        return torch.matmul(shares.transpose(1, 2), states).flatten(1)

    def of(self, inputs: LayerInput) -> Tensor:
        """Pool the states of a layer, as `forward` does."""
        pooled: Tensor = self(inputs.hidden, inputs.mask, inputs.padded)
        return pooled
