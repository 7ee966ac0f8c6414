"""Transformers' own models with the weights of one of ours: what exits are compared with."""

import copy
from typing import Any, Optional

import torch
from torch import Tensor
from transformers import AutoModel

from sledgehammer.encoder import LayerInput, TokenTensors
from sledgehammer.model import MultiExitClassifier


class PlainTransformer(torch.nn.Module):
    """The library's model of the lowest layers, its pooling and a linear map; no exits.

    # Parameters

    model : `MultiExitClassifier`
        Gives the weights; the linear map is that of its lowest exit at or above the last layer.
    layers : `int`, optional
        How many to keep; up to the last exit if `None`.
    """

    def __init__(self, model: MultiExitClassifier, layers: Optional[int] = None) -> None:
        super().__init__()
        config = copy.deepcopy(model.encoder.transformer.config)
        config.num_hidden_layers = layers or model.exit_layers[-1] + 1
        self.transformer = AutoModel.from_config(config)
        weights = model.encoder.transformer.state_dict()
        self.transformer.load_state_dict(weights, strict=False)
        if model.pooling == "mean" and getattr(self.transformer, "pooler", None) is not None:
            self.transformer.pooler = None
        above = [head for head in model.exits if head.layer >= config.num_hidden_layers - 1]
        self.linear: Any = copy.deepcopy(above[0].linear)
        self._pool = copy.copy(model.encoder).pooling(model.pooling)
        self._mean = model.pooling == "mean"
        self.eval()

    def forward(self, tokens: TokenTensors) -> Tensor:
        """Logits of shape (rows, labels)."""
        outputs = self.transformer(**tokens)
        hidden = outputs.last_hidden_state
        if self._mean:
            pooled = self._pool(LayerInput(hidden, tokens["attention_mask"].bool(), None))
        else:
            first: Optional[Tensor] = getattr(outputs, "pooler_output", None)
            pooled = hidden[:, 0] if first is None else first
        return self.linear(pooled)
