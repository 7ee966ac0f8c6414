"""Draw curves and calibration as pictures."""

import math
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.analysis.page import write_page
from sledgehammer.analysis.series import (
    BAND_NAME,
    Series,
    drawn_bands,
    legend_names,
    spans_decades,
)
from sledgehammer.analysis.tradeoff import Point
from sledgehammer.calibration import bin_counts
from sledgehammer.support.files import check_writable, replacing

IMAGES = (".png", ".svg", ".pdf")
PAGE = ".html"


def check_plot(target: Path, pages: bool) -> None:
    """Raise a `ConfigurationError` if a plot cannot be written to `target`."""
    check_writable(target, (*IMAGES, PAGE) if pages else IMAGES)
    try:
        import matplotlib  # noqa: F401
        import plotly  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"plots need {error.name}: pip install 'allennlp-sledgehammer[plot]'"
        ) from error


def plot_tradeoff(
    series: Sequence[Series], target: Path, title: str, chosen: Optional[Point] = None
) -> None:
    """Draw accuracy against layer speedup: an image, or for `.html` one self-contained page."""
    with replacing(target) as partial:
        if target.suffix == PAGE:
            write_page(series, legend_names(series), partial, title, chosen)
        else:
            _tradeoff_image(series, partial, target.suffix, title, chosen)


class Answered(NamedTuple):
    """Hold the confidence of some answers, (rows,), and which of them are right: (rows,), bool."""

    confidence: Tensor
    correct: Tensor


def plot_reliability(exits: Dict[int, Tuple[Answered, Answered]], target: Path, title: str) -> None:
    """Draw reliability diagrams: accuracy against confidence, one panel for each exit.

    The axes begin where the rows do: with two labels no confidence is below a half.

    # Parameters

    exits : `Dict[int, Tuple[Answered, Answered]]`
        For each layer with an exit, its answers before and after calibration.
    """
    plt = pyplot()
    width = max(2.9 * len(exits), 5.0)
    figure, panels = plt.subplots(
        2, len(exits), figsize=(width, 4.4), squeeze=False, sharex=True, sharey="row",
        gridspec_kw={"height_ratios": [3, 1]}, layout="constrained",
    )  # fmt: skip
    corners = []
    for (layer, (before, after)), (upper, lower) in zip(exits.items(), panels.T):
        upper.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfect")
        for name, answered, color in (("before", before, "C1"), ("after", after, "C0")):
            corners.append(_draw_reliability(upper, lower, name, answered, color))
        upper.set_title(f"exit at layer {layer}")
        lower.set_xlabel("confidence")
    left = min(confidence for confidence, _ in corners)
    panels[1][0].set_xlim(left, 1)
    bottom = min(left, *(accuracy for _, accuracy in corners))
    panels[0][0].set_ylim(bottom - 0.03 * (1 - bottom), 1 + 0.03 * (1 - bottom))
    panels[0][0].set_ylabel("accuracy")
    panels[1][0].set_ylabel("rows")
    panels[0][0].legend(frameon=False, fontsize="small")
    figure.suptitle(literally(title))
    with replacing(target) as partial:
        figure.savefig(partial, format=target.suffix[1:], dpi=160)
    plt.close(figure)


def _draw_reliability(
    upper: Any, lower: Any, name: str, answered: Answered, color: str
) -> Tuple[float, float]:
    """Draw one line of a reliability diagram, and below it the number of rows in each bin.

    # Returns

    The lowest confidence and the lowest accuracy that the line reaches.
    """
    count, right, total = bin_counts(*answered)
    filled = count > 0
    accuracy = (right / count)[filled]
    upper.plot((total / count)[filled], accuracy, ".-", color=color, label=name)
    edges = [i / len(count) for i in range(len(count) + 1)]
    lower.stairs(count.numpy(), edges, color=color)
    return edges[int(filled.nonzero()[0])], float(accuracy.min())


def _tradeoff_image(
    series: Sequence[Series], target: Path, suffix: str, title: str, chosen: Optional[Point]
) -> None:
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    names = legend_names(series)
    for one, name, band in zip(series, names, drawn_bands(series, names)):
        x, y = [p.layer_speedup for p in one.points], [100 * p.accuracy for p in one.points]
        # A curve that lies on another is drawn with gaps, through which the lower one shows.
        lies_on = one.style == "line" and name != one.name
        style = {"line": (0, (4, 4)) if lies_on else "-", "dashed": "--", "marks": "none"}
        (drawn,) = axes.plot(
            x, y, label=literally(name), linestyle=style[one.style],
            marker="o" if one.style == "marks" else "none",
        )  # fmt: skip
        for label, at_x, at_y in zip(one.labels, x, y):
            axes.annotate(
                literally(label), (at_x, at_y), xytext=(6, 3), textcoords="offset points",
                fontsize="x-small", color=drawn.get_color(),
            )  # fmt: skip
        if band is not None:
            low, high = (100 * np.array(edge) for edge in (band.low, band.high))
            axes.fill_between(
                band.layer_speedup, low, high, alpha=0.18, linewidth=0,
                color=drawn.get_color(), label=literally(f"{one.name}: {BAND_NAME}"),
            )  # fmt: skip
    if chosen is not None and math.isfinite(chosen.layer_speedup):
        axes.plot(
            chosen.layer_speedup, 100 * chosen.accuracy, "*", markersize=14, color="black",
            label=f"chosen: {chosen.name} {chosen.shown}",
        )  # fmt: skip
    axes.set(xlabel="layer speedup", ylabel="accuracy (%)")
    if spans_decades(series):
        axes.set_xscale("log")
    axes.set_title(literally(title), fontsize="medium")
    axes.margins(x=0.08)  # for the labels of the outermost points
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(target, format=suffix[1:], dpi=160)
    plt.close(figure)


def literally(text: str) -> str:
    """Escape a user's text so that matplotlib draws it as it is, not as a formula.

    A space before an underscore helps because matplotlib leaves names that begin with one out of
    legends.
    """
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def pyplot() -> Any:
    """Return `matplotlib.pyplot`, drawing without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt
