"""AllenNLP's own commands with exported models."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any, Dict, List

import pytest
from allennlp.commands import main as allennlp_main
from allennlp.common.checks import ConfigurationError

from sledgehammer.commands.allennlp_patches import LineManager, loader
from sledgehammer.engine import cli
from sledgehammer.engine.manifest import MANIFEST
from tests.conftest import ROOT
from tests.tiny_training import DEV


@pytest.fixture
def allennlp(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `allennlp ARGUMENTS` in this process."""

    def run(*arguments: str) -> None:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr("sys.argv", ["allennlp", *arguments])
        allennlp_main(prog="allennlp")

    return run


def read_lines(path: Path) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_our_own_command_prints_one_json_line_a_text(
    tiny_archive: Path, tmp_path: Path, allennlp: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"text": "I loved it", "id": 7}\n{"text": "boring"}\n')
    arguments = [str(tiny_archive), str(source), "--output-file", str(target)]
    allennlp("predict", *arguments)
    assert "prediction: " in capfd.readouterr().out
    monkeypatch.setattr("sys.argv", ["sledgehammer", "predict", *arguments])
    allennlp_main(prog="sledgehammer")
    printed = capfd.readouterr().out
    assert printed == target.read_text()
    assert [json.loads(line).get("id") for line in printed.splitlines()] == [7, None]


@pytest.mark.parametrize("threshold", ["", '{"threshold": 0.0}', '{"threshold": 1.0}'])
def test_predict_says_what_the_command_of_its_own_says(
    tiny_engine: Path, tmp_path: Path, allennlp: Any, threshold: str
) -> None:
    lines = ['{"text": "I loved it"}', "", "{", '{"sentence": "boring", "threshold": 0.0}']
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    outputs = []
    for name in ("allennlp", "sledgehammer"):
        output = tmp_path / f"{name}.jsonl"
        arguments = [
            str(tiny_engine), str(tmp_path / "in.jsonl"), "--silent", "--batch-size", "2",
            "--output-file", str(output), "--predictor-args", threshold,
        ]  # fmt: skip
        if name == "allennlp":
            with pytest.raises(SystemExit) as caught:
                allennlp("predict", *arguments)
            assert caught.value.code == 3
        else:
            assert cli.main(arguments) == 3
        outputs.append(read_lines(output))
    for theirs, ours in zip(*outputs):
        assert theirs.pop("probs", {}) == pytest.approx(ours.pop("probs", {}))
        assert theirs.pop("confidence", 0) == pytest.approx(ours.pop("confidence", 0))
        assert theirs == ours
    assert [len(lines) for lines in outputs] == [4, 4]


def test_predict_with_the_dataset_reader(tiny_engine: Path, tmp_path: Path, allennlp: Any) -> None:
    output = tmp_path / "out.jsonl"
    allennlp(
        "predict", str(tiny_engine), DEV, "--use-dataset-reader", "--silent", "--batch-size", "3",
        "--output-file", str(output), "-o", '{"model.policy.threshold": 1.0}',
    )  # fmt: skip
    assert [answer["exit_layer"] for answer in read_lines(output)] == [3] * 5


def test_evaluate(tiny_engine: Path, tiny_archive: Path, tmp_path: Path, allennlp: Any) -> None:
    found = []
    for threshold in (0.0, 0.5, 1.0):
        for model in (tiny_engine, tiny_archive):
            output = tmp_path / "metrics.json"
            overrides = json.dumps({"model.policy.threshold": threshold})
            allennlp("evaluate", str(model), DEV, "-o", overrides, "--output-file", str(output))
            found.append(json.loads(output.read_text()))
        assert found[-2] == pytest.approx(found[-1], abs=1e-4)
    assert [found[0]["mean_exit_layer"], found[-1]["mean_exit_layer"]] == [0, 3]


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_errors_are_one_line(
    tiny_engine: Path, tmp_path: Path, allennlp: Any, command: str
) -> None:
    copy = Path(shutil.copytree(tiny_engine, tmp_path / "copy"))
    cases = [
        ([str(copy), DEV, "--weights-file", "best.th"], "runs on the CPU, with the weights it has"),
        ([str(copy), DEV, "-o", '{"model.policy.threshold": 7}'], "between 0 and 1, got 7"),
    ]
    for arguments, message in cases:
        with pytest.raises(SystemExit, match=f"^allennlp {command}: error: .*{message}"):
            allennlp(command, *arguments)
    (copy / "segments/exit_0.onnx").unlink()
    with pytest.raises(SystemExit, match="is incomplete: segments/exit_0.onnx is missing"):
        allennlp(command, str(copy), DEV)
    (copy / MANIFEST).write_text("{}")
    with pytest.raises(SystemExit, match="has format None"):
        allennlp(command, str(copy), DEV)
    with pytest.raises(SystemExit, match="neither the folder of an archive"):
        allennlp(command, str(copy / "segments"), DEV)


def test_in_a_program_errors_are_raised(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(ConfigurationError, match="has format None"):
        loader("evaluate")(tmp_path)


def test_the_output_of_predict_is_whole_or_untouched(
    tiny_archive: Path, tmp_path: Path, allennlp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n' * 3)
    output = tmp_path / "out.jsonl"
    output.write_text("old")
    output.chmod(0o600)
    seen = []
    original = LineManager._maybe_print_to_console_and_file

    def look(self: LineManager, index: int, *others: Any) -> None:
        seen.append(output.read_text())
        if stop and index == 1:
            raise KeyboardInterrupt
        original(self, index, *others)

    monkeypatch.setattr(LineManager, "_maybe_print_to_console_and_file", look)
    arguments = [str(tiny_archive), str(tmp_path / "in.jsonl"), "--output-file", str(output)]
    stop = True
    with pytest.raises(SystemExit) as caught:
        allennlp("predict", *arguments, "--silent")
    assert caught.value.code == 130
    assert output.read_text() == "old" and len(list(tmp_path.iterdir())) == 2
    stop = False
    allennlp("predict", *arguments, "--silent")
    assert set(seen) == {"old"} and len(read_lines(output)) == 3
    assert output.stat().st_mode & 0o777 == 0o600


def test_outputs_that_can_not_be_written(
    tiny_archive: Path, tmp_path: Path, allennlp: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("predict", "evaluate"):
        with pytest.raises(SystemExit) as caught:
            allennlp(command, str(tiny_archive), DEV, "--output-file", str(tmp_path))
        assert caught.value.code == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last == f"allennlp {command}: error: cannot write {str(tmp_path)!r}: it is a folder"


def test_an_archive_that_points_outside(
    tiny_archive: Path, tmp_path: Path, allennlp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    hostile = tmp_path / "hostile.tar.gz"
    with tarfile.open(tiny_archive) as old, tarfile.open(hostile, "w:gz") as new:
        for member in old:
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
        new.addfile(tarfile.TarInfo("../evil.txt"), io.BytesIO())
    for command in ("predict", "evaluate"):
        with pytest.raises(SystemExit, match="'../evil.txt' would lie outside of it"):
            allennlp(command, str(hostile), DEV)
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.tar.gz"]
