import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import run_all_exits
from sledgehammer.analysis.tradeoff import Point
from sledgehammer.benchmark.contenders import Contender, open_contender
from sledgehammer.commands.benchmark import BenchmarkCommand
from sledgehammer.commands.benchmark_choice import read_parts, used_row_warnings
from sledgehammer.commands.benchmark_contenders import choose_rivals, name_points
from sledgehammer.commands.benchmark_words import check_word_rivals, choose_word_rivals
from sledgehammer.commands.export import ExportCommand
from sledgehammer.commands.lexical import Lexical
from sledgehammer.dataset_readers import SstReader
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.engine.manifest import sealed
from sledgehammer.model.archives import open_archive
from tests.cli import refused, run_command
from tests.conftest import FIXTURES
from tests.tiny_training import train

pytest.importorskip("onnx", reason="exports are not installed with the stock stack")
pytest.importorskip("onnxruntime")
DEV = str(FIXTURES / "sst/dev.txt")
TRAIN = str(FIXTURES / "sst/train.txt")
HELD_OUT = str(FIXTURES / "sst/held_out.txt")
FEW = ["--rows", "4", "--rounds", "2", "--threads", "1", "--batch-sizes", "1", "2"]


def run(*arguments: Any) -> None:
    run_command(BenchmarkCommand(), *map(str, arguments))


