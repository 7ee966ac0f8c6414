"""Remember which rows were used to make a model, so that nobody judges it by the same rows."""

from typing import Any, Dict, List

import torch
from torch import Tensor

PURPOSES = ("weights", "temperatures", "threshold")
"""What rows are used for, in the order in which a model is made."""


class SeenRows(torch.nn.Module):
    """Hold fingerprints of the rows that were used to make a model.

    They are buffers, so that weights and archives carry them. Their lengths depend on the data:
    loading takes over the lengths in the weights. Weights without these buffers load too.
    """

    weights: Tensor
    """Shape (texts,), int64: of the training rows, each text once."""

    temperatures: Tensor
    """Shape (rows,), int64: of the rows that the temperatures were fitted on."""

    threshold: Tensor
    """Shape (rows,), int64: of the rows that the policy's setting was chosen on."""

    def __init__(self) -> None:
        super().__init__()
        for name in PURPOSES:
            self.register_buffer(name, torch.zeros(0, dtype=torch.long))
        self._register_load_state_dict_pre_hook(self._adopt)

    @property
    def knows_training_rows(self) -> bool:
        """Return whether the training rows are known: older versions did not record them."""
        return len(self.weights) > 0

    def among(self, purpose: str, hashes: Tensor) -> Tensor:
        """Return which rows were used for one of `PURPOSES`: (rows,), bool, CPU."""
        return torch.isin(hashes.cpu(), getattr(self, purpose).cpu())

    def overlap(self, purpose: str, hashes: Tensor) -> int:
        """Return how many rows were used for one of `PURPOSES`."""
        return int(self.among(purpose, hashes).sum())

    def add_training_rows(self, hashes: Tensor) -> None:
        """Remember that the weights have learned from these rows too."""
        device = self.weights.device
        self.weights = torch.unique(torch.cat([self.weights.cpu(), hashes.cpu()])).to(device)

    def as_lists(self) -> Dict[str, List[int]]:
        """Return all fingerprints by purpose, as JSON can hold them."""
        return {name: getattr(self, name).tolist() for name in PURPOSES}

    def _adopt(self, state_dict: Dict[str, Any], prefix: str, *_: Any) -> None:
        for name in PURPOSES:
            buffer = getattr(self, name)
            stored = state_dict.setdefault(prefix + name, buffer)
            setattr(self, name, buffer.new_empty(stored.shape))
