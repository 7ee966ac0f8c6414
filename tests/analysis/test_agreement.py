import pytest
import torch

from sledgehammer.analysis.agreement import compare
from sledgehammer.network.runner import Answers

REFERENCE = Answers(
    torch.tensor([0, 0, 1, 1]), torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
)


def test_nothing_changes_against_itself() -> None:
    same = compare(REFERENCE, REFERENCE, [0, 5], torch.tensor([0, 1, 1, 0]))
    assert (same.labels, same.exits, same.probability_difference) == (1.0, 1.0, 0.0)
    assert (same.mean_layers, same.mean_layers_change) == (3.5, 0.0)
    assert (same.accuracy, same.accuracy_change) == (0.75, 0.0)


def test_every_change_is_reported() -> None:
    other = Answers(
        torch.tensor([0, 1, 1, 1]), torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.6, 0.4], [0.4, 0.6]])
    )
    changed = compare(REFERENCE, other, [0, 5], torch.tensor([0, 1, 1, 1]))
    assert (changed.labels, changed.exits) == (0.5, 0.75)
    assert changed.probability_difference == pytest.approx(0.1)
    assert changed.mean_layers_change == pytest.approx(5 / 4)
    assert (changed.accuracy, changed.accuracy_change) == (0.5, 0.0)
    assert (changed.only_reference_right, changed.only_other_right) == (1, 1)


def test_without_labels_and_without_common_exits() -> None:
    other = Answers(1 - REFERENCE.exit, REFERENCE.probs)
    changed = compare(REFERENCE, other, [0, 5])
    assert changed.exits == changed.probability_difference == 0.0
    assert changed.accuracy is None
    assert changed.only_reference_right is None and changed.only_other_right is None


def test_different_rows_are_refused() -> None:
    fewer = Answers(REFERENCE.exit[:3], REFERENCE.probs[:3])
    with pytest.raises(ValueError, match="4 and 3 rows"):
        compare(REFERENCE, fewer, [0, 5])
