"""AllenNLP's own commands with exported models."""

import json
import shutil
from pathlib import Path
from typing import Any, Dict, List

import pytest
from allennlp.commands import main as allennlp_main
from allennlp.common.checks import ConfigurationError

from sledgehammer.commands.allennlp_patches import loader
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
    with pytest.raises(SystemExit, match="is of format None"):
        allennlp(command, str(copy), DEV)
    with pytest.raises(SystemExit, match="neither the folder of an archive"):
        allennlp(command, str(copy / "segments"), DEV)


def test_in_a_program_errors_are_raised(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{}")
    with pytest.raises(ConfigurationError, match="is of format None"):
        loader("evaluate")(tmp_path)
