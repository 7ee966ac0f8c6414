"""Joint steps and steps of the last exit, in turn."""

import torch

from sledgehammer.objectives import AlternatingObjective
from tests.objectives.batches import exits_that_learn, losses_of, random_batch


def test_the_last_exit_alone_and_all_in_turn() -> None:
    objective, batch = AlternatingObjective(), random_batch()
    learning = [exits_that_learn(objective.loss(batch), batch) for _ in range(4)]
    assert learning == [[2], [0, 1, 2], [2], [0, 1, 2]]


def test_validation_passes_are_joint_and_change_nothing() -> None:
    objective, batch = AlternatingObjective(), random_batch(training=False)
    for _ in range(3):
        torch.testing.assert_close(objective.loss(batch), losses_of(batch).sum())
    training = random_batch()
    assert exits_that_learn(objective.loss(training), training) == [2]
