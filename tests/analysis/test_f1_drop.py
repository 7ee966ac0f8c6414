"""The bound of the macro-F1 drop holds, and is of use."""

from typing import Dict, List, Tuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from sledgehammer.analysis.f1_drop import f1_drop_bounds, macro_f1_drop_is_safe
from sledgehammer.analysis.risk import RiskBound, fastest_within, recall_drop
from sledgehammer.analysis.tradeoff import Tradeoff
from sledgehammer.policies import ConfidencePolicy, Exits

DELTA = 0.1


def f1(label: ndarray, predicted: ndarray, labels: int) -> ndarray:
    own = np.arange(labels)[:, None]
    right = ((label == own) & (predicted == own)).sum(axis=1)
    return 2 * right / ((label == own).sum(axis=1) + (predicted == own).sum(axis=1))


def unbalanced(rows: int, early_error: float, seed: int = 0) -> Tuple[ndarray, ndarray, ndarray]:
    """One row in ten has label 1, and the early exit confuses it with label 0 more often."""
    rng = np.random.default_rng(seed)
    label = (rng.random(rows) < 0.1).astype(int)
    full = np.where(rng.random(rows) < np.where(label, 0.15, 0.02), 1 - label, label)
    changed = rng.random(rows) < np.where(label, early_error, early_error / 20)
    return label, full, np.where(changed, 1 - full, full)


@pytest.mark.parametrize("rows", [100, 1000])
@pytest.mark.parametrize("early_error", [0.02, 0.1])
def test_bounds_fail_no_more_often_than_they_may(rows: int, early_error: float) -> None:
    """How often is a bound below the true drop?"""
    population = unbalanced(200_000, early_error)
    label, full, early = population
    drops = f1(label, full, 2) - f1(label, early, 2)
    rng = np.random.default_rng(1)
    wrong = {"macro": 0, "labels": 0}
    for _ in range(400):
        drawn = rng.integers(len(label), size=rows)
        sample = label[drawn], full[drawn], early[drawn]
        bounds = f1_drop_bounds(*sample, 2, DELTA)
        wrong["labels"] += bool((bounds < drops).any())
        wrong["macro"] += bool(bounds.mean() < drops.mean())
    for bound in (bounds.mean() - 1e-9, bounds.mean() + 1e-9):
        assert macro_f1_drop_is_safe(*sample, 2, bound, DELTA) == (bound > bounds.mean())
    assert max(wrong.values()) <= DELTA * 400


def test_bounds_close_in_on_the_drop() -> None:
    """With many rows they are near; with none they say nothing."""
    gaps: List[float] = []
    for rows in (1000, 10_000, 100_000):
        sample = unbalanced(rows, 0.05)
        drops = f1(*sample[:2], 2) - f1(sample[0], sample[2], 2)
        gaps.append(float((f1_drop_bounds(*sample, 2, DELTA) - drops).max()))
    assert gaps[0] > gaps[1] > gaps[2] > 0 and gaps[2] < 0.01
    none = np.zeros(0, int)
    assert f1_drop_bounds(none, none, none, 3, DELTA) == pytest.approx(np.ones(3))


def test_a_label_that_the_rows_lack_has_no_bound() -> None:
    label = np.arange(6000) % 2
    two, three = (f1_drop_bounds(label, label, label, labels, DELTA) for labels in (2, 3))
    assert two.max() < 0.005 and three[:2].max() < 0.005 and three[2] == pytest.approx(1)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 300))
def test_order_does_not_matter_and_bounds_lie_above_what_was_seen(
    seed: int, labels: int, rows: int
) -> None:
    rng = np.random.default_rng(seed)
    label, full, early = rng.integers(labels, size=(3, rows))
    bounds = f1_drop_bounds(label, full, early, labels, DELTA)
    order = rng.permutation(rows)
    assert f1_drop_bounds(label[order], full[order], early[order], labels, DELTA) == (
        pytest.approx(bounds, abs=1e-9)
    )
    with np.errstate(invalid="ignore"):
        drops = f1(label, full, labels) - f1(label, early, labels)
    assert not (bounds < drops - 1e-9).any()
    stricter = f1_drop_bounds(label, full, early, labels, DELTA / 10)
    assert (stricter >= bounds - 1e-9).all()


