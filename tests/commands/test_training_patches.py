"""AllenNLP's `train` with what this package replaces in it."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.commands import main as allennlp_main
from allennlp.commands import train as allennlp_train
from allennlp.common.checks import ConfigurationError

from sledgehammer.support import tars
from tests.conftest import FIXTURES, ROOT

CONFIG = str(FIXTURES / "tiny.jsonnet")


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `allennlp train` in this process."""

    def run(directory: Path, *arguments: str) -> None:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(
            "sys.argv", ["allennlp", "train", CONFIG, "-s", str(directory), *arguments]
        )
        allennlp_main(prog="allennlp")

    return run


FAILING = {
    "no data at 'missing.txt'": '{"train_data_path": "missing.txt"}',
    "the config .* with its overrides": '{"trainer": ',
    "no_such_model": '{"model.type": "no_such_model"}',
}


@pytest.mark.parametrize("message", FAILING)
def test_a_failed_run_leaves_nothing_and_says_why_in_a_line(
    tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str], message: str
) -> None:
    for directory in (tmp_path / "a/b", tmp_path):
        with pytest.raises(SystemExit) as caught:
            train(directory, "-o", FAILING[message])
        assert caught.value.code == 1
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("allennlp train: error: ")
        assert re.search(message, last)
        assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_refused_and_kept(
    tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        train(tmp_path)
    assert "already exists and is not empty" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_in_a_program_errors_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["program"])
    with pytest.raises(ConfigurationError, match="with its overrides"):
        allennlp_train.train_model_from_file(CONFIG, str(tmp_path / "run"), overrides="{")


def test_checkpoints_stay_and_are_mended(
    tmp_path: Path, train: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, os.strerror(28))

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(allennlp_train, "archive_model", fail)
        with pytest.raises(SystemExit):
            train(run, "-o", '{"trainer.num_epochs": 2}')
    errors = capsys.readouterr().err
    assert "--recover continues from the last one" in errors
    assert errors.splitlines()[-1] == "allennlp train: error: No space left on device"
    latest = max(run.glob("model_state_*"))
    latest.write_bytes(latest.read_bytes()[:1000])
    train(run, "--recover", "-o", '{"trainer.num_epochs": 2}')
    archived = tars.read_files(run / "model.tar.gz", lambda name: True)
    assert {"config.json", "weights.th", "transformer/tokenizer.json"} <= set(archived)
    assert torch.load(run / "best.th")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
