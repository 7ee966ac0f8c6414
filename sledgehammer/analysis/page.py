"""Write the trade-off as one self-contained page that explains itself."""

import math
from html import escape
from pathlib import Path
from typing import Any, List, Optional, Sequence

from sledgehammer.analysis.bootstrap import RESAMPLES
from sledgehammer.analysis.series import BAND_NAME, Series, drawn_bands, spans_decades
from sledgehammer.analysis.tradeoff import Point

COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 1.5rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.3rem; }}
dt {{ font-weight: 600; }}
dd {{ margin: 0 0 .5rem 1.5rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>This model can answer at several of its layers. Each text stops at the first exit that is sure
enough. How sure that must be is a setting, and every setting is a point of the curve: further to
the right texts run fewer layers, further up more answers are right. Point at the curve to see a
setting and its figures; click a name in the legend to hide its curve.{chosen}</p>
{figure}
<dl>
{terms}
<dt>layer speedup</dt>
<dd>The layers of the full model, divided by the layers that a text runs on average. It counts
layers, not seconds: <code>allennlp benchmark</code> measures those.</dd>
</dl>
</body>
</html>
"""

TERMS = {
    "random exits": "Stops as many texts at each exit as the curve does, but draws them blindly. "
    "The curve's lead over it is what knowing which texts are easy is worth.",
    "single exits": "One exit answers all texts, as a model cut after its layer would.",
    "oracle": "Stops every text at the earliest exit that answers it correctly. That takes the "
    "labels: no way of stopping at these exits is more accurate.",
}


def write_page(
    series: Sequence[Series],
    names: Sequence[str],
    target: Path,
    title: str,
    chosen: Optional[Point] = None,
) -> None:
    """Write the page, with one of `names` in the legend for each series."""
    figure = _figure(series, names, chosen).to_html(
        full_html=False, include_plotlyjs=True, config={"responsive": True, "displaylogo": False}
    )
    sentence = ""
    if chosen is not None:
        sentence = (
            f" The star is the chosen {escape(chosen.name)}, {chosen.shown}: accuracy "
            f"{chosen.accuracy:.1%} at {chosen.speedup_shown}."
        )
    page = PAGE.format(title=escape(title), figure=figure, chosen=sentence, terms=_terms(series))
    target.write_text(page, encoding="utf-8")


def _terms(series: Sequence[Series]) -> str:
    """Return explanations of what is in the picture, and of nothing else."""
    explained = {
        term: meaning
        for term, meaning in TERMS.items()
        if any(one.name.startswith(term) for one in series)
    }
    if any(one.band for one in series):
        explained[BAND_NAME] = (
            f"How much of the accuracy is chance in the choice of these rows: its range over "
            f"{RESAMPLES:,} draws of as many rows from them, with repetition, at the same setting. "
            "Another training run may lie outside."
        )
    return "\n".join(f"<dt>{escape(t)}</dt>\n<dd>{escape(m)}</dd>" for t, m in explained.items())


def _figure(series: Sequence[Series], names: Sequence[str], chosen: Optional[Point]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, (one, name) in enumerate(zip(series, names)):
        _add_series(figure, one, name, COLORS[number % len(COLORS)])
    for number, (one, band) in enumerate(zip(series, drawn_bands(series, names))):
        if band is None:
            continue
        figure.add_scatter(
            x=[*band.layer_speedup, *reversed(band.layer_speedup)],
            y=[*band.high, *reversed(band.low)],
            name=escape(f"{one.name}: {BAND_NAME}"),
            mode="lines", line={"width": 0}, hoverinfo="skip", fill="toself",
            fillcolor=COLORS[number % len(COLORS)], opacity=0.18,
        )  # fmt: skip
    if chosen is not None and math.isfinite(chosen.layer_speedup):
        figure.add_scatter(
            x=[chosen.layer_speedup], y=[chosen.accuracy], name="chosen", mode="markers",
            marker={"size": 16, "symbol": "star", "color": "black"},
            text=[_hover("chosen", chosen)], hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        template="plotly_white", hovermode="closest", height=560,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        legend={"orientation": "h", "yanchor": "top", "y": -0.14, "x": 0},
        xaxis={"title": "layer speedup", "type": "log" if spans_decades(series) else "linear"},
        yaxis={"title": "accuracy", "tickformat": ".1%"},
    )  # fmt: skip
    return figure


def _add_series(figure: Any, one: Series, name: str, color: str) -> None:
    marks = one.style == "marks"
    figure.add_scatter(
        x=[p.layer_speedup for p in one.points],
        y=[p.accuracy for p in one.points],
        name=escape(name),
        mode="markers" if marks else "lines+markers",
        marker={"size": 10 if marks else 4, "color": color},
        line={"dash": "dash" if one.style == "dashed" or name != one.name else "solid"},
        text=_hovers(one),
        hovertemplate="%{text}<extra></extra>",
    )


def _hovers(series: Series) -> List[str]:
    labels = [*series.labels, *[""] * len(series.points)]
    return [_hover(f"{series.name} {label}".strip(), p) for label, p in zip(labels, series.points)]


def _hover(name: str, point: Point) -> str:
    shares = ", ".join(f"{share:.0%} at {layer}" for layer, share in point.shares.items())
    setting = "" if point.setting is None else f"{point.name} {point.shown}<br>"
    return (
        f"<b>{escape(name)}</b><br>{setting}accuracy {point.accuracy:.1%}<br>"
        f"layer speedup {point.speedup_shown} ({point.mean_layers:.2f} layers)<br>"
        f"exits: {shares}"
    )
