"""Hold the curves that a trade-off plot draws, and name them for its legend."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy import ndarray

from sledgehammer.analysis.bootstrap import LEVEL, Band
from sledgehammer.analysis.tradeoff import Point

BAND_NAME = f"{LEVEL:.0%} of resamples of the rows"
_LINEAR = 30.0
"""An axis of speedups is linear if the largest is at most this many times the smallest."""
COVERED = 0.01
"""Curves no further apart than this share of the picture's height hide each other."""


class Series(NamedTuple):
    """Hold a curve or single points of the trade-off plot.

    # Parameters

    name : `str`
    points : `List[Point]`
    style : `str`
        `line`, `dashed`, or `marks` for points that no line connects.
    band : `Band`, optional
        How far the curve might be off.
    labels : `Sequence[str]`
        A label for each point, if any.
    """

    name: str
    points: List[Point]
    style: str = "line"
    band: Optional[Band] = None
    labels: Sequence[str] = ()


def on_the_axis(series: Series) -> Series:
    """Leave out what runs no layer: an axis of speedups has no place for it."""
    labels = [*series.labels, *[""] * (len(series.points) - len(series.labels))]
    drawn = [(p, label) for p, label in zip(series.points, labels) if np.isfinite(p.layer_speedup)]
    return series._replace(
        points=[point for point, _ in drawn],
        labels=[label for _, label in drawn] if series.labels else (),
    )


def spans_decades(series: Sequence[Series]) -> bool:
    """Return whether the speedups are too far apart for a linear axis."""
    speedups = [point.layer_speedup for one in series for point in one.points]
    return max(speedups) > _LINEAR * min(speedups)


def legend_names(series: Sequence[Series]) -> List[str]:
    """Return a legend name for each series, which says so if a curve lies on another."""
    accuracies = [point.accuracy for one in series for point in one.points]
    near = COVERED * (max(accuracies) - min(accuracies))
    names: List[str] = []
    for i, one in enumerate(series):
        under = [other.name for other in series[:i] if _covers(one, other, near)]
        names.append(f"{one.name} (lies on {under[0]})" if under else one.name)
    return names


def drawn_bands(series: Sequence[Series], names: Sequence[str]) -> List[Optional[Band]]:
    """Return the band of each series, or `None` for one that lies on another, whose band is drawn."""
    return [one.band if name == one.name else None for one, name in zip(series, names)]


def _covers(one: Series, other: Series, near: float) -> bool:
    """Return whether two curves are nowhere further apart in accuracy than `near`."""
    if len(one.points) < 2 or len(other.points) < 2 or "marks" in (one.style, other.style):
        return False
    for curve, under in ((one, other), (other, one)):
        x, y = _along(curve)
        under_x, under_y = _along(under)
        if not np.isclose(x[[0, -1]], under_x[[0, -1]], rtol=0.02).all():
            return False
        if np.abs(np.interp(x, under_x, under_y) - y).max() > near:
            return False
    return True


def _along(series: Series) -> Tuple[ndarray, ndarray]:
    """Return speedups in rising order and their accuracies, (points,) each."""
    points = sorted((p.layer_speedup, p.accuracy) for p in series.points)
    x, y = np.array(points).T
    return x, y
