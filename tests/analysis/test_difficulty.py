"""Difficulty by exit layer."""

import pytest
import torch

from sledgehammer.analysis import difficulty
from sledgehammer.analysis.difficulty import Consistency, DifficultyClass

LAYERS = [0, 2, 5]


def test_rank_goes_by_exit_then_by_confidence_there() -> None:
    exit = torch.tensor([2, 0, 1, 0])
    confidence = torch.tensor(
        [[0.1, 0.1, 0.9], [0.8, 0.1, 0.1], [0.5, 0.6, 0.1], [0.9, 0.99, 0.99]]
    )
    assert difficulty.rank(exit, confidence).tolist() == [3, 1, 2, 0]


def test_changes_name_the_layers_of_new_answers() -> None:
    predicted = torch.tensor([[0, 0, 0], [0, 1, 1], [0, 1, 0]])
    assert difficulty.changes(predicted, LAYERS) == [[], [2], [2, 5]]


def test_classes_count_accuracy_and_length() -> None:
    exit, tokens = torch.tensor([0, 0, 2]), torch.tensor([3, 5, 9])
    correct = torch.tensor([True, False, True])
    assert difficulty.classes(exit, tokens, LAYERS, correct) == [
        DifficultyClass(0, 2, pytest.approx(2 / 3), 0.5, 4.0),  # type: ignore[arg-type]
        DifficultyClass(2, 0, 0.0, None, None),
        DifficultyClass(5, 1, pytest.approx(1 / 3), 1.0, 9.0),  # type: ignore[arg-type]
    ]
    assert difficulty.classes(exit, tokens, LAYERS, None)[0].accuracy is None


def test_consistency_is_once_right_right_ever_after() -> None:
    correct = torch.tensor(
        [[1, 1, 1], [1, 0, 1], [0, 1, 1], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.bool
    )
    assert difficulty.consistency(correct, LAYERS) == [Consistency(0, 2, 1), Consistency(2, 2, 1)]


def test_length_correlation() -> None:
    exit, tokens = torch.tensor([0, 1, 2]), torch.tensor([3, 5, 9])
    assert difficulty.length_correlation(exit, tokens) == pytest.approx(1.0)
    assert difficulty.length_correlation(exit, 10 - tokens) == pytest.approx(-1.0)
    assert difficulty.length_correlation(torch.zeros(3), tokens) is None


def test_examples_are_the_ends_of_the_order() -> None:
    found = difficulty.examples(torch.tensor([4, 2, 0, 1, 3]), 2)
    assert found == {"easiest": [4, 2], "hardest": [3, 1]}
