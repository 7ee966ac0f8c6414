"""Run transformers' own model with the weights of one of ours: the rival of exits."""

import copy
from typing import Any

import torch
from torch import Tensor

from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.encoder import LayeredEncoder, TokenTensors


class PlainClassifier(torch.nn.Module):
    """Run the transformer's own forward pass up to an exit's layer, pooling, and a linear map.

    # Parameters

    model : `MultiExitClassifier`
        The model whose weights are copied.
    position : `int`
        The position, among the network's exits, of the one whose layer is the last.
    """

    def __init__(self, model: MultiExitClassifier, position: int) -> None:
        super().__init__()
        layers = model.network_layers[position] + 1
        transformer = copy.deepcopy(model.encoder.transformer)
        transformer.config.num_hidden_layers = layers
        self.pooling = model.pooling
        self.transformer = LayeredEncoder(transformer, layers, layers).transformer
        head: Any = copy.deepcopy(model.exits[position])
        self.linear, self.pool = head.linear, head.pool
        self.eval()

    def forward(self, tokens: TokenTensors) -> Tensor:
        """Return the logits, of shape (rows, labels), for tensors of shape (rows, tokens)."""
        output = self.transformer(**tokens)
        if self.pool is not None:
            return self.linear(self.pool(output.last_hidden_state, tokens["attention_mask"].bool()))
        if self.pooling == "mean":
            mask = tokens["attention_mask"].unsqueeze(-1).to(output.last_hidden_state.dtype)
            return self.linear((output.last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1))
        pooled = getattr(output, "pooler_output", None)
        return self.linear(output.last_hidden_state[:, 0] if pooled is None else pooled)
