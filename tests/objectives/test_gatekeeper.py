"""Sure of what is right, unsure of what is wrong."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError

from sledgehammer.network.runner import GradientFlow
from sledgehammer.objectives import (
    ExitObjective,
    GatekeeperObjective,
    JointObjective,
    SweetObjective,
    TwoStageObjective,
)
from tests.objectives.batches import batch_of, exits_that_learn, losses_of, random_batch
from tests.tiny_training import train


def logits_of(*probs: Any) -> torch.Tensor:
    return torch.tensor(probs).log()[:, None, :].requires_grad_()


def test_the_term() -> None:
    """One row right, one wrong, one without a label."""
    logits = logits_of([0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.9, 0.05, 0.05])
    batch = batch_of(logits, torch.tensor([0, 1, -1]))
    plain = JointObjective().loss(batch)
    found = GatekeeperObjective(alpha=0.25, weight=2.0).loss(batch) - plain
    from_uniform = math.log(3) + sum(p * math.log(p) for p in (0.6, 0.3, 0.1))
    expected = (0.25 * -math.log(0.8) + 0.75 * from_uniform) / 2
    assert float(found) == pytest.approx(2.0 * expected, rel=1e-5)


def test_a_step_makes_right_rows_surer_and_wrong_ones_less_sure() -> None:
    logits = logits_of([0.8, 0.2], [0.8, 0.2])
    batch = batch_of(logits, torch.tensor([0, 1]))
    term = GatekeeperObjective().loss(batch) - JointObjective().loss(batch)
    (gradient,) = torch.autograd.grad(term, logits)
    after = torch.softmax(logits - gradient, dim=-1)[:, 0, 0]
    assert after[0] > 0.8 > after[1] > 0.5


def test_joint_is_what_it_is_added_to() -> None:
    batch = random_batch()
    objective = ExitObjective.from_params(Params({"type": "gatekeeper"}))
    assert float(objective.loss(batch)) > float(losses_of(batch).sum())


def test_it_reaches_what_the_other_objective_trains() -> None:
    staged, batch = GatekeeperObjective(TwoStageObjective()), random_batch()
    staged.begin_epoch(0.0)
    assert exits_that_learn(staged.loss(batch), batch) == [2]
    assert staged.end_stage() and staged.stage == 1
    assert staged.gradients is GradientFlow.LOWER_EXITS
    assert exits_that_learn(staged.loss(batch), batch) == [0, 1]
    assert exits_that_learn(staged.loss_over_all_exits(batch), batch) == [0, 1, 2]
    assert GatekeeperObjective(SweetObjective()).gradients is GradientFlow.BETWEEN_EXITS


def test_a_run_tells_the_other_objective_how_far_it_is(tmp_path: Path) -> None:
    """Which `alternating` and `two_stage` must know."""
    for name in ("alternating", "two_stage"):
        objective = {"type": "gatekeeper", "objective": {"type": name}}
        train(tmp_path / name, model__objective=objective, trainer__num_epochs=2)
    with pytest.raises(ConfigurationError, match="no epoch of 1"):
        train(tmp_path / "one", model__objective=objective, trainer__num_epochs=1)


@pytest.mark.parametrize("bad", [{"alpha": -0.1}, {"alpha": 1.1}, {"weight": 0.0}])
def test_bad_values(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{next(iter(bad))} must be"):
        GatekeeperObjective(**bad)
