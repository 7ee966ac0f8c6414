"""Objectives that train the backbone first and the exits then."""

from pathlib import Path

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from sledgehammer.network.runner import GradientFlow
from sledgehammer.objectives import SelfDistillationObjective, TwoStageObjective
from sledgehammer.objectives.base import StagedObjective, divergence
from tests.objectives.batches import batch_of, exits_that_learn, losses_of, random_batch
from tests.tiny_training import train

STAGED = [TwoStageObjective, SelfDistillationObjective]


@pytest.mark.parametrize("kind", STAGED)
def test_first_stage_trains_all_layers_for_the_last_exit(kind: "type[StagedObjective]") -> None:
    objective, batch = kind(), random_batch()
    objective.begin_epoch(0.25)
    assert objective.gradients is GradientFlow.ALL
    assert exits_that_learn(objective.loss(batch), batch) == [2]


@pytest.mark.parametrize("kind", STAGED)
def test_second_stage_trains_the_other_exits_alone(kind: "type[StagedObjective]") -> None:
    objective, batch = kind(), random_batch()
    objective.begin_epoch(0.5)
    assert objective.gradients is GradientFlow.LOWER_EXITS
    assert exits_that_learn(objective.loss(batch), batch) == [0, 1]


def test_what_the_second_stage_learns_from() -> None:
    batch = random_batch()
    labels, teacher = TwoStageObjective(), SelfDistillationObjective()
    labels.begin_epoch(0.5)
    teacher.begin_epoch(0.5)
    torch.testing.assert_close(labels.loss(batch), losses_of(batch)[:2].sum())
    expected = sum(divergence(batch.logits[:, i], batch.logits[:, 2]).mean() for i in (0, 1))
    torch.testing.assert_close(teacher.loss(batch), expected)
    unlabelled = batch_of(batch.logits, torch.full((5,), -1))
    torch.testing.assert_close(teacher.loss(unlabelled), expected)


@pytest.mark.parametrize("first_stage", [0.0, 1.0, -1.0])
def test_bad_share(first_stage: float) -> None:
    with pytest.raises(ConfigurationError, match="first_stage must be between 0 and 1"):
        TwoStageObjective(first_stage)


def test_training_needs_the_callback() -> None:
    with pytest.raises(ConfigurationError, match="'sledgehammer_objective'.*callbacks"):
        TwoStageObjective().loss(random_batch())


def test_one_exit_is_not_enough() -> None:
    objective = TwoStageObjective()
    objective.begin_epoch(0.5)
    with pytest.raises(ConfigurationError, match="needs a second exit"):
        objective.loss(batch_of(torch.zeros(2, 1, 3), torch.tensor([0, 1])))


def weights_after(directory: Path, epoch: int) -> "dict[str, torch.Tensor]":
    (file,) = directory.glob(f"model_state_e{epoch}_b*.th")
    return torch.load(file)


@pytest.mark.parametrize("name", ["two_stage", "self_distillation"])
def test_the_backbone_is_frozen_in_the_second_half_of_a_run(tmp_path: Path, name: str) -> None:
    train(
        tmp_path / "run",
        model__objective={"type": name},
        trainer__num_epochs=2,
        trainer__checkpointer={"keep_most_recent_by_count": 5},
    )
    first, second = (weights_after(tmp_path / "run", epoch) for epoch in (1, 2))
    calibrated = {"temperatures", "exit_shares"}
    moved = {k for k in first if k not in calibrated and not torch.equal(first[k], second[k])}
    assert moved == {
        "exits.0.linear.weight", "exits.0.linear.bias", "exits.1.mix", "exits.1.linear.weight",
        "exits.1.linear.bias",
    }  # fmt: skip


def test_a_recovered_run_goes_on_in_its_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []
    monkeypatch.setattr(
        TwoStageObjective, "begin_epoch", lambda self, progress: heard.append(progress)
    )
    monkeypatch.setattr(TwoStageObjective, "loss", lambda self, batch: losses_of_first(batch))
    run = {"model__objective": {"type": "two_stage"}, "trainer__num_epochs": 4}
    with monkeypatch.context() as patch:
        patch.setattr("sledgehammer.training.callbacks.calibrate", interrupt_in_third_epoch())
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", **run)
    del heard[:]
    train(tmp_path / "run", recover=True, **run)
    assert heard[0] == 0.5


def losses_of_first(batch: "object") -> torch.Tensor:
    return batch.logits[:, 0].square().mean()  # type: ignore[attr-defined]


def interrupt_in_third_epoch() -> "object":
    from sledgehammer.training.callbacks import calibrate

    calls = []

    def interrupted(*args: "object") -> "object":
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return calibrate(*args)  # type: ignore[arg-type]

    return interrupted
