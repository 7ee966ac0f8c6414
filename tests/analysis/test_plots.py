"""Pictures are written whole; the page is looked at in a real browser where there is one."""

from dataclasses import replace
from pathlib import Path
from typing import Any, List
from xml.etree import ElementTree

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.bootstrap import Band
from sledgehammer.analysis.plots import Answered, check_plot, plot_reliability, plot_tradeoff
from sledgehammer.analysis.series import Series, legend_names
from sledgehammer.analysis.tradeoff import Point

CURVE = [
    Point(0.0, 0.8, 0.8, 1.0, 6.0, 0.02, {0: 1.0, 5: 0.0}),
    Point(0.7, 0.9, 0.9, 3.0, 2.0, 0.02, {0: 0.6, 5: 0.4}),
    Point(1.0, 0.92, 0.92, 6.0, 1.0, 0.02, {0: 0.0, 5: 1.0}),
]
BAND = Band([6.0, 2.0, 1.0], [0.78, 0.89, 0.91], [0.82, 0.91, 0.93])
LINES = [
    Series("confidence", CURVE, band=BAND),
    Series("oracle", [CURVE[1]], "marks", labels=["oracle"]),
]


@pytest.mark.parametrize(
    "suffix, begins", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_images(tmp_path: Path, suffix: str, begins: bytes) -> None:
    plot_tradeoff(LINES, tmp_path / f"curve.{suffix}", "title", CURVE[1])
    correct = torch.tensor([True, False, True])
    confidence = torch.tensor([0.9, 0.6, 0.8])
    plain = Answered(confidence, correct)
    exits = {0: (plain, Answered(confidence**2, correct)), 5: (plain, plain)}
    plot_reliability(exits, tmp_path / f"reliability.{suffix}", "title")
    for name in ("curve", "reliability"):
        assert (tmp_path / f"{name}.{suffix}").read_bytes().startswith(begins)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_curve_is_drawn_where_its_points_are(tmp_path: Path) -> None:
    plot_tradeoff(LINES, tmp_path / "curve.svg", "My title")
    text = (tmp_path / "curve.svg").read_text()
    ElementTree.fromstring(text)
    assert "My title" in text and "layer speedup" in text


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The figures that were saved."""
    figures: List[Any] = []

    def keep(figure: Any, target: Path, **options: Any) -> None:
        target.write_text("a picture")
        figures.append(figure)

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", keep)
    return figures


@pytest.mark.parametrize("name", ["$x_{$", "_hidden", "two $ and $", "5$"])
def test_names_are_drawn_as_they_are(tmp_path: Path, name: str) -> None:
    plot_tradeoff([Series(name, CURVE)], tmp_path / "curve.svg", f"title {name}")
    text = (tmp_path / "curve.svg").read_text()
    assert f"<!-- title {name} -->" in text
    assert f"{name} -->" in text.replace(f"title {name} -->", "")


def test_the_axes_of_reliability_begin_where_the_rows_do(tmp_path: Path, drawn: List[Any]) -> None:
    confidence = torch.linspace(0.51, 1, 100)
    correct = torch.rand(100, generator=torch.Generator().manual_seed(0)) < confidence
    plain = Answered(confidence, correct)
    exits = {0: (plain, Answered(confidence**0.5, correct)), 3: (plain, plain)}
    plot_reliability(exits, tmp_path / "reliability.png", "title")
    for axes in drawn[0].axes:
        assert axes.get_xlim() == pytest.approx((7 / 15, 1))
    upper = drawn[0].axes[0]
    lowest = min(min(line.get_ydata()[-15:]) for line in upper.get_lines()[1:])
    assert 0.2 < upper.get_ylim()[0] <= lowest


def test_a_curve_that_lies_on_another_is_labelled(tmp_path: Path, drawn: List[Any]) -> None:
    lower = [replace(point, accuracy=point.accuracy - 0.05) for point in CURVE]
    same = [replace(point, accuracy=point.accuracy + 1e-4) for point in CURVE]
    lines = [Series("a", CURVE), Series("b", same), Series("c", lower)]
    assert legend_names(lines) == ["a", "b (lies on a)", "c"]
    plot_tradeoff(lines, tmp_path / "curve.png", "title")
    below, above, apart = drawn[0].axes[0].get_lines()
    assert above.is_dashed() and not below.is_dashed() and not apart.is_dashed()


def test_the_page_explains_what_it_shows(tmp_path: Path) -> None:
    page = tmp_path / "curve.html"
    lines = [*LINES, Series("random exits, as many at each", CURVE, "dashed")]
    plot_tradeoff(lines, page, "SST dev: <b>mine</b>", CURVE[1])
    text = page.read_text()
    assert "<h1>SST dev: &lt;b&gt;mine&lt;/b&gt;</h1>" in text
    assert "The star is the chosen threshold, 0.7: accuracy 90.0% at 2.00x." in text
    for term in ("random exits", "oracle", "95% of resamples of the rows", "layer speedup"):
        assert f"<dt>{term}</dt>" in text
    assert "<dt>single exits</dt>" not in text, "there are none in it"
    plot_tradeoff([Series("a", CURVE)], page, "title")
    assert "<dt>95%" not in page.read_text() and "The star" not in page.read_text()


def test_plots_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="must end in one of .png, .svg, .pdf, .html"):
        check_plot(tmp_path / "curve.gif", pages=True)
    with pytest.raises(ConfigurationError, match="must end in one of .png, .svg, .pdf$"):
        check_plot(tmp_path / "curve.html", pages=False)
    with pytest.raises(ConfigurationError, match="no folder"):
        check_plot(tmp_path / "missing/curve.png", pages=True)
    monkeypatch.setitem(__import__("sys").modules, "plotly", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'allennlp-sledgehammer\[plot\]'"):
        check_plot(tmp_path / "curve.html", pages=True)


def test_hovering_a_point_shows_its_figures(tmp_path: Path, browser: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    page = tmp_path / "curve.html"
    plot_tradeoff(LINES, page, "My title", CURVE[1])
    assert 'src="http' not in page.read_text(), "the page must need nothing else"
    browser.get(page.as_uri())
    points = WebDriverWait(browser, 90).until(
        lambda b: b.find_elements(By.CSS_SELECTOR, ".scatterlayer .trace:first-child .point")
    )
    assert len(points) == len(CURVE)
    # The page may still be arranging itself, and a move that comes too early shows nothing.
    hover = WebDriverWait(browser, 90).until(lambda b: _hover_over(b, points[0]))
    text = " ".join(element.text for element in hover)
    assert "threshold 0" in text and "accuracy 80.0%" in text and "layer speedup 6.00x" in text
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []


def _hover_over(browser: Any, point: Any) -> Any:
    """Move the mouse away and onto a point, and return the labels that the page then shows."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.by import By

    # The plot stands under an introduction, partly below what the window shows.
    place = browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center'});"
        "return arguments[0].getBoundingClientRect().toJSON();",
        point,
    )
    middle = [int(place["x"] + place["width"] / 2), int(place["y"] + place["height"] / 2)]
    moves = ActionBuilder(browser)
    for away in (20, 0):
        moves.pointer_action.move_to_location(middle[0] - away, middle[1]).pause(0.2)
    moves.perform()
    return browser.find_elements(By.CSS_SELECTOR, ".hoverlayer .hovertext")
