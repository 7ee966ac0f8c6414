"""One exit a batch."""

import torch

from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.objectives import JointObjective, RandomExitObjective
from tests.objectives.batches import exits_that_learn, losses_of, random_batch


def test_one_exit_learns_at_a_time_and_every_one_in_turn() -> None:
    torch.manual_seed(0)
    batch = random_batch()
    drawn = set()
    for _ in range(40):
        learning = exits_that_learn(RandomExitObjective().loss(batch), batch)
        assert len(learning) == 1
        drawn.update(learning)
    assert drawn == {0, 1, 2}


def test_it_is_a_plain_cross_entropy() -> None:
    batch = random_batch()
    loss = RandomExitObjective().loss(batch)
    assert any(torch.isclose(loss, each) for each in losses_of(batch))


def test_validation_loss_does_not_depend_on_chance() -> None:
    batch = random_batch(training=False)
    losses = {RandomExitObjective().loss(batch).item() for _ in range(5)}
    assert losses == {JointObjective().loss(batch).item()}


def test_the_other_heads_are_left_alone(model: MultiExitClassifier) -> None:
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
