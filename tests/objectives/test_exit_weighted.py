"""Rows count most where they leave."""

from typing import Any

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from sledgehammer.objectives import ExitWeightedObjective
from tests.objectives.batches import batch_of, losses_of, random_batch

SURE, UNSURE = [8.0, 0.0], [0.1, 0.0]


def rows_that_leave_at(*exits: int) -> torch.Tensor:
    """Two labels, three exits: the first sure one is as given."""
    return torch.tensor([[SURE if i >= leaves else UNSURE for i in range(3)] for leaves in exits])


def test_weights_fall_with_the_distance() -> None:
    # Evenly spread thresholds are 0.583, 0.75 and 0.917: below all lies the confidence 0.525.
    objective = ExitWeightedObjective(thresholds=3, decay=0.5)
    batch = batch_of(rows_that_leave_at(0, 1, 2), torch.tensor([0, 0, 0]), training=False)
    confidence = torch.softmax(batch.logits, dim=-1).amax(dim=-1)
    expected = torch.tensor([[1, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 1]])
    expected = 3 * expected / expected.sum(dim=1, keepdim=True)
    torch.testing.assert_close(objective.weights(confidence, batch), expected)


def test_weights_are_a_mean_over_thresholds() -> None:
    objective = ExitWeightedObjective(thresholds=2, decay=0.0)
    # The thresholds are 0.625 and 0.875: the row leaves at the first exit, and at the last.
    confidence = torch.tensor([[0.7, 0.8, 0.85]])
    batch = batch_of(torch.zeros(1, 3, 2), torch.tensor([0]), training=False)
    expected = torch.tensor([[1.5, 0.0, 1.5]])
    torch.testing.assert_close(objective.weights(confidence, batch), expected)


def test_without_decay_and_hinge_it_is_joint() -> None:
    batch = random_batch()
    objective = ExitWeightedObjective(decay=1.0, hinge=0.0)
    torch.testing.assert_close(objective.loss(batch), losses_of(batch).sum())


def test_the_hinge_parts_right_and_wrong() -> None:
    logits = torch.tensor([[[1.0, 0.0]], [[1.2, 0.0]]], requires_grad=True)
    batch = batch_of(logits, torch.tensor([0, 1]))
    c_right, c_wrong = torch.softmax(logits, dim=-1)[:, 0, 0].tolist()
    with_hinge = ExitWeightedObjective(hinge=2.0, margin=0.3).loss(batch)
    without = ExitWeightedObjective(hinge=0.0).loss(batch)
    difference = with_hinge - without
    assert float(difference) == pytest.approx(2.0 * (0.3 - (c_right - c_wrong)), rel=1e-4)
    (gradient,) = torch.autograd.grad(difference, logits)
    assert gradient[0, 0, 0] < 0 < gradient[1, 0, 0]


def test_no_hinge_where_all_are_right() -> None:
    logits = torch.tensor([[[0.1, 0.0]], [[0.2, 0.0]]])
    batch = batch_of(logits, torch.tensor([0, 0]))
    losses = [ExitWeightedObjective(hinge=hinge).loss(batch) for hinge in (0.0, 5.0)]
    torch.testing.assert_close(losses[0], losses[1])


def test_rows_without_a_label_do_not_count() -> None:
    batch = random_batch(training=False)
    more = torch.cat([batch.logits, torch.randn(3, 3, 4)])
    label = torch.cat([batch.label, torch.full((3,), -1)])
    objective = ExitWeightedObjective()
    found = objective.loss(batch_of(more, label, training=False))
    torch.testing.assert_close(found, objective.loss(batch))
    nothing = batch_of(more, torch.full((8,), -1), training=False)
    assert float(objective.loss(nothing)) == 0.0


def test_thresholds_are_drawn_in_training_alone() -> None:
    objective = ExitWeightedObjective()
    losses = [{float(objective.loss(random_batch(t))) for _ in range(5)} for t in (True, False)]
    assert len(losses[0]) > 1 and len(losses[1]) == 1


@pytest.mark.parametrize(
    "bad", [{"thresholds": 0}, {"decay": 1.5}, {"decay": -0.5}, {"hinge": -1.0}, {"margin": 2.0}]
)
def test_bad_values(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{next(iter(bad))} must be"):
        ExitWeightedObjective(**bad)
