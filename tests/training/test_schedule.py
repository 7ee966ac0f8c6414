"""The learning rate over the stages of an objective."""

from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from allennlp.common import Params
from allennlp.training import GradientDescentTrainer
from allennlp.training.learning_rate_schedulers import LearningRateScheduler, SlantedTriangular

from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.objectives import ExitObjective
from sledgehammer.training.schedule import StagedTriangular
from tests.tiny_training import train

RUN: Dict[str, Any] = {"trainer__num_epochs": 4, "data_loader": {"batch_size": 2}}
TYPE = "sledgehammer_slanted_triangular"


def rates_of(scheduler: Any, batches: range, steps_per_epoch: int) -> List[float]:
    """The rate with which each batch is trained, as the trainer asks for it."""
    rates = []
    for batch in batches:
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.step_batch(batch + 1)
        if (batch + 1) % steps_per_epoch == 0:
            scheduler.step()
    return rates


def made(kind: str, epochs: int) -> LearningRateScheduler:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    params = Params({"type": kind, "cut_frac": 0.25})
    return LearningRateScheduler.from_params(
        params, optimizer=optimizer, num_epochs=epochs, num_steps_per_epoch=10
    )


def test_without_stages_it_is_allennlps() -> None:
    ours, theirs = made(TYPE, 3), made("slanted_triangular", 3)
    assert isinstance(ours, StagedTriangular) and type(theirs) is SlantedTriangular
    assert rates_of(ours, range(30), 10) == rates_of(theirs, range(30), 10)


def test_each_stage_has_a_schedule_of_its_own() -> None:
    scheduler = made(TYPE, 5)
    found: List[float] = []
    for epochs, batches in ((2, range(20)), (3, range(20, 50))):
        scheduler.begin_stage(epochs, batches[0])
        found += rates_of(scheduler, batches, 10)
    alone = [rates_of(made(TYPE, 2), range(20), 10), rates_of(made(TYPE, 3), range(30), 10)]
    assert found == [*alone[0], *alone[1]]
    assert max(found[:20]) == max(found[20:]) == 1.0


def test_it_goes_on_from_a_checkpoint() -> None:
    whole, first, second = made(TYPE, 4), made(TYPE, 4), made(TYPE, 4)
    for scheduler in (whole, first):
        rates_of(scheduler, range(20), 10)
        scheduler.begin_stage(2, 20)
        rates_of(scheduler, range(20, 30), 10)
    second.load_state_dict(first.state_dict())
    second.optimizer.param_groups[0]["lr"] = first.optimizer.param_groups[0]["lr"]
    assert rates_of(second, range(30, 40), 10) == rates_of(whole, range(30, 40), 10)


@pytest.mark.parametrize(
    "epochs, first_stage, expected", [(4, 0.5, [2, 2]), (3, 0.5, [2, 1]), (10, 0.7, [7, 3])]
)
def test_the_length_of_stages(epochs: int, first_stage: float, expected: List[int]) -> None:
    params = Params({"type": "two_stage", "first_stage": first_stage})
    objective = ExitObjective.from_params(params)
    assert objective.stage_epochs(epochs) == expected
    stages = []
    for done in range(epochs):
        objective.begin_epoch(done / epochs)
        stages.append(objective.stage)
    assert [stages.count(0), stages.count(1)] == expected


def rates_of_run(
    directory: Path, monkeypatch: pytest.MonkeyPatch, **overrides: Any
) -> Dict[int, List[float]]:
    """The exits' rate at the start of each step, epoch by epoch."""
    seen: Dict[int, List[float]] = {}
    train_epoch = GradientDescentTrainer._train_epoch

    def heard(trainer: GradientDescentTrainer, epoch: int) -> Any:
        optimizer = trainer.optimizer
        step, rates = optimizer.step, seen.setdefault(epoch, [])

        def counted(*args: Any, **kwargs: Any) -> Any:
            rates.append(optimizer.param_groups[0]["lr"])
            return step(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optimizer, "step", counted)
            return train_epoch(trainer, epoch)

    monkeypatch.setattr(GradientDescentTrainer, "_train_epoch", heard)
    train(directory, trainer__learning_rate_scheduler__cut_frac=0.5, **overrides)
    return seen


def test_the_second_stage_of_a_run_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = rates_of_run(
        tmp_path / "run", monkeypatch, model__objective={"type": "two_stage"}, **RUN
    )
    first, second = [*rates[0], *rates[1]], [*rates[2], *rates[3]]
    assert first == second and len(first) == 2 * len(rates[0])
    assert first.index(max(first)) == len(rates[0]) - 1  # warm-up is half of the stage


def test_so_does_one_that_begins_ahead_of_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets all epochs that are left."""
    get_metrics = MultiExitClassifier.get_metrics
    monkeypatch.setattr(
        MultiExitClassifier, "get_metrics", lambda *a, **k: {**get_metrics(*a, **k), "flat": 1.0}
    )
    objective = {"type": "two_stage", "first_stage": 0.75}
    early = {"trainer__patience": 1, "trainer__validation_metric": "+flat"}
    rates = rates_of_run(tmp_path / "run", monkeypatch, model__objective=objective, **RUN, **early)
    second = [*rates[2], *rates[3]]
    assert second[0] < rates[1][-1] < max(second)
    assert second.index(max(second)) == len(rates[2]) - 1
