"""Remembers which rows had a part in a model, so that nobody judges it by the same rows."""

from typing import Any, Dict, List

import torch
from torch import Tensor

from sledgehammer.network.fingerprints import row_hashes

__all__ = ["SeenRows", "row_hashes"]


PURPOSES = ("weights", "temperatures", "threshold")
"""What rows are remembered for, in the order in which a model comes about."""


class SeenRows(torch.nn.Module):
    """Fingerprints of the rows that had a part in a model.

    They are buffers, so that weights and archives carry them; their lengths are those of the
    data, and loading adopts what the weights hold. Weights without them load too.
    """

    weights: Tensor
    """Shape (texts,), int64: of the rows that the model was trained on, each text once."""

    temperatures: Tensor
    """Shape (rows,), int64: of those that the temperatures were fitted on."""

    threshold: Tensor
    """Shape (rows,), int64: of those that the policy's setting was chosen on."""

    def __init__(self) -> None:
        super().__init__()
        for name in PURPOSES:
            self.register_buffer(name, torch.zeros(0, dtype=torch.long))
        self._register_load_state_dict_pre_hook(self._adopt)

    @property
    def knows_training_rows(self) -> bool:
        """Whether the rows of the training were remembered: older versions did not."""
        return len(self.weights) > 0

    def among(self, used_for: str, rows: Tensor) -> Tensor:
        """Return which of the given fingerprints `used_for` was fitted on: (rows,), bool, CPU."""
        return torch.isin(rows.cpu(), getattr(self, used_for).cpu())

    def overlap(self, used_for: str, rows: Tensor) -> int:
        """Return how many of the given fingerprints are among those `used_for` was fitted on."""
        return int(self.among(used_for, rows).sum())

    def add_training_rows(self, rows: Tensor) -> None:
        """Remember that the weights have learned from these rows too."""
        own = self.weights
        self.weights = torch.unique(torch.cat([own.cpu(), rows.cpu()])).to(own.device)

    def as_lists(self) -> Dict[str, List[int]]:
        """Return all fingerprints as JSON can hold them."""
        return {name: getattr(self, name).tolist() for name in PURPOSES}

    def _adopt(self, state_dict: Dict[str, Any], prefix: str, *_: Any) -> None:
        for name in PURPOSES:
            own = getattr(self, name)
            stored = state_dict.setdefault(prefix + name, own)
            setattr(self, name, own.new_empty(stored.shape))
