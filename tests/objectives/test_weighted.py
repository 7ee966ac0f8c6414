"""Deeper exits count more."""

import torch

from sledgehammer.objectives import WeightedObjective
from tests.objectives.batches import losses_of, random_batch


def test_weights_are_the_layers_run() -> None:
    batch = random_batch()
    first, second, third = losses_of(batch)
    expected = (1 * first + 3 * second + 4 * third) / 8
    torch.testing.assert_close(WeightedObjective().loss(batch), expected)
