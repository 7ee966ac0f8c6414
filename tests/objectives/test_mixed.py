"""First the backbone with the last exit, then everything."""

from pathlib import Path

import pytest
import torch

from sledgehammer.network.runner import GradientFlow
from sledgehammer.objectives import MixedObjective
from tests.objectives.batches import exits_that_learn, losses_of, random_batch
from tests.objectives.test_stages import weights_after
from tests.tiny_training import train


def test_the_last_exit_then_all() -> None:
    objective, batch = MixedObjective(), random_batch()
    for progress, exits in ((0.25, [2]), (0.5, [0, 1, 2])):
        objective.begin_epoch(progress)
        assert objective.gradients is GradientFlow.ALL
        assert exits_that_learn(objective.loss(batch), batch) == exits
        assert list(objective.learning(3)) == exits
        torch.testing.assert_close(objective.loss(batch), losses_of(batch)[exits].sum())


def test_over_all_exits_it_is_joint() -> None:
    """Not the sum of both stages, in which the last exit would count twice."""
    batch = random_batch()
    torch.testing.assert_close(MixedObjective().loss_over_all_exits(batch), losses_of(batch).sum())


@pytest.mark.parametrize("epoch", [1, 2])
def test_nothing_is_frozen_in_the_second_half_of_a_run(tmp_path: Path, epoch: int) -> None:
    train(
        tmp_path / "run",
        model__objective={"type": "mixed"},
        trainer__num_epochs=3,
        trainer__checkpointer={"keep_most_recent_by_count": 5},
    )
    first, second = (weights_after(tmp_path / "run", e) for e in (epoch, epoch + 1))
    still = {name for name in first if torch.equal(first[name], second[name])}
    frozen = {name for name in still if name.startswith(("encoder.transformer.encoder", "exits"))}
    # Up to the second epoch the last exit learns alone.
    lower = {name for name in first if name.startswith(("exits.0", "exits.1"))}
    assert frozen == (lower if epoch == 1 else set())
