"""The comparison's plan, and its report on made-up numbers."""

from pathlib import Path
from typing import Any, Dict

import pytest

from benchmarks.compare import report
from benchmarks.compare.compressors import ALL
from benchmarks.compare.plan import DATASETS, OBJECTIVES, PLANNED, POLICIES, TEACHER, runs
from benchmarks.sections import stands_in
from benchmarks.study.plan import params
from sledgehammer.objectives import ExitObjective
from sledgehammer.policies import ExitPolicy

RESULTS = report.load()


def test_page_is_generated_from_the_numbers() -> None:
    assert len(RESULTS) == len(DATASETS)
    assert stands_in(report.MARKED, report.section(RESULTS), report.PAGE)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result["dataset"])
def test_results_are_complete(result: Dict[str, Any]) -> None:
    assert set(result["objectives"]) == set(OBJECTIVES)
    for found in result["objectives"].values():
        assert found and all(set(run["accuracy"]) == set(POLICIES) for run in found)
    assert [row["name"] for row in result["compressors"]] == [each.name for each in ALL]
    table = (report.RESULTS / f"{result['dataset']}.md").read_text(encoding="utf-8")
    assert table.endswith(report.full_table(result))
    assert (report.RESULTS / f"{result['dataset']}.svg").is_file()


def test_every_objective_and_every_policy_is_compared() -> None:
    assert sorted([*OBJECTIVES, *PLANNED]) == sorted(ExitObjective.list_available())
    assert {*POLICIES, "budget"} == set(ExitPolicy.list_available())


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_runs_differ_in_their_objectives(dataset: Any, tmp_path: Path) -> None:
    planned = runs(dataset, tmp_path)
    assert len({run.name for run in planned}) == len(planned)
    for run in planned:
        config = params(run, None).as_dict(quiet=True)
        if run.system == TEACHER:
            assert config["model"]["exit_layers"] == [5]
            continue
        assert config["model"]["objective"]["type"] == run.system
        assert config["model"]["exit_layers"] == [0, 1, 2, 3, 4, 5]
        if run.system == "distillation":
            teacher = tmp_path / f"{dataset.name}/standard-{run.seed}/model.tar.gz"
            assert config["model"]["objective"]["teacher"] == str(teacher)


def result() -> Dict[str, Any]:
    """Two seeds of curves that rise from 70 % at one layer to 80 or 90 % at six."""
    layers = [1.0, 3.0, 6.0]
    made = [
        {
            "seed": seed,
            "exits": [0.7, 0.8, last],
            "accuracy": {policy: [0.7, 0.8, last] for policy in POLICIES},
        }
        for seed, last in ((1, 0.8), (2, 0.9))
    ]
    clock = {"mean_layers": 3.0, "ratio": 1.9, "quartiles": [1.8, 2.0]}
    compressed = {
        "accuracy": 0.8, "setting": 0.9, "layer_speedup": 2.0, "p50_milliseconds": 1.0,
        "p50_speedup": [2.0, 1.9, 2.1], "throughput_speedup": [1.5, 1.4, 1.6],
    }  # fmt: skip
    return {
        "dataset": "sst",
        "rows": {"train": None, "validation": 800, "test": 872},
        "seeds": [1, 2],
        "date": "2026-11-23",
        "machine": {"processor": "some processor", "threads": 2},
        "mean_layers": layers,
        "standard": [{"seed": 1, "accuracy": 0.85}],
        "objectives": dict.fromkeys(OBJECTIVES, made),
        "training_time": {
            name: {"ratio": 1.25, "quartiles": [1.2, 1.3]} for name in OBJECTIVES
        },
        "extra_parameters": dict.fromkeys(POLICIES, 0.001),
        "budgets": [{"budget": 2.0, "fixed threshold": 2.1, "plain": 2.0, "drifting": 2.03}],
        "wall_clock": dict.fromkeys(POLICIES, clock),
        "compressors": [{"name": each.name, **compressed} for each in ALL],
    }  # fmt: skip


def test_figures_of_a_pair() -> None:
    pair = report.Pair(result(), "joint", "entropy")
    assert pair.at(2.0) == pytest.approx(0.8)
    assert pair.at(1.5) == pytest.approx(0.8 + 0.05 / 3)
    # Trapezes: 2 layers of 0.75 on average, 3 of 0.8 or 0.85.
    assert pair.area == pytest.approx((2 * 0.75 + 3 * 0.825) / 5)


def test_tables_and_figure(tmp_path: Path) -> None:
    made = result()
    assert report.full_table(made).count("\n") == 2 + len(OBJECTIVES) * len(POLICIES)
    assert "| joint | confidence | 81.7 | 80.0 | 75.0 | 79.5 | 1.25x | +0.100% |" in (
        report.full_table(made)
    )
    assert "| joint, patience | 81.7 | 80.0 | 75.0 | 79.5 |  | 1.90x (3.00 layers) |" in (
        report.short_table(made)
    )
    assert "| 2: 2.10, 2.00, 2.03." not in report.section([made])
    assert "from easy to hard: 2: 2.10, 2.00, 2.03." in report.section([made])
    report.figure(made, tmp_path / "sst.svg")
    assert (tmp_path / "sst.svg").stat().st_size > 10_000
