"""Classify the rows at an exit."""

from typing import List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from sledgehammer.network.families import LayerInput
from sledgehammer.network.pooling import AttentionPooling


class ExitHead(torch.nn.Module):
    """Mix the pooled states of all layers so far, in learned shares, and apply one linear map.

    `logits = W (sum_j softmax(mix)_j state_j) + b` with j from layer 0 to the exit's own layer
    (Schwartz et al. 2020, section 3.1: the mix of Peters et al. 2018, the light linear exit).

    # Parameters

    layer : `int`
        The layer, counted from 0, after which the exit stands.
    hidden_size : `int`
    num_labels : `int`
    dropout : `float`, optional (default = `0.1`)
        Applied to the mixed state in training.
    with_certainty : `bool`, optional (default = `False`)
        Whether the exit also tells how sure it is to be right.
    queries : `int`, optional (default = `0`)
        If not 0, the states of the exit's own layer are pooled by so many queries of its own (see
        `AttentionPooling`), and those of the layers below as they are for all exits. No exit has
        weights that another one needs, so that each may be frozen, or learn alone.
    """

    def __init__(
        self,
        layer: int,
        hidden_size: int,
        num_labels: int,
        dropout: float = 0.1,
        with_certainty: bool = False,
        queries: int = 0,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.queries = queries
        self.pool = AttentionPooling(queries, hidden_size) if queries else None
        state_size = hidden_size * max(queries, 1)
        # An exit at layer 0 has nothing to mix: a lone weight would never get a gradient.
        self.mix = torch.nn.Parameter(torch.zeros(layer + 1)) if layer > 0 else None
        self.dropout = torch.nn.Dropout(dropout)
        self.linear = torch.nn.Linear(state_size, num_labels)
        self.halting = torch.nn.Linear(state_size, 1) if with_certainty else None
        # See `_matrix`: a matrix, and the versions of the weights that it was computed from.
        self._cached: Optional[Tuple[Tensor, Tuple[int, ...]]] = None

    def states(self, pooled: Sequence[Tensor], inputs: LayerInput) -> List[Tensor]:
        """Return the states that the exit mixes.

        # Parameters

        pooled : `Sequence[Tensor]`
            One for each of the `layer` + 1 layers run, each of shape (rows, hidden size).
        inputs : `LayerInput`
            The output of the layer below the exit.

        # Returns

        One a layer, each of shape (rows, state size); the state size is `queries` times the hidden
        size, if there are queries.
        """
        if self.pool is None:
            return list(pooled)
        below = list(pooled[:-1])
        if self.queries > 1:
            below = [torch.cat([state] * self.queries, dim=1) for state in below]
        return [*below, self.pool.of(inputs)]

    def forward(self, states: Tensor) -> Tensor:
        """Return logits, (rows, labels), from states: (rows, `layer` + 1, state size)."""
        return self.linear(self.dropout(self._mixed(states)))

    def certainty(self, states: Tensor) -> Tensor:
        """Return how sure the exit is to be right, (rows,), in [0, 1]; `states` as in `forward`.

        No gradient flows back from it: the exit does not learn to be predictable.
        """
        assert self.halting is not None, "the exit was made without"
        mixed = self._mixed(states).detach().to(self.halting.weight.dtype)
        return torch.sigmoid(self.halting(mixed).squeeze(-1).float())

    def logits(self, states: List[Tensor]) -> Tensor:
        """Return what `forward` returns, in float32; outside of training by one matrix product.

        # Parameters

        states : `List[Tensor]`
            What the method `states` returns.

        # Returns

        Shape (rows, labels).
        """
        if self.training or torch.is_grad_enabled():
            return self(torch.stack(states, dim=1).to(self.linear.weight.dtype)).float()
        side_by_side = states[0] if len(states) == 1 else torch.cat(states, dim=1)
        matrix = self.linear.weight if self.mix is None else self._matrix(self.mix)
        if side_by_side.dtype != matrix.dtype:
            side_by_side = side_by_side.to(matrix.dtype)
        return torch.nn.functional.linear(side_by_side, matrix, self.linear.bias).float()

    def _mixed(self, states: Tensor) -> Tensor:
        if self.mix is None:
            return states[:, 0]
        return torch.matmul(torch.softmax(self.mix, dim=0).to(states.dtype), states)

    def train(self, mode: bool = True) -> "ExitHead":
        self._cached = None
        return super().train(mode)

    def _matrix(self, mix: Tensor) -> Tensor:
        """Return mix and linear map in one matrix: (labels, (`layer` + 1) * state size).

        Beside a layer of a small transformer, computing it each time would be noticed. It is kept
        until the weights change.
        """
        weight = self.linear.weight
        versions = (mix._version, mix.data_ptr(), weight._version, weight.data_ptr())
        if self._cached is None or self._cached[1] != versions:
            shares = torch.softmax(mix, dim=0)
            self._cached = (shares[None, :, None] * weight[:, None, :]).flatten(1), versions
        return self._cached[0]
