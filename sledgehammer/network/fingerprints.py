"""What tells a row from others, whatever batch it is in."""

import hashlib

import torch
from torch import Tensor

from sledgehammer.network.encoder import TokenTensors

_BYTES = 8


def row_hashes(tokens: TokenTensors) -> Tensor:
    """Return a fingerprint of each row's word pieces, whatever batch it is in: (rows,), int64, CPU.

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
