"""Tell weights apart, in little time."""

import hashlib

import torch


def fingerprint(model: torch.nn.Module) -> str:
    """Return a string that changes when a model's parameters, or its lexical exit, change.

    The bits of each parameter are summed as integers, at the speed of memory, and the sums are
    hashed with the names and shapes. That notices training and pruning, but does not protect
    against somebody who crafts other weights with the same fingerprint.
    """
    digest = hashlib.blake2b(digest_size=16)
    # Other buffers are calibrated, or remember rows.
    lexical = [(n, b) for n, b in model.named_buffers() if n.startswith("lexical.")]
    for name, parameter in sorted([*model.named_parameters(), *lexical], key=lambda pair: pair[0]):
        values = parameter.detach().float().contiguous().view(torch.int32)
        total = int(values.sum(dtype=torch.int64))
        digest.update(f"{name} {tuple(parameter.shape)} {total};".encode())
    return digest.hexdigest()
