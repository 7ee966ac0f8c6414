"""Scale gradients on their way back."""

from typing import Any

import torch
from torch import Tensor

from sledgehammer.network.families import LayerInput


class _ScaledGradient(torch.autograd.Function):
    """Return the input as it is; multiply its gradient by a number."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, factor: float) -> Tensor:
        context.factor = factor
        return tensor.view_as(tensor)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Any:
        return gradient * context.factor, None


def scaled_gradient(inputs: LayerInput, factor: float) -> LayerInput:
    """Return the same states, from which the gradient flows back multiplied by a number."""
    if factor == 1.0:
        return inputs
    return inputs._replace(hidden=_ScaledGradient.apply(inputs.hidden, factor))