def test_an_engine_against_its_rivals(
    tiny_archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory = tmp_path / "mine"
    run_command(ExportCommand(), str(tiny_archive), str(directory))
    report, figure = tmp_path / "speed.json", tmp_path / "speed.png"
    run(
        directory, DEV, "--thresholds", "0.6", "--eager", "--cut", "--onnx-int8", *FEW,
        "--output", report, "--plot", figure,
    )  # fmt: skip
    printed = capsys.readouterr().out
    content = json.loads(report.read_text())
    names = [
        "mine at 0.6",
        "full, eager",
        "cut after layer 0",
        "cut after layer 2",
        "full, onnx-int8",
    ]
    assert list(content["contenders"]) == names
    exported = [
        c["path"] for c in content["contenders"].values() if c["name"].startswith("full, o")
    ]
    assert exported and set(exported) == {"(exported for this run)"}
    assert all(name in printed for name in names)
    assert content["machine"]["libraries"]["onnxruntime"] in printed
    assert {(r["threads"], r["batch_size"]) for r in content["results"]} == {(1, 1), (1, 2)}
    assert content["answers"]["mine at 0.6"]["threshold"] == 0.6
    assert figure.stat().st_size > 1000


def test_what_is_missing_is_named(
    tiny_archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_command(ExportCommand(), str(tiny_archive), str(tmp_path / "mine"))
    manifest = tmp_path / "mine/engine.json"
    content = json.loads(manifest.read_text())
    content["source"]["archive"] = str(tmp_path / "gone.tar.gz")
    manifest.write_text(json.dumps(sealed(content)))
    run(tmp_path / "mine", DEV, "--thresholds", "0.6", "--eager", *FEW)
    assert "missing: eager: the exported model's archive is gone or has changed" in (
        capsys.readouterr().out
    )


def test_thresholds_are_chosen_for_the_drop(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "speed.json"
    run(
        tiny_archive, DEV, "--max-accuracy-drop", "1", "--choose-on", FIXTURES / "sst/train.txt",
        *FEW, "--output", report,
    )  # fmt: skip
    points = list(json.loads(report.read_text())["answers"].values())
    assert [point["threshold"] for point in points] == [0.0, 1.0]


def test_overrides_reach_the_processes_that_are_timed(
    tiny_archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Readers that cut to eight word pieces have no second half to tokenise or to run."""
    report = tmp_path / "speed.json"
    overrides = '{"model.policy": {"type": "patience"}, "dataset_reader.max_length": 8}'
    run(
        tiny_archive, DEV, "--settings", "1", "3", "--eager", "--onnx-fp32", *FEW,
        "--overrides", overrides, "--output", report,
    )  # fmt: skip
    content = json.loads(report.read_text())
    name = f"{tiny_archive.parent.name}, eager"
    assert [p["patience"] for p in content["answers"].values()] == [1, 3]
    assert {c["overrides"] for c in content["contenders"].values() if c["kind"] != "engine"} == {
        overrides
    }
    assert content["choose_on"] is None, "the settings were given"
    printed = capsys.readouterr().out
    assert "thresholds chosen on" not in printed
    assert f"{name} at 3" in printed
    monkeypatch.setattr("torch.set_num_threads", lambda threads: None)
    with torch.no_grad():  # which the process of a contender stays in
        contender = open_contender(Contender(**content["contenders"][f"{name} at 3"]), 1)
    assert contender.model.policy.config() == {"type": "patience", "patience": 3}  # type: ignore[attr-defined]
    assert contender.lengths([["word " * 30]]) == [8]


def test_models_of_one_name_get_different_names(tiny_archive: Path, tmp_path: Path) -> None:
    paths = []
    for folder in ("march", "april"):
        (tmp_path / folder / "model").mkdir(parents=True)
        paths.append(tmp_path / folder / "model/model.tar.gz")
        paths[-1].symlink_to(tiny_archive)
    report = tmp_path / "speed.json"
    run(
        paths[0], DEV, "--engine", paths[1], "--thresholds", "0.90001", "0.90002", *FEW,
        "--output", report,
    )  # fmt: skip
    names = [
        f"{folder}/model, eager at {threshold}"
        for folder in ("march", "april")
        for threshold in ("0.90001", "0.90002")
    ]
    content = json.loads(report.read_text())
    assert list(content["contenders"]) == list(content["answers"]) == names
    assert len(content["results"]) == 2 * len(names)


def test_the_standard_baseline_and_its_accuracy(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "standard", model__exit_layers=[3])
    report = tmp_path / "speed.json"
    run(
        tiny_archive, DEV, "--thresholds", "0.6", "--standard", tmp_path / "standard", *FEW,
        "--output", report,
    )  # fmt: skip
    content = json.loads(report.read_text())
    (name,) = content["rival_answers"]
    assert name == "standard, eager" and content["rival_answers"][name]["mean_layers"] == 4
    assert name in {r["contender"] for r in content["results"]}
    printed = capsys.readouterr().out
    accuracy = content["rival_answers"][name]["accuracy"]
    assert f"standard, eager |      {accuracy:.1%}" in printed
    assert printed.index(" mean |") < printed.index(" p50 |") < printed.index(" p95 |")
    assert printed.index("ratio of means") < printed.index("ratio of p50s")


def test_rivals_that_run_no_transformer(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are fitted to the training data; the model's own lexical exit is one of them."""
    with_exit, report = tmp_path / "lexical.tar.gz", tmp_path / "speed.json"
    run_command(
        Lexical(), str(tiny_archive), TRAIN, "--validation", DEV, "-o", str(with_exit),
        "--bits", "10", "--min-rows", "1", "--few-rows",
    )  # fmt: skip
    training = tmp_path / "more.txt"
    training.write_text((Path(TRAIN).read_text() + Path(HELD_OUT).read_text()) * 2)
    run(
        with_exit, DEV, "--thresholds", "0.6", "1", "--rival", "linear", *FEW,
        "--training-data", training, "--output", report,
    )  # fmt: skip
    content = json.loads(report.read_text())
    rivals = ["lexical exit alone", "TF-IDF of words", "TF-IDF of words and characters"]
    assert list(content["rival_answers"]) == rivals
    assert list(content["contenders"])[2:] == rivals
    assert {c["path"] for c in content["contenders"].values() if c["kind"] == "words"} == {
        "(fitted for this run)"
    }
    opened = open_archive(str(with_exit))
    outputs = run_all_exits(*opened, read_rows(opened.reader, DEV))
    alone = float((outputs.logits[:, 0].argmax(dim=1) == outputs.label).double().mean())
    assert content["rival_answers"]["lexical exit alone"]["accuracy"] == pytest.approx(alone)
    assert all(answer["mean_layers"] == 0 for answer in content["rival_answers"].values())
    for result in content["results"]:
        low, high = result["throughput_quartiles"]
        assert low <= result["throughput"] <= high
    times = {r["contender"]: r["mean"] for r in content["results"] if r["batch_size"] == 1}
    name = f"{with_exit.parent.name}/{with_exit.name}"
    whole = next(time for contender, time in times.items() if "at 1" in contender)
    assert times["lexical exit alone"] < whole, f"{name} runs all layers"
    assert "lexical exit alone" in capsys.readouterr().out


def test_rows_that_rivals_were_fitted_to_cause_a_warning(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.txt"
    data.write_text(Path(HELD_OUT).read_text() * 3)
    parsed = arguments(str(data), "--rival", "linear", "--training-data", str(data))
    parsed.archive = str(tiny_archive)
    opened = {parsed.archive: open_archive(parsed.archive)}
    rows = read_rows(opened[parsed.archive].reader, HELD_OUT)
    rivals = choose_word_rivals(parsed, opened, rows, tmp_path)
    assert [c.name for c in rivals.points] == ["TF-IDF of words", "TF-IDF of words and characters"]
    (warning,) = rivals.warnings
    assert warning.startswith("9 of the 9 rows are also in") and warning in capsys.readouterr().err


def test_all_rivals_say_which_need_training_data(
    tiny_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = arguments(DEV, "--all-rivals")
    rivals = choose_word_rivals(parsed, {"archive": open_archive(str(tiny_archive))}, [], Path())
    assert rivals.points == {} and set(rivals.missing) == {"linear", "static"}
    assert "--training-data" in rivals.missing["linear"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    parsed = arguments(DEV, "--rival", "static", "--training-data", DEV)
    with pytest.raises(ConfigurationError, match=r"allennlp-sledgehammer\[static\]"):
        check_word_rivals(parsed)


def arguments(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    BenchmarkCommand().add_subparser(parser.add_subparsers())
    return parser.parse_args(["benchmark", "archive", *given])


def test_thresholds_are_never_chosen_on_rows_reported_on(
    sst_reader: SstReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "twice.txt"
    data.write_text(Path(DEV).read_text() + Path(TRAIN).read_text() + Path(DEV).read_text())
    parts = read_parts(arguments(str(data)), sst_reader)
    sides = [{tuple(row.texts) for row in side} for side in parts[:2]]
    assert not sides[0] & sides[1] and all(sides)
    assert len(parts.reported) + len(parts.chosen_on) == 19
    assert f"{len(parts.chosen_on)} of the 19 rows" in capsys.readouterr().out
    given = read_parts(arguments(str(data), "--thresholds", "0.5"), sst_reader)
    assert len(given.reported) == 19 and capsys.readouterr().out == ""
    apart = read_parts(arguments(DEV, "--choose-on", TRAIN), sst_reader)
    assert (len(apart.reported), len(apart.chosen_on), apart.name) == (5, 9, TRAIN)
    data.write_text("(4 (4 Alone) (2 .))\n" * 3)
    with pytest.raises(ConfigurationError, match="too few rows to choose thresholds"):
        read_parts(arguments(str(data)), sst_reader)


def test_rows_used_to_make_the_model_cause_warnings(
    tiny_archive: Path, sst_reader: SstReader, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = {"mine": open_archive(str(tiny_archive))}
    for data, options, beginning in (
        (TRAIN, ["--choose-on", HELD_OUT], "9 of the 9 rows were also used to train the model"),
        (DEV, ["--thresholds", "0.5"], "5 of the 5 rows were also used to fit the temperatures"),
        (HELD_OUT, ["--choose-on", HELD_OUT], "9 of the 9 rows are also in"),
    ):
        parsed = arguments(data, *options)
        (warning,) = used_row_warnings(opened, read_parts(parsed, sst_reader), parsed)
        assert warning.startswith(beginning)
        assert f"warning: {warning}" in capsys.readouterr().err
    parsed = arguments(HELD_OUT)
    assert used_row_warnings(opened, read_parts(parsed, sst_reader), parsed) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--standard", "{archive}"], "is not a standard baseline"),
        (["--engine", "{archive}"], "is given twice"),
        (["--engine", "{folder}"], "is given twice"),
        (["--engine", "{engine}", "--overrides", "{}"], "--overrides does not apply to"),
        (["--cuda-device", "99"], "--cuda-device 99: this machine has"),
        (["--thresholds", "2"], "between 0 and 1"),
        (["--output", "speed.txt"], ".json"),
        (["--rival", "linear"], "--rival linear: give --training-data DATA"),
        (["--max-accuracy-drop", "2"], "--max-accuracy-drop"),
    ],
)
def test_mistakes_are_reported_before_anything_runs(
    tiny_archive: Path,
    tiny_engine: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: "list[str]",
    message: str,
) -> None:
    paths = {
        "{archive}": tiny_archive, "{folder}": tiny_archive.parent, "{engine}": tiny_engine
    }  # fmt: skip
    filled = [paths.get(argument, argument) for argument in arguments]
    assert message in refused(BenchmarkCommand(), capsys, tiny_archive, DEV, *filled)


def test_an_engine_does_not_run_on_a_gpu(
    tiny_archive: Path,
    tiny_engine: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    for paths in ([tiny_engine], [tiny_archive, "--engine", tiny_engine]):
        arguments = [paths[0], DEV, *paths[1:], "--cuda-device", "0"]
        message = refused(BenchmarkCommand(), capsys, *arguments)
        assert "is an exported model and runs on the CPU" in message


def test_the_gpu_reaches_the_processes_that_are_timed(tiny_archive: Path) -> None:
    """Check only the contenders' settings: without a GPU nothing can run on one."""
    parser = argparse.ArgumentParser()
    BenchmarkCommand().add_subparser(parser.add_subparsers())
    parsed = parser.parse_args(
        ["benchmark", str(tiny_archive), DEV, "--all-rivals", "--cuda-device", "0"]
    )
    point = Point(0.5, 0.8, 0.8, 1.0, 6.0, 0.02, {0: 1.0})
    rivals, missing = choose_rivals(parsed, str(tiny_archive), [], Path())
    assert {
        c.cuda_device for c in [*name_points({str(tiny_archive): [point]}, parsed), *rivals]
    } == {0}
    assert missing["onnx-int8"] == missing["openvino-bf16"] == "exported models run on the CPU"
    assert "give --standard ARCHIVE" in missing["standard"]
