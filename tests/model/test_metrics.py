"""Test the counts of what the exits did."""

import pytest
import torch

from sledgehammer.model.metrics import AnswerStatistics, ExitAccuracy


def counted() -> AnswerStatistics:
    statistics = AnswerStatistics([0, 2, 5], full_layers=6)
    statistics(
        torch.tensor([0, 0, 2]), torch.tensor([0.9, 0.8, 0.6]), torch.tensor([True, False, True])
    )
    statistics(torch.tensor([2]), torch.tensor([0.6]), torch.tensor([True]))
    return statistics


def test_hand_computed_figures() -> None:
    metrics = counted().get_metric(reset=True)
    assert metrics == pytest.approx(
        {
            "accuracy": 3 / 4,
            "mean_exit_layer": (0 + 0 + 5 + 5) / 4,
            "layer_speedup": 6 / (2.5 + 1),
            "share_at_exit_0": 0.5,
            "share_at_exit_2": 0.0,
            "share_at_exit_5": 0.5,
            "accuracy_at_exit_0": 0.5,
            "accuracy_at_exit_5": 1.0,
            # Gaps 0.1 and 0.8 of one answer each, 0.4 of two answers.
            "calibration_error": (0.1 + 0.8 + 2 * 0.4) / 4,
        },
        abs=1e-6,
    )


def test_progress_shows_the_two_that_matter_and_changes_nothing() -> None:
    statistics = counted()
    assert set(statistics.get_metric()) == {"accuracy", "layer_speedup"}
    assert statistics.get_metric(reset=True)["accuracy"] == 0.75


def test_reset_forgets() -> None:
    statistics = counted()
    statistics.get_metric(reset=True)
    assert statistics.get_metric() == {} == statistics.get_metric(reset=True)


def test_speedup_is_against_the_full_model() -> None:
    """An efficient baseline of 3 layers is twice as fast as the 6 it was cut from."""
    statistics = AnswerStatistics([2], full_layers=6)
    statistics(torch.zeros(4, dtype=torch.long), torch.rand(4), torch.ones(4, dtype=torch.bool))
    assert statistics.get_metric()["layer_speedup"] == 2.0


def test_accuracy_of_each_exit_on_all_instances() -> None:
    metric = ExitAccuracy([1, 3])
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    metric(logits, torch.tensor([0, 1]))
    metric(logits[:1], torch.tensor([1]))
    assert metric.get_metric() == pytest.approx({"mean_exit_accuracy": 2 / 3})
    assert metric.get_metric(reset=True) == pytest.approx(
        {"mean_exit_accuracy": 2 / 3, "exit_1_accuracy": 2 / 3, "exit_3_accuracy": 2 / 3}
    )
    assert metric.get_metric() == {}
