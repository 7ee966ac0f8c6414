"""The comparison with rivals that run no transformer: its figures, tables and page."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List

import numpy as np
import pytest

from benchmarks.rivals import cost, learning, report
from benchmarks.rivals.__main__ import portable
from benchmarks.rivals.figure import draw
from benchmarks.sections import stands_in
from sledgehammer.lexical import FeatureSpace
from tests.conftest import ROOT
from tests.model.lexical_models import linear_model


def small_report() -> Dict[str, Any]:
    """Two engines at two thresholds, two rivals."""
    answers = {
        "without at 0": {"threshold": 0.0, "accuracy": 0.8, "mean_layers": 1.0, "shares": {"0": 1}},
        "without at 1": {"threshold": 1.0, "accuracy": 0.9, "mean_layers": 6.0, "shares": {"0": 0}},
        "with at 0": {"threshold": 0.0, "accuracy": 0.82, "mean_layers": 0.0, "shares": {"-1": 1}},
        "with at 1": {"threshold": 1.0, "accuracy": 0.91, "mean_layers": 6.0, "shares": {"-1": 0}},
    }
    rivals = {
        "TF-IDF of words": {"accuracy": 0.85, "mean_layers": 0.0},
        "static embeddings": {"accuracy": 0.7, "mean_layers": 0.0},
    }
    speeds = [1000, 200, 5000, 200, 2000, 9000, 20]
    names = [*answers, *rivals, "full, eager"]
    results = [
        {
            "contender": name, "threads": 1, "batch_size": size, "mean": 1000 / speed, "p50": 1.0,
            "p95": 2.0, "p99": 3.0, "throughput": speed * size**0.5,
            "throughput_quartiles": [speed * size**0.5 * share for share in (0.9, 1.1)],
            "throughput_ratios": {} if name == "full, eager" else {"full, eager": [speed / 20] * 3},
        }
        for size in report.BATCH_SIZES
        for name, speed in zip(names, speeds)
    ]  # fmt: skip
    libraries = dict.fromkeys(("onnxruntime", "numpy", "tokenizers"), "1.0")
    return {
        "date": "2026-01-01", "rounds": 5, "rows": 10, "accuracy_rows": 400, "data": "/home/x/dev",
        "machine": {"processor": "a CPU", "python": "3.11", "libraries": libraries},
        "contenders": {name: {"path": f"/home/x/out/{name}"} for name in names},
        "answers": answers, "rival_answers": rivals, "results": results,
    }  # fmt: skip


def test_page_is_generated_from_the_numbers() -> None:
    reports = report.load()
    assert stands_in(report.MARKED, report.section(reports), report.PAGE)
    assert all((report.RESULTS / f"{name}.svg").is_file() for name in reports)


def test_no_result_has_a_path_of_the_machine_that_measured_it() -> None:
    for file in (ROOT / "docs/results/rivals").glob("*.json"):
        content = json.loads(file.read_text())
        paths = [c["path"] for c in content.get("contenders", {}).values()]
        assert not [path for path in [*paths, content.get("data", "")] if path.startswith("/")]


def test_spots_of_curves_and_rivals() -> None:
    found = report.spots(small_report(), 1)
    assert [spot.speed for spot in found[report.WITH]] == [5000, 200]
    assert [spot.accuracy for spot in found[report.WITHOUT]] == [0.8, 0.9]
    (full,) = found["full, eager"]
    assert full.accuracy == 0.9, "the accuracy of all layers, without the lexical exit"
    (words,) = found["TF-IDF of words"]
    assert (words.low, words.high) == pytest.approx((1800, 2200))
    assert words.error == pytest.approx((0.85 * 0.15 / 400) ** 0.5)
    assert [s.speed for s in report.spots(small_report(), 32)["full, eager"]] == [20 * 32**0.5]


def test_a_rival_is_above_what_a_curve_reaches_at_its_speed() -> None:
    found = report.spots(small_report(), 1)
    curve = found[report.WITH]
    assert report.above(curve, found["TF-IDF of words"][0]) == pytest.approx(0.85 - 0.82)
    assert report.above(curve, found["static embeddings"][0]) == 0.7, "nothing of ours is so fast"
    assert report.above(curve, found["full, eager"][0]) < 0
    said = report.verdict(small_report(), 1)
    assert said.startswith("single texts: TF-IDF of words (by 3.0 points), static embeddings")


def test_table_leads_with_the_mean_and_names_what_stops_where() -> None:
    lines = report.table({"sst": small_report()}).splitlines()
    assert lines[0].index("mean (ms)") < lines[0].index("p50") < lines[0].index("p99")
    (line,) = [li for li in lines if f"{report.WITH}, threshold 0 " in li]
    assert "| 82.0% | 0.00 | 0.20 | 1.00 | 2.00 | 3.00 |" in line
    assert "250.00x (250.00 to 250.00)" in line


def test_figure(tmp_path: Path) -> None:
    panels = {size: report.spots(small_report(), size) for size in report.BATCH_SIZES}
    draw("SST", panels, tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text()
    for shown in (report.WITH, "static embeddings", "texts a second, batches of 32"):
        assert shown in drawn


def test_a_report_loses_the_paths_of_its_machine() -> None:
    content = portable(small_report(), "sst")
    assert content["data"] == "x/dev" and "/home" not in json.dumps(content)


def test_learning_curve_ends_where_the_rows_do() -> None:
    assert learning.sizes(24000, (1500, 25000)) == [1500, 24000]
    assert learning.sizes(1000, (1500, 25000)) == [1000]


class OnePieceAWord:
    def encode(self, texts: List[str]) -> List[Any]:
        return [SimpleNamespace(texts=[[len(word) for word in texts[0].split()]])]


def test_cost_of_each_step() -> None:
    times = cost.step_times(OnePieceAWord(), linear_model(), [["a text"], ["another one here"]])
    assert times.shape == (3, 2) and (times > 0).all()
    found = cost.figures([["a text"], ["another one here"]], times)
    assert found["mean_words"] == 2.5
    assert found["mean"] == pytest.approx(sum(found[step] for step in cost.STEPS))
    assert found["p50"] <= found["p95"] <= found["p99"] <= 1000 * np.sum(times.max(axis=1))
    assert linear_model().space == FeatureSpace(1, 2, 9)
