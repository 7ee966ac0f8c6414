"""Intervals are as wide as theory says, whatever is held at a time."""

import numpy as np
import pytest

from sledgehammer.analysis import bootstrap
from sledgehammer.analysis.bootstrap import accuracy_band, percentile_interval
from tests.analysis.test_tradeoff import random_tradeoff


@pytest.mark.parametrize("together", [1 << 24, 5000])
def test_intervals_of_proportions(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_AT_ONCE", together)
    rows = 400
    values = np.arange(rows) < rows * np.array([[0.5], [0.9], [1.0]])
    low, high = percentile_interval(values, resamples=4000)
    expected = 1.96 * np.sqrt(0.5 * 0.5 / rows), 1.96 * np.sqrt(0.9 * 0.1 / rows), 0
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
    assert (high + low) / 2 == pytest.approx([0.5, 0.9, 1.0], abs=0.005)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    draws = generator.random((500, 200)) < 0.7
    covered = [
        low <= 0.7 <= high
        for low, high in (percentile_interval(draw[None], 400, level=0.8)[:, 0] for draw in draws)
    ]
    assert 0.74 < np.mean(covered) < 0.86


def test_figures_of_the_same_rows_move_together() -> None:
    """Two figures that differ in no row have the same interval."""
    values = np.random.default_rng(2).random((1, 50)) < 0.6
    low, high = percentile_interval(np.concatenate([values, values, ~values]))
    assert low[0] == low[1] and high[0] == high[1]
    assert low[2] == pytest.approx(1 - high[0])


def test_the_band_of_a_curve() -> None:
    tradeoff = random_tradeoff(seed=0)
    curve = tradeoff.curve(tradeoff.grid())
    band = accuracy_band(tradeoff, curve)
    assert band.layer_speedup == [point.layer_speedup for point in curve]
    assert all(low < p.accuracy < high for low, p, high in zip(band.low, curve, band.high))
    first = tradeoff.correct_at(0.0).numpy()[None]
    assert [band.low[0], band.high[0]] == pytest.approx(percentile_interval(first)[:, 0], abs=0.03)


def test_a_band_has_no_more_points_than_a_picture_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "MOST_POINTS", 5)
    tradeoff = random_tradeoff(seed=0)
    curve = tradeoff.curve(tradeoff.distinct_settings())
    band = accuracy_band(tradeoff, curve)
    assert len(band.low) == 5 < len(curve)
    ends = [curve[0].layer_speedup, curve[-1].layer_speedup]
    assert [band.layer_speedup[0], band.layer_speedup[-1]] == ends
