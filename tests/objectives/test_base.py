"""The terms that objectives are made of."""

import math

import pytest
import torch

from sledgehammer.objectives.base import divergence, exit_losses
from tests.objectives.batches import batch_of, losses_of, random_batch


def test_hand_computed_losses() -> None:
    """Two exits: probabilities 3/4 and 1/2 of the right label, then 1/4 and 1/5."""
    first = torch.tensor([[1.0, 3.0], [1.0, 1.0]]).log()
    second = torch.tensor([[3.0, 1.0], [1.0, 4.0]]).log()
    batch = batch_of(torch.stack([first, second], dim=1), torch.tensor([1, 0]))
    expected = [(math.log(4 / 3) + math.log(2)) / 2, (math.log(4) + math.log(5)) / 2]
    assert exit_losses(batch).tolist() == pytest.approx(expected)


def test_rows_without_a_label_do_not_count() -> None:
    batch = random_batch()
    some = batch_of(batch.logits[:3], batch.label[:3])
    unknown = batch_of(batch.logits, torch.tensor([0, 2, 1, -1, -1]))
    torch.testing.assert_close(exit_losses(unknown), losses_of(some))
    assert exit_losses(batch_of(batch.logits, torch.full((5,), -1))).tolist() == [0.0] * 3


def test_hand_computed_divergence() -> None:
    target = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
    said = torch.tensor([[0.25, 0.75], [0.9, 0.1]]).log()
    expected = 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75)
    torch.testing.assert_close(divergence(target, said), torch.tensor([expected, 0.0]))
