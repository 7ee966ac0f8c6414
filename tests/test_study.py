"""The study's plan, its report, and that its page is made from the numbers."""

import copy
from pathlib import Path
from typing import Any, Dict, List

import pytest
from allennlp.common.checks import ConfigurationError

from benchmarks.sections import stands_in
from benchmarks.study import plan, report, training
from benchmarks.study.plan import DATASETS, SYSTEMS, Run, data_root, params, runs
from tests.conftest import FIXTURES, TINY_BERT

RESULTS = report.load()


def test_page_is_generated_from_the_numbers() -> None:
    assert len(RESULTS) == len(DATASETS)
    assert stands_in(report.MARKED, report.section(RESULTS), report.PAGE)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: result["dataset"])
def test_results_are_complete(result: Dict[str, Any]) -> None:
    dataset = DATASETS[result["dataset"]]
    done = {
        (system, run["seed"]) for system in SYSTEMS for run in result["systems"][system]["runs"]
    }
    assert {(run.system, run.seed) for run in runs(dataset)} >= done
    assert all((system, dataset.seeds[0]) in done for system in SYSTEMS)
    assert (report.RESULTS / f"{dataset.name}.svg").is_file()
    for name, system in result["systems"].items():
        for run in system["runs"]:
            for point in run["curve"]:
                assert 0 <= point["accuracy"] <= 1 and 1 <= point["mean_layers"] <= 6, name


def test_other_numbers_give_another_table() -> None:
    changed = copy.deepcopy(RESULTS[:1])
    changed[0]["systems"]["standard"]["runs"][0]["curve"][-1]["accuracy"] = 0.123
    assert report.table(changed) != report.table(RESULTS[:1])


def test_accuracy_between_two_points_of_a_curve() -> None:
    curve = [{"mean_layers": 1.0, "accuracy": 0.7}, {"mean_layers": 3.0, "accuracy": 0.9}]
    system = {"runs": [{"curve": curve}, {"curve": curve[:1]}]}
    assert report.accuracies_at(system, 2) == pytest.approx([0.8])
    assert report.accuracies_at(system, 1) == pytest.approx([0.7, 0.7])
    assert report.accuracies_at(system, 4) == []


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_every_run_has_a_config(dataset: Any) -> None:
    planned = runs(dataset)
    assert len({run.name for run in planned}) == len(planned)
    for run in planned:
        config = params(run, None).as_dict(quiet=True)
        assert config["train_data_path"].endswith(f"{dataset.train}#train")
        assert config["train_data_path"].startswith("https://")
        assert config["pytorch_seed"] == run.seed
        assert config["model"]["exit_layers"] == SYSTEMS[run.system]["model.exit_layers"]
        assert "max_instances" not in config["validation_dataset_reader"]


def test_local_data_are_found_or_named(tmp_path: Path) -> None:
    sst, imdb = DATASETS["sst"], DATASETS["imdb"]
    assert data_root(sst, str(FIXTURES)) == f"{FIXTURES}/sst/"
    (tmp_path / "imdb").mkdir()
    with pytest.raises(ConfigurationError, match="no train of imdb: looked in"):
        data_root(imdb, str(tmp_path))
    (tmp_path / "imdb/sample.tar.gz").touch()
    assert data_root(imdb, str(tmp_path)) == f"{tmp_path}/imdb/sample.tar.gz!aclImdb/"
    (tmp_path / "imdb/aclImdb/train").mkdir(parents=True)
    assert data_root(imdb, str(tmp_path)) == f"{tmp_path}/imdb/aclImdb/"


def test_training_resumes_and_reports_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "BACKBONE", TINY_BERT)
    dataset = plan.Dataset("sst", "train.txt", "dev.txt", validation_rows=3)
    planned = [Run(dataset, "efficient_1", 1), Run(dataset, "efficient_3", 1)]
    moves: List[float] = []
    monkeypatch.setattr(training.RunBar, "step", lambda bar: moves.append(bar._unit))
    training.train_all(planned[:1], str(FIXTURES), tmp_path)
    assert sum(moves) == pytest.approx(training._cost(planned[0]))
    first = training.archive(planned[0], tmp_path)
    written = first.stat().st_mtime_ns
    moves.clear()
    training.train_all(planned, str(FIXTURES), tmp_path)
    assert first.stat().st_mtime_ns == written, "what is finished is not done again"
    assert sum(moves) == pytest.approx(training._cost(planned[1]))
    assert training.archive(planned[1], tmp_path).is_file()
    assert "accuracy" in (tmp_path / "sst/efficient_3-1.log").read_text()


def test_baselines_differ_from_the_standard_in_one_thing() -> None:
    standard = params(Run(DATASETS["sst"], "standard", 1), None).as_dict(quiet=True)
    efficient = params(Run(DATASETS["sst"], "efficient_1", 1), None).as_dict(quiet=True)
    assert efficient["model"].pop("exit_layers") == [1]
    assert standard["model"].pop("exit_layers") == [5]
    assert efficient == standard
