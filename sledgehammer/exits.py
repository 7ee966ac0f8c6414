"""The classifier at an exit."""

import torch
from torch import Tensor


class ExitHead(torch.nn.Module):
    """A learned mix of the pooled states of all layers so far, then one linear map.

    `logits = W (sum_j softmax(mix)_j state_j) + b` with j from layer 0 to the exit's own layer
    (Schwartz et al. 2020, section 3.1: the mix of Peters et al. 2018, the light linear exit).

    # Parameters

    layer : `int`
        The layer, counted from 0, after which the exit stands.
    hidden_size : `int`
    num_labels : `int`
    dropout : `float`, optional (default = `0.1`)
        Applied to the mixed state in training.
    """

    def __init__(self, layer: int, hidden_size: int, num_labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.layer = layer
        # An exit at layer 0 has nothing to mix: a lone weight would never get a gradient.
        self.mix = torch.nn.Parameter(torch.zeros(layer + 1)) if layer > 0 else None
        self.dropout = torch.nn.Dropout(dropout)
        self.linear = torch.nn.Linear(hidden_size, num_labels)

    def forward(self, pooled: Tensor) -> Tensor:
        """(rows, layers run, hidden size) -> logits of shape (rows, labels).

        `layers run` is `layer` + 1.
        """
        if self.mix is None:
            mixed = pooled[:, 0]
        else:
            mixed = torch.einsum("l,rlh->rh", torch.softmax(self.mix, dim=0), pooled)
        return self.linear(self.dropout(mixed))
