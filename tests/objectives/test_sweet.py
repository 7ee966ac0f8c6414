"""A layer learns from the next exit above it alone."""

import pytest
import torch

from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.objectives import JointObjective, SweetObjective
from tests.objectives.batches import losses_of, random_batch


def test_loss_is_the_joint_one() -> None:
    batch = random_batch()
    torch.testing.assert_close(SweetObjective().loss(batch), losses_of(batch).sum())


def layers_with_gradient(model: MultiExitClassifier, exit: int) -> "list[int]":
    """The layers that the loss of one exit reaches."""
    ids = torch.randint(5, 100, (4, 6), generator=torch.Generator().manual_seed(0))
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}
    model.zero_grad()
    found = model.runner.run_all_exits(tokens, model.objective.gradients)
    found.logits[:, exit].sum().backward()
    reached = set()
    for name, weight in model.named_parameters():
        if ".layer." in name and weight.grad is not None and weight.grad.any():
            reached.add(int(name.split(".layer.")[1].split(".")[0]))
    return sorted(reached)


@pytest.mark.parametrize("exit,below", [(0, [0]), (1, [1, 2]), (2, [3])])
def test_gradient_stops_at_the_exit_below(
    model: MultiExitClassifier, exit: int, below: "list[int]"
) -> None:
    model.objective = SweetObjective()
    model.train()
    assert layers_with_gradient(model, exit) == below
    model.objective = JointObjective()
    assert layers_with_gradient(model, exit) == list(range([0, 2, 3][exit] + 1))


def test_outputs_are_the_same_wherever_gradients_stop(model: MultiExitClassifier) -> None:
    ids = torch.randint(5, 100, (4, 6))
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}
    joint = model.runner.run_all_exits(tokens).logits
    sweet = model.runner.run_all_exits(tokens, SweetObjective.gradients).logits
    torch.testing.assert_close(joint, sweet)
