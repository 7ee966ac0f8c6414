"""Batches for objectives, without a model."""

from typing import List

import torch
from torch.nn.functional import cross_entropy

from sledgehammer.objectives import ExitBatch

LABEL = torch.tensor([0, 2, 1, 1, 0])
LAYERS = [0, 2, 3]


def batch_of(logits: torch.Tensor, label: torch.Tensor = LABEL, training: bool = True) -> ExitBatch:
    """Exits after `LAYERS`; the tokens are nobody's."""
    ids = torch.ones((len(logits), 4), dtype=torch.long)
    tokens = {"input_ids": ids, "attention_mask": ids.bool()}
    return ExitBatch(logits, label, tokens, LAYERS, training)


def random_batch(training: bool = True) -> ExitBatch:
    """Five rows, three exits, four labels; the logits want a gradient."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((5, 3, 4), generator=generator, requires_grad=True)
    return batch_of(logits, training=training)


def losses_of(batch: ExitBatch) -> torch.Tensor:
    """The cross-entropy of each exit, one after the other."""
    return torch.stack([cross_entropy(batch.logits[:, i], batch.label) for i in range(3)])


def exits_that_learn(loss: torch.Tensor, batch: ExitBatch) -> List[int]:
    """The positions of the exits whose logits have a gradient."""
    (gradient,) = torch.autograd.grad(loss, batch.logits)
    return gradient.abs().sum(dim=(0, 2)).nonzero().flatten().tolist()
