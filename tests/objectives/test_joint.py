"""All exits at once."""

import pytest
import torch

from sledgehammer.objectives import JointObjective
from tests.objectives.batches import losses_of, random_batch


@pytest.mark.parametrize("training", [True, False])
def test_joint_is_the_sum_over_exits(training: bool) -> None:
    batch = random_batch(training)
    torch.testing.assert_close(JointObjective().loss(batch), losses_of(batch).sum())
