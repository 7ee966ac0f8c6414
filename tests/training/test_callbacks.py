"""Calibration within training: what is fitted, stored, reported and archived."""

from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest
import torch
from allennlp.data import Vocabulary
from allennlp.training import GradientDescentTrainer

from sledgehammer.calibration import expected_calibration_error, fit_temperature
from sledgehammer.dataset_readers import SstReader
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.policies import exit_shares
from sledgehammer.training.callbacks import calibrate
from tests.tiny_training import dev_logits, load, train


def assert_calibrated_on_dev(
    model: MultiExitClassifier, reader: SstReader, metrics: Dict[str, Any]
) -> None:
    """The model's temperatures are those that fit its own logits, and those reported; what
    budgets go by fits them both."""
    found = dev_logits(model, reader)
    shares = exit_shares(model.calibrated(found["logits"]).numpy())
    np.testing.assert_allclose(model.shares_on_host(), shares, atol=1e-4)
    for position, layer in enumerate(model.exit_layers):
        fitted = fit_temperature(found["logits"][:, position], found["label"])
        stored = float(model.temperatures[position])
        assert stored == pytest.approx(fitted, rel=1e-2)
        assert stored == pytest.approx(metrics[f"best_validation_exit_{layer}_temperature"])


def test_archive_carries_the_temperatures_of_the_best_epoch(
    tmp_path: Path, sst_reader: SstReader
) -> None:
    metrics = train(tmp_path / "run", trainer__num_epochs=3)
    model = load(tmp_path / "run")
    assert not torch.equal(model.temperatures, torch.ones(3))
    assert_calibrated_on_dev(model, sst_reader, metrics)


def test_temperatures_survive_recovery(
    tmp_path: Path, sst_reader: SstReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_epoch = GradientDescentTrainer._train_epoch

    def interrupted(trainer: GradientDescentTrainer, epoch: int) -> Any:
        if epoch == 1:
            raise KeyboardInterrupt
        return train_epoch(trainer, epoch)

    # With a learning rate of 0 from the second epoch on, the first one stays the best.
    overrides = {"trainer__num_epochs": 2, "trainer__learning_rate_scheduler__cut_frac": 0.5}
    with monkeypatch.context() as patch:
        patch.setattr(GradientDescentTrainer, "_train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", **overrides)
    after_first = torch.load(tmp_path / "run/best.th")["temperatures"]
    assert not torch.equal(after_first, torch.ones(3))

    metrics = train(tmp_path / "run", recover=True, **overrides)
    model = load(tmp_path / "run")
    assert_calibrated_on_dev(model, sst_reader, metrics)
    if metrics["best_epoch"] == 0:
        assert torch.equal(model.temperatures, after_first)


def test_metrics_tell_the_calibration_error_of_each_exit(
    tmp_path: Path, sst_reader: SstReader
) -> None:
    metrics = train(tmp_path / "run")
    model = load(tmp_path / "run")
    found = dev_logits(model, sst_reader)
    for position, layer in enumerate(model.exit_layers):
        for when, temperature in (("before", 1.0), ("after", float(model.temperatures[position]))):
            probs = torch.softmax(found["logits"][:, position] / temperature, dim=-1)
            confidence, predicted = probs.max(dim=-1)
            error = expected_calibration_error(confidence, predicted == found["label"])
            reported = metrics[f"best_validation_exit_{layer}_ece_{when}"]
            assert reported == pytest.approx(error, abs=1e-3)
        assert f"best_validation_exit_{layer}_accuracy" in metrics


def test_policy_figures_are_those_with_the_new_temperatures(
    tmp_path: Path, sst_reader: SstReader
) -> None:
    metrics = train(tmp_path / "run", model__policy__threshold=0.6)
    model = load(tmp_path / "run")
    found = dev_logits(model, sst_reader)
    answers = model.answer(found["logits"])
    for position, layer in enumerate(model.exit_layers):
        share = float((answers.exit == position).double().mean())
        assert metrics[f"best_validation_share_at_exit_{layer}"] == pytest.approx(share)
        answered = f"best_validation_accuracy_at_exit_{layer}" in metrics
        assert answered == (share > 0)


def test_validation_runs_all_exits_only_while_training_lasts(tmp_path: Path) -> None:
    model_of_run = []
    on_end = GradientDescentTrainer.train

    def remember(trainer: GradientDescentTrainer) -> Any:
        model_of_run.append(trainer.model)
        return on_end(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GradientDescentTrainer, "train", remember)
        train(tmp_path / "run", trainer__num_epochs=1)
    assert model_of_run[0].always_run_all_exits is False


def test_calibrate_warns_of_an_exit_that_has_learned_nothing(
    vocab: Vocabulary, model: MultiExitClassifier, caplog: pytest.LogCaptureFixture
) -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(2, (200,), generator=generator)
    sure_and_right = 5.0 * torch.nn.functional.one_hot(label, 2).float()
    sure_and_random = 50.0 * torch.randn((200, 2), generator=generator)
    logits = torch.stack([sure_and_random, sure_and_right, sure_and_right], dim=1)
    found = calibrate(model, logits, label)
    assert "exit at layer 0 has learned nothing" in caplog.text
    assert found["exit_0_temperature"] > 19 > found["exit_2_temperature"]
    assert model.temperatures.tolist() == pytest.approx(
        [found[f"exit_{layer}_temperature"] for layer in (0, 2, 3)]
    )


@pytest.mark.parametrize("policy", ["learned_halting", "predicted_depth", "budget"])
def test_training_with_a_policy_that_learns(tmp_path: Path, policy: str) -> None:
    """From the first batch on, when nothing is learned or calibrated yet."""
    metrics = train(
        tmp_path / "run",
        model__signals=["certainty", "depth"],
        model__policy={"type": policy},
        trainer__num_epochs=1,
    )
    shares = [metrics[f"best_validation_share_at_exit_{layer}"] for layer in (0, 2, 3)]
    assert sum(shares) == pytest.approx(1)
    assert load(tmp_path / "run").policy.config()["type"] == policy
