import json
from pathlib import Path
from typing import Any

import pytest

from sledgehammer.commands.benchmark import BenchmarkCommand
from sledgehammer.commands.export import ExportCommand
from tests.cli import refused, run_command
from tests.conftest import FIXTURES

pytest.importorskip("onnx", reason="exports are not installed with the stock stack")
pytest.importorskip("onnxruntime")
DEV = str(FIXTURES / "sst/dev.txt")
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
    told = capsys.readouterr().out
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
    assert all(name in told for name in names)
    assert content["machine"]["libraries"]["onnxruntime"] in told
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
    manifest.write_text(json.dumps(content))
    run(tmp_path / "mine", DEV, "--thresholds", "0.6", "--eager", *FEW)
    assert "missing: eager: the exported model's archive is gone or changed" in (
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


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--thresholds", "2"], "between 0 and 1"),
        (["--output", "speed.txt"], ".json"),
        (["--max-accuracy-drop", "2"], "--max-accuracy-drop"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    tiny_archive: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: "list[str]",
    message: str,
) -> None:
    assert message in refused(BenchmarkCommand(), capsys, tiny_archive, DEV, *arguments)
