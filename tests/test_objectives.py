"""How the exits learn."""

import math

import pytest
import torch
from allennlp.common import Params
from torch.nn.functional import cross_entropy

from sledgehammer.model import MultiExitClassifier
from sledgehammer.objectives import ExitObjective, JointObjective, RandomExitObjective

LABEL = torch.tensor([0, 2, 1, 1, 0])


@pytest.fixture
def logits() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((5, 3, 4), generator=generator, requires_grad=True)


def exit_losses(logits: torch.Tensor) -> torch.Tensor:
    return torch.stack([cross_entropy(logits[:, i], LABEL) for i in range(3)])


def test_hand_computed_joint_loss() -> None:
    """Two exits: probabilities 3/4 and 1/2 of the right label, then 1/4 and 1/5."""
    first = torch.tensor([[1.0, 3.0], [1.0, 1.0]]).log()
    second = torch.tensor([[3.0, 1.0], [1.0, 4.0]]).log()
    loss = JointObjective().loss(torch.stack([first, second], dim=1), torch.tensor([1, 0]), True)
    expected = (math.log(4 / 3) + math.log(2)) / 2 + (math.log(4) + math.log(5)) / 2
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("training", [True, False])
def test_joint_is_the_sum_over_exits(logits: torch.Tensor, training: bool) -> None:
    loss = JointObjective().loss(logits, LABEL, training)
    torch.testing.assert_close(loss, exit_losses(logits).sum())


def test_random_exit_trains_one_exit_at_a_time_and_every_one_in_turn(logits: torch.Tensor) -> None:
    torch.manual_seed(0)
    drawn = set()
    for _ in range(40):
        (gradient,) = torch.autograd.grad(RandomExitObjective().loss(logits, LABEL, True), logits)
        touched = gradient.abs().sum(dim=(0, 2)).nonzero().flatten().tolist()
        assert len(touched) == 1
        drawn.update(touched)
    assert drawn == {0, 1, 2}


def test_random_exit_is_a_plain_cross_entropy(logits: torch.Tensor) -> None:
    loss = RandomExitObjective().loss(logits, LABEL, True)
    assert any(torch.isclose(loss, each) for each in exit_losses(logits))


def test_validation_loss_does_not_depend_on_chance(logits: torch.Tensor) -> None:
    losses = {RandomExitObjective().loss(logits, LABEL, False).item() for _ in range(5)}
    assert losses == {JointObjective().loss(logits, LABEL, False).item()}


def test_random_exit_leaves_the_other_heads_alone(model: MultiExitClassifier) -> None:
    torch.manual_seed(0)
    model.objective = RandomExitObjective()
    ids = torch.randint(5, 100, (4, 6))
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}
    model.train()(tokens, torch.tensor([0, 1, 1, 0]))["loss"].backward()
    touched = [
        any(weight.grad is not None and weight.grad.any() for weight in head.parameters())
        for head in model.exits
    ]
    assert sum(touched) == 1


def test_by_name_and_by_default() -> None:
    assert isinstance(ExitObjective.from_params(Params({})), JointObjective)
    assert isinstance(ExitObjective.from_params(Params({"type": "joint"})), JointObjective)
    random_exit = ExitObjective.from_params(Params({"type": "random_exit"}))
    assert isinstance(random_exit, RandomExitObjective)
