"""Compute fingerprints of rows, by which a model remembers the rows that it was made with."""

import hashlib

import torch
from torch import Tensor

from sledgehammer.network.families import TokenTensors

_BYTES = 8
"""Bytes of a fingerprint: so many that two different rows hardly ever share one."""


def row_hashes(tokens: TokenTensors) -> Tensor:
    """Return a fingerprint of the word pieces of each row: the same in every batch.

    # Parameters

    tokens : `TokenTensors`
        From a `TransformerTextField`; each tensor of shape (rows, tokens).

    # Returns

    Shape (rows,), int64, on the CPU.
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
