"""The curve equals what the model would do, and what scikit-learn counts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from torch import Tensor

from sledgehammer.analysis.all_exits import run_all_exits, tradeoff_of
from sledgehammer.analysis.tradeoff import Point, Tradeoff
from sledgehammer.dataset_readers import SstReader
from sledgehammer.dataset_readers.base import token_batches
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import Opened
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.policies import ConfidencePolicy
from tests.conftest import FIXTURES
from tests.tiny_training import load

LAYERS = [0, 2, 5]


def random_tradeoff(seed: int, rows: int = 50, labels: int = 3) -> Tradeoff:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, len(LAYERS), labels, generator=generator)
    label = torch.randint(labels, (rows,), generator=generator)
    return Tradeoff(logits.softmax(-1), label, LAYERS, 6, ConfidencePolicy())


@given(st.integers(0, 10_000), st.floats(0, 1), st.integers(2, 5))
@settings(deadline=None, max_examples=50)
def test_a_point_is_what_its_answers_say(seed: int, threshold: float, labels: int) -> None:
    tradeoff = random_tradeoff(seed, labels=labels)
    (point,) = tradeoff.curve([threshold])
    exit, right, layers = [], [], []
    predicted = []
    for probs, label in zip(tradeoff.probs, tradeoff.label):
        for position in range(3):
            confident = threshold < 1 and probs[position].max() >= torch.tensor(threshold).float()
            if confident or position == 2:
                break
        exit.append(position)
        predicted.append(int(probs[position].argmax()))
        right.append(predicted[-1] == label)
        layers.append(LAYERS[position] + 1)
    assert point.accuracy == pytest.approx(sum(right) / 50)
    assert point.mean_layers == pytest.approx(sum(layers) / 50)
    assert point.layer_speedup == pytest.approx(6 / point.mean_layers)
    shares = {layer: exit.count(i) / 50 for i, layer in enumerate(LAYERS)}
    assert point.shares == pytest.approx(shares)
    expected_f1 = f1_score(tradeoff.label.numpy(), predicted, average="macro")
    assert point.macro_f1 == pytest.approx(expected_f1)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_the_distinct_settings_are_all_there_is(seed: int) -> None:
    """Between two neighbours nothing changes; each of them changes somebody's exit."""
    tradeoff = random_tradeoff(seed, rows=8)
    distinct = tradeoff.distinct_settings()
    assert distinct == sorted(set(distinct)) and (distinct[0], distinct[-1]) == (0.0, 1.0)
    answers = [tradeoff.answered_by(t) for t in distinct]
    for low, high, answered in zip(distinct, distinct[1:], answers[1:]):
        between = float(np.float32((low + high) / 2))
        if low < between < high:  # two confidences may be neighbours in float32
            assert tradeoff.answered_by(between).equal(answered)
    inner = tradeoff.probs[:, :-1].max(-1).values.flatten()
    assert len(distinct) == len(inner.unique()) + 2


def test_ends_of_the_curve_are_the_single_exits() -> None:
    tradeoff = random_tradeoff(1)
    first, last = tradeoff.curve([0.0, 1.0])
    single = tradeoff.single_exits()
    assert (first.accuracy, first.mean_layers) == (single[0].accuracy, 1)
    assert (last.accuracy, last.layer_speedup) == (single[-1].accuracy, 1)
    assert [list(p.shares.values()) for p in single] == torch.eye(3).tolist()


def test_random_exits_are_the_mean_over_many_draws() -> None:
    tradeoff = random_tradeoff(2, rows=300)
    (point,) = tradeoff.curve([0.7])
    (expected,) = tradeoff.random_exits([point])
    assert expected.mean_layers == pytest.approx(point.mean_layers)
    answered = tradeoff.answered_by(0.7)
    accuracies = []
    for _ in range(2000):
        shuffled = answered[torch.randperm(300)]
        accuracies.append(tradeoff.correct[torch.arange(300), shuffled].double().mean())
    assert expected.accuracy == pytest.approx(float(torch.stack(accuracies).mean()), abs=0.003)


def probs(*confidences_of_right_label: float) -> Tensor:
    return torch.tensor([[p, 1 - p] for p in confidences_of_right_label])


def test_oracle_takes_the_earliest_right_exit() -> None:
    rows = torch.stack([probs(0.4, 0.6, 0.3), probs(0.2, 0.3, 0.9), probs(0.1, 0.2, 0.3)])
    tradeoff = Tradeoff(rows, torch.zeros(3, dtype=torch.long), LAYERS, 6, ConfidencePolicy())
    oracle = tradeoff.oracle()
    assert oracle.accuracy == pytest.approx(2 / 3)
    assert oracle.mean_layers == pytest.approx((3 + 6 + 1) / 3)
    best_single = max(p.accuracy for p in tradeoff.single_exits())
    assert oracle.accuracy >= best_single


def test_grid_covers_the_range_of_confidence() -> None:
    for labels in (2, 4):
        grid = random_tradeoff(3, labels=labels).grid()
        assert grid == sorted(grid) and (grid[0], grid[-1]) == (0.0, 1.0)
        assert grid[1] > 1 / labels >= grid[1] - 0.01


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.52, 0.55, 0.6, 0.7, 1.0])
def test_the_curve_is_what_the_model_really_does(
    tiny_archive: Path, sst_reader: SstReader, threshold: float
) -> None:
    """Early exit, in batches, against the replay of one pass with all exits."""
    model: MultiExitClassifier = load(tiny_archive.parent)
    rows = read_rows(sst_reader, str(FIXTURES / "sst/train.txt"))
    tradeoff = tradeoff_of(Opened(model, sst_reader), run_all_exits(model, sst_reader, rows))
    (point,) = tradeoff.curve([threshold])
    model.policy.threshold = threshold
    layers = []
    right = []
    for tokens, positions in token_batches(sst_reader, rows, 3):
        with torch.no_grad():
            output = model(tokens)
        layers.append(output["layers_run"])
        right.append(output["probs"].argmax(-1) == tradeoff.label[positions])
    assert point.mean_layers == pytest.approx(float(torch.cat(layers).double().mean()))
    assert point.accuracy == pytest.approx(float(torch.cat(right).double().mean()))


def test_a_point_can_be_compared() -> None:
    (one,), (other,) = random_tradeoff(4).curve([0.5]), random_tradeoff(4).curve([0.5])
    assert isinstance(one, Point) and one == other
