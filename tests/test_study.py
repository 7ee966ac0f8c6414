"""The study's plan, its report, and that its page is made from the numbers."""

import copy
from pathlib import Path
from typing import Any, Dict, List

import pytest
from allennlp.common.checks import ConfigurationError

from benchmarks.sections import stands_in
from benchmarks.study import measuring, plan, report, training
from benchmarks.study.lexical import IN_FRONT, MIXED_IN
from benchmarks.study.plan import DATASETS, SYSTEMS, Run, data_root, params, runs
from sledgehammer.analysis.all_exits import run_all_exits, tradeoff_of
from sledgehammer.commands.lexical import Lexical
from sledgehammer.model.archives import open_archive
from tests.cli import run_command
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
                fewest = 0 if name in IN_FRONT["multi_exit"] else 1
                assert 0 <= point["accuracy"] <= 1 and fewest <= point["mean_layers"] <= 6, name


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


def test_trained_runs_get_the_help_of_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured is what `allennlp lexical` would write, without training anything again."""
    monkeypatch.setattr(plan, "BACKBONE", TINY_BERT)
    monkeypatch.setitem(plan.SYSTEMS, "multi_exit", {"model.exit_layers": [0, 2]})
    dataset = plan.Dataset("sst", "train.txt", "dev.txt", validation_rows=4)
    planned = [Run(dataset, "multi_exit", 1), Run(dataset, "efficient_1", 1)]
    training.train_all(planned, str(FIXTURES), tmp_path)
    systems, rows = measuring._accuracies(dataset, planned, str(FIXTURES), tmp_path)
    train = FIXTURES / "sst/train.txt"
    (tmp_path / "help").mkdir()
    for run, curves in (
        (planned[0], {"lexical_mixing": [], "lexical": ["--no-mixing"]}),
        (planned[1], {"efficient_1_mixing": ["-1"]}),
    ):
        for system, options in curves.items():
            target = tmp_path / "help" / f"{system}.tar.gz"
            run_command(
                Lexical(), str(training.archive(run, tmp_path)), f"{train}#train", "--validation",
                f"{train}#validation", "-o", str(target), "--few-rows",
                *(option for option in options if option.startswith("--")),
            )  # fmt: skip
            opened = open_archive(str(target))
            tradeoff = tradeoff_of(opened, run_all_exits(*opened, rows))
            measured = systems[system]["runs"][0]
            first = 1 if system == "efficient_1_mixing" else 0
            for name in ("temperatures", "mixing"):
                expected = getattr(opened.model, name).tolist()[first:]
                assert measured[name] == pytest.approx(expected, rel=1e-2, abs=1e-3)
            last = measured["curve"][-1]
            assert last.accuracy == tradeoff.curve([1.0])[0].accuracy
            if first == 0:
                assert measured["curve"][0].mean_layers == 0.0
                assert measured["curve"][0].accuracy == tradeoff.curve([0.0])[0].accuracy
    assert (tmp_path / "sst/lexical.npz").is_file()


def test_table_and_figure_show_the_help_where_it_was_measured(tmp_path: Path) -> None:
    changed = copy.deepcopy(RESULTS[:1])
    systems = changed[0]["systems"]
    assert "0.5 layers" not in report.table(changed) or "lexical" in systems
    curve = [
        {"mean_layers": layers, "accuracy": accuracy, "layer_speedup": None}
        for layers, accuracy in ((0.0, 0.81), (0.5, 0.912), (6.0, 0.93))
    ]
    for name in ("lexical", "lexical_mixing"):
        systems[name] = {"runs": [{"seed": 1, "curve": curve}]}
    for name in MIXED_IN.values():
        systems[name] = {"runs": [{"seed": 1, "curve": curve[-1:]}]}
    table = report.table(changed)
    (line,) = [li for li in table.splitlines() if "multi-exit, with the lexical exit" in li]
    assert "91.2" in line and "0.5 layers" in table
    assert "standard baseline, lexical exit mixed in" in table
    report.figure(changed[0], tmp_path / "study.svg")
    drawn = (tmp_path / "study.svg").read_text()
    assert "baselines, lexical exit mixed in" in drawn


def test_baselines_differ_from_the_standard_in_one_thing() -> None:
    standard = params(Run(DATASETS["sst"], "standard", 1), None).as_dict(quiet=True)
    efficient = params(Run(DATASETS["sst"], "efficient_1", 1), None).as_dict(quiet=True)
    assert efficient["model"].pop("exit_layers") == [1]
    assert standard["model"].pop("exit_layers") == [5]
    assert efficient == standard
