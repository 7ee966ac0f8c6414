"""Remembers on which rows something was fitted, so that nobody judges it by the same rows."""

import hashlib
from typing import Any, Dict

import torch
from torch import Tensor

from sledgehammer.network.encoder import TokenTensors

_BYTES = 8


def row_hashes(tokens: TokenTensors) -> Tensor:
    """A fingerprint of each row's word pieces, whatever batch it is in: (rows,), int64, CPU.

    # Parameters

    tokens : `TokenTensors`
        From a `TransformerTextField`; each tensor of shape (rows, tokens).
    """
    lengths = tokens["attention_mask"].sum(dim=1).tolist()
    rows = tokens["input_ids"].cpu().int().numpy()
    hashes = [
        int.from_bytes(
            hashlib.blake2b(row[:length].tobytes(), digest_size=_BYTES).digest(),
            "little",
            signed=True,
        )
        for row, length in zip(rows, lengths)
    ]
    return torch.tensor(hashes, dtype=torch.long)


class SeenRows(torch.nn.Module):
    """Fingerprints of the rows that the temperatures and the threshold were chosen on.

    They are buffers, so that weights and archives carry them; their lengths are those of the
    data, and loading adopts what the weights hold. Weights without them load too.
    """

    temperatures: Tensor
    threshold: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("temperatures", "threshold"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.long))
        self._register_load_state_dict_pre_hook(self._adopt)

    def overlap(self, used_for: str, rows: Tensor) -> int:
        """How many of the given fingerprints are among those `used_for` was chosen on."""
        return int(torch.isin(rows.cpu(), getattr(self, used_for).cpu()).sum())

    def _adopt(self, state_dict: Dict[str, Any], prefix: str, *_: Any) -> None:
        for name in ("temperatures", "threshold"):
            own = getattr(self, name)
            stored = state_dict.setdefault(prefix + name, own)
            setattr(self, name, own.new_empty(stored.shape))
