"""Joint steps and steps of the last exit, in turn."""

from pathlib import Path
from typing import Any, List

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from sledgehammer.objectives import AlternatingObjective, ExitBatch
from tests.objectives.batches import exits_that_learn, losses_of, random_batch
from tests.tiny_training import train


def test_the_last_exit_alone_and_all_in_turn() -> None:
    objective, batch = AlternatingObjective(), random_batch()
    learning = []
    for step in range(4):
        objective.begin_step(step)
        # Two batches, as with accumulated gradients.
        learning += [exits_that_learn(objective.loss(batch), batch) for _ in range(2)]
    assert learning == [[2], [2], [0, 1, 2], [0, 1, 2]] * 2


def test_validation_passes_are_joint_and_change_nothing() -> None:
    objective, batch = AlternatingObjective(), random_batch(training=False)
    for _ in range(3):
        torch.testing.assert_close(objective.loss(batch), losses_of(batch).sum())
    objective.begin_step(0)
    torch.testing.assert_close(objective.loss(batch), losses_of(batch).sum())
    training = random_batch()
    assert exits_that_learn(objective.loss(training), training) == [2]


def test_training_needs_the_callback() -> None:
    with pytest.raises(ConfigurationError, match="'sledgehammer_objective'.*callbacks"):
        AlternatingObjective().loss(random_batch())


def test_accumulated_gradients_are_of_one_kind_also_when_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of one row in steps of up to three, and an odd number of steps an epoch."""
    kinds: List[bool] = []
    loss = AlternatingObjective.loss

    def heard(self: AlternatingObjective, batch: ExitBatch) -> torch.Tensor:
        found = loss(self, batch)
        if batch.training:
            kinds.append(bool(torch.isclose(found, losses(batch)[-1])))
        return found

    monkeypatch.setattr(AlternatingObjective, "loss", heard)
    run: Any = dict(
        model__objective={"type": "alternating"},
        data_loader={"batch_size": 1, "shuffle": False},
        trainer__num_gradient_accumulation_steps=3,
        trainer__num_epochs=3,
    )
    with monkeypatch.context() as patch:
        patch.setattr("sledgehammer.training.callbacks.calibrate", interrupt_in_second_epoch())
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", **run)
    rows = len(kinds) // 2
    first = list(kinds)
    del kinds[:]
    train(tmp_path / "run", recover=True, **run)
    whole = first[:rows] + kinds  # the second epoch was not saved: it is run again
    steps = [whole[start + i : min(start + i + 3, start + rows)]
             for start in range(0, 3 * rows, rows) for i in range(0, rows, 3)]  # fmt: skip
    assert all(len(set(step)) == 1 for step in steps)
    assert [step[0] for step in steps] == [number % 2 == 0 for number in range(len(steps))]
    assert max(map(len, steps)) == 3


def losses(batch: ExitBatch) -> torch.Tensor:
    from sledgehammer.objectives.base import exit_losses

    return exit_losses(batch)


def interrupt_in_second_epoch() -> Any:
    from sledgehammer.training.callbacks import calibrate

    calls: List[Any] = []

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return calibrate(*args)

    return interrupted