def simulated(rows: int, seed: int = 0) -> Tradeoff:
    """Exits of which the later are better, for labels of which one is rare."""
    rng = torch.Generator().manual_seed(seed)
    label = (torch.rand(rows, generator=rng) < 0.15).long()
    hardness = torch.rand(rows, generator=rng)
    noise = torch.randn(rows, 3, generator=rng)
    margin = (torch.tensor([1.2, 2.0, 3.0]) * (1.3 - hardness[:, None]) + noise) * (
        2 * label[:, None] - 1
    )
    probs = torch.stack([torch.sigmoid(0.5 - margin), torch.sigmoid(margin - 0.5)], dim=-1)
    policy = ConfidencePolicy()
    policy.bind(Exits([0, 2, 5], labels=["ham", "spam"]))
    return Tradeoff(probs, label, [0, 2, 5], 6, policy)


def part(tradeoff: Tradeoff, rows: ndarray) -> Tradeoff:
    return Tradeoff(tradeoff.probs[rows], tradeoff.label[rows], [0, 2, 5], 6, tradeoff.policy)


WISHES = [
    [RiskBound("macro-f1-drop", 0.05)],
    [RiskBound("recall-drop", 0.05, 1)],
    [RiskBound("recall-drop", 0.05, 1), RiskBound("accuracy-drop", 0.01)],
]
SETTINGS = [0.99, 0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6]


@pytest.mark.parametrize("bounds", WISHES)
def test_chosen_thresholds_are_unsafe_no_more_often_than_delta(bounds: List[RiskBound]) -> None:
    population = simulated(60_000)
    true: Dict[float, List[float]] = {}
    for setting in SETTINGS:
        point, full = population.curve([setting])[0], population.full_point()
        risks = {
            "macro-f1-drop": full.macro_f1 - point.macro_f1,
            "accuracy-drop": full.accuracy - point.accuracy,
            "recall-drop": float(recall_drop(population, setting, 1).mean()),
        }
        true[setting] = [risks[bound.risk] - bound.bound for bound in bounds]
    unsafe = {setting for setting in SETTINGS if max(true[setting]) > 0}
    assert unsafe and unsafe != set(SETTINGS), "there must be something to get wrong, and right"
    rng = np.random.default_rng(1)
    chosen = [
        fastest_within(part(population, rng.integers(60_000, size=1000)), bounds, DELTA, SETTINGS)
        for _ in range(200)
    ]
    assert np.mean([setting in unsafe for setting in chosen]) <= DELTA
    assert np.mean([setting is None for setting in chosen]) < 0.5, "it must be of some use"


def test_thresholds_by_label_are_swept_for_the_others_alone() -> None:
    """At 1.0 for the others, rows predicted as spam still stop early: that is tested too."""
    tradeoff = simulated(20_000)
    policy = ConfidencePolicy({"spam": 0.5})
    policy.bind(Exits([0, 2, 5], labels=["ham", "spam"]))
    fixed = Tradeoff(tradeoff.probs, tradeoff.label, [0, 2, 5], 6, policy)
    (point,) = fixed.curve([1.0])
    assert point.mean_layers < 6 == fixed.full_point().mean_layers
    assert set(fixed.predicted_at(1.0)[fixed.answered_by(1.0) < 2].tolist()) == {1}
    assert fixed.full_predicted.equal(tradeoff.predicted_at(1.0))
    recall = [RiskBound("recall-drop", 0.02, 1)]
    found = fastest_within(fixed, recall, DELTA)
    assert found is not None and recall_drop(fixed, found, 1).mean() <= 0.02
    assert fastest_within(fixed, [RiskBound("accuracy-drop", 0.001)], DELTA) is None
    assert fastest_within(part(fixed, np.arange(0)), recall, DELTA) is None
