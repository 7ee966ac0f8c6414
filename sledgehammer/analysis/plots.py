"""The curve and the calibration as pictures."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from allennlp.common.checks import ConfigurationError
from torch import Tensor

from sledgehammer.analysis.tradeoff import Point
from sledgehammer.calibration import bin_counts
from sledgehammer.support.files import check_writable, replacing

IMAGES = (".png", ".svg", ".pdf")
PAGE = ".html"


class Line(NamedTuple):
    """A curve, or a single point of it, in the trade-off plot."""

    name: str
    points: List[Point]
    style: str = "line"
    """`line`, `dashed`, or `marks` for points that nothing lies between."""


def check_plot(target: Path, pages: bool) -> None:
    """Raise a `ConfigurationError` if a plot can't be written to `target`."""
    check_writable(target, (*IMAGES, PAGE) if pages else IMAGES)
    try:
        import matplotlib  # noqa: F401
        import plotly  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"plots need {error.name}: pip install 'allennlp-sledgehammer[plot]'"
        ) from error


def plot_tradeoff(
    lines: Sequence[Line], target: Path, title: str, chosen: Optional[Point] = None
) -> None:
    """Accuracy against layer speedup: an image, or for `.html` one self-contained page."""
    draw = _tradeoff_page if target.suffix == PAGE else _tradeoff_image
    with replacing(target) as partial:
        draw(lines, partial, target.suffix, title, chosen)


def plot_reliability(
    exits: Dict[int, Tuple[Tensor, Tensor, Tensor]], target: Path, title: str
) -> None:
    """Reliability diagrams: accuracy against confidence, one panel an exit.

    # Parameters

    exits : `Dict[int, Tuple[Tensor, Tensor, Tensor]]`
        By layer: confidence before and after, each (rows,), and whether the answers are right.
    """
    plt = pyplot()
    figure, panels = plt.subplots(
        2, len(exits), figsize=(2.9 * len(exits), 4.4), squeeze=False, sharex=True,
        gridspec_kw={"height_ratios": [3, 1]}, layout="constrained",
    )  # fmt: skip
    for (layer, (before, after, correct)), (upper, lower) in zip(exits.items(), panels.T):
        upper.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for name, confidence, color in (("before", before, "C1"), ("after", after, "C0")):
            count, right, total = bin_counts(confidence, correct)
            filled = count > 0
            upper.plot(
                (total / count)[filled], (right / count)[filled], ".-", color=color, label=name
            )
            lower.stairs(
                count.numpy(), [i / len(count) for i in range(len(count) + 1)], color=color
            )
        upper.set(title=f"exit at layer {layer}", ylim=(-0.02, 1.02))
        lower.set(xlabel="confidence", xlim=(0, 1))
    panels[0][0].set_ylabel("accuracy")
    panels[1][0].set_ylabel("rows")
    panels[0][0].legend(frameon=False)
    figure.suptitle(title)
    with replacing(target) as partial:
        figure.savefig(partial, format=target.suffix[1:], dpi=160)
    plt.close(figure)


def _tradeoff_image(
    lines: Sequence[Line], target: Path, suffix: str, title: str, chosen: Optional[Point]
) -> None:
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
    for name, points, style in lines:
        axes.plot(
            [p.layer_speedup for p in points],
            [100 * p.accuracy for p in points],
            {"line": "-", "dashed": "--", "marks": "o"}[style],
            label=name,
        )
    if chosen is not None:
        axes.plot(
            chosen.layer_speedup, 100 * chosen.accuracy, "*", markersize=14, color="black",
            label=f"chosen: {chosen.name} {chosen.setting:.4g}",
        )  # fmt: skip
    axes.set(xlabel="layer speedup", ylabel="accuracy (%)", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(target, format=suffix[1:], dpi=160)
    plt.close(figure)


def _tradeoff_page(
    lines: Sequence[Line], target: Path, suffix: str, title: str, chosen: Optional[Point]
) -> None:
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, points, style in lines:
        figure.add_scatter(
            x=[p.layer_speedup for p in points],
            y=[p.accuracy for p in points],
            name=name,
            mode="markers" if style == "marks" else "lines+markers",
            marker={"size": 10 if style == "marks" else 4},
            line={"dash": "dash" if style == "dashed" else "solid"},
            text=[_hover(name, p) for p in points],
            hovertemplate="%{text}<extra></extra>",
        )
    if chosen is not None:
        figure.add_scatter(
            x=[chosen.layer_speedup], y=[chosen.accuracy], name="chosen", mode="markers",
            marker={"size": 16, "symbol": "star", "color": "black"},
            text=[_hover("chosen", chosen)], hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        title=title, template="plotly_white", hovermode="closest",
        xaxis_title="layer speedup", yaxis={"title": "accuracy", "tickformat": ".1%"},
    )  # fmt: skip
    target.write_text(figure.to_html(include_plotlyjs=True), encoding="utf-8")


def _hover(name: str, point: Point) -> str:
    shares = ", ".join(f"{share:.0%} at {layer}" for layer, share in point.shares.items())
    setting = "" if point.setting is None else f"{point.name} {point.setting:.4g}<br>"
    return (
        f"<b>{name}</b><br>{setting}accuracy {point.accuracy:.1%}<br>"
        f"layer speedup {point.layer_speedup:.2f}x ({point.mean_layers:.2f} layers)<br>"
        f"exits: {shares}"
    )


def pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")  # no screen is needed
    import matplotlib.pyplot as plt

    return plt
