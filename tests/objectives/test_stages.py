"""Objectives that train the backbone first and the exits then."""

from pathlib import Path

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.training import GradientDescentTrainer

from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.runner import GradientFlow
from sledgehammer.objectives import SelfDistillationObjective, TwoStageObjective
from sledgehammer.objectives.base import LossOverAllExits, divergence
from sledgehammer.objectives.staged import StagedObjective
from tests.objectives.batches import batch_of, exits_that_learn, losses_of, random_batch
from tests.tiny_training import load, train

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


@pytest.mark.parametrize("kind", STAGED)
@pytest.mark.parametrize(
    "first_stage, epochs, advice",
    [
        (0.5, 1, "train for more epochs$"),
        (0.9, 2, "a first_stage of at most 0.5$"),
        (0.7, 3, "a first_stage of at most 0.66$"),
    ],
)
def test_a_run_without_a_second_stage_is_refused(
    kind: "type[StagedObjective]", first_stage: float, epochs: int, advice: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"no epoch of {epochs} .*{advice}"):
        kind(first_stage).check_epochs(epochs)


@pytest.mark.parametrize(
    "first_stage, epochs", [(0.5, 2), (0.9, 10), (0.66, 3), (1e-9, 2), (0.7, 10)]
)
def test_a_run_with_a_second_stage_is_not(first_stage: float, epochs: int) -> None:
    objective = TwoStageObjective(first_stage)
    objective.check_epochs(epochs)
    objective.begin_epoch((epochs - 1) / epochs)
    assert objective.stage == 1


def test_a_run_that_is_refused_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TwoStageObjective, "loss", lambda *_: pytest.fail("a step was taken"))
    with pytest.raises(ConfigurationError, match="no epoch of 1 is in the second stage"):
        train(tmp_path / "run", model__objective={"type": "two_stage"}, trainer__num_epochs=1)


@pytest.mark.parametrize("kind", STAGED)
def test_the_loss_over_all_exits_is_that_of_both_stages(kind: "type[StagedObjective]") -> None:
    objective, batch = kind(), random_batch(training=False)
    both = objective.loss(batch) + objective.second_loss(batch)
    whole = LossOverAllExits(objective)
    torch.testing.assert_close(whole.loss(batch), both)
    assert exits_that_learn(whole.loss(batch), batch) == [0, 1, 2]
    objective.begin_epoch(0.5)
    torch.testing.assert_close(whole.loss(batch), both)
    assert whole.gradients is GradientFlow.ALL


@pytest.mark.parametrize("metric", ["+nothing", "-nothing"])
def test_early_stopping_counts_within_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    """A metric that never improves ends each stage one epoch after its first, and the archive has
    weights of the second stage, though they are no better."""
    stages = []
    get_metrics = MultiExitClassifier.get_metrics

    def with_constant(self: MultiExitClassifier, reset: bool = False) -> "dict[str, float]":
        if not self.training and reset:
            stages.append(self.objective.stage)
        return {**get_metrics(self, reset), "nothing": 1.0}

    monkeypatch.setattr(MultiExitClassifier, "get_metrics", with_constant)
    metrics = train(
        tmp_path / "run",
        model__objective={"type": "two_stage"},
        trainer__num_epochs=10,
        trainer__patience=1,
        trainer__validation_metric=metric,
    )
    assert stages == [0, 0, 1, 1]
    assert metrics["best_epoch"] == 2
    assert load(tmp_path / "run").exits[1].mix.abs().sum() > 0


def test_a_recovered_run_stays_in_a_stage_that_began_early(tmp_path: Path) -> None:
    run = {
        "model__objective": {"type": "two_stage", "first_stage": 0.8},
        "trainer__num_epochs": 5,
        "trainer__patience": 1,
        "trainer__validation_metric": "-exit_3_accuracy",
        "trainer__optimizer__lr": 0.0,
    }
    seen = []
    train_epoch = GradientDescentTrainer._train_epoch

    def heard(trainer: GradientDescentTrainer, epoch: int) -> "object":
        seen.append((epoch, trainer.model.objective.stage))
        if seen == [(0, 0), (1, 0), (2, 1)]:
            raise KeyboardInterrupt
        return train_epoch(trainer, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GradientDescentTrainer, "_train_epoch", heard)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", **run)
        train(tmp_path / "run", recover=True, **run)
    assert seen[3:] == [(0, 1), (1, 1), (2, 1), (3, 1)]


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
