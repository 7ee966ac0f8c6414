"""`allennlp difficulty` on a tiny archive."""

import io
import json
from pathlib import Path

import pytest

from sledgehammer.commands.difficulty import Difficulty
from tests.cli import refused, run_command
from tests.conftest import FIXTURES

TRAIN = str(FIXTURES / "sst/train.txt")


def test_rows_are_ranked(tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    target = tmp_path / "ranked.jsonl"
    run_command(
        Difficulty(), str(tiny_archive), TRAIN, "--output", str(target), "--threshold", "0.52",
        "--examples", "2",
    )  # fmt: skip
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["rank"] for line in lines] == list(range(1, 10))
    assert sorted(line["row"] for line in lines) == list(range(1, 10))
    keys = [(line["exit_layer"], -line["confidence"][str(line["exit_layer"])]) for line in lines]
    assert keys == sorted(keys)
    for line in lines:
        assert set(line["confidence"]) == {"0", "2", "3"} == set(line["predictions"])
        assert line["prediction"] == line["predictions"][str(line["exit_layer"])]
        assert line["correct"] == (line["prediction"] == line["label"])
        answers = list(line["predictions"].values())
        changed = [layer for layer, a, b in zip((2, 3), answers, answers[1:]) if a != b]
        assert line["changed_at"] == changed
        passed = [c for layer, c in line["confidence"].items() if int(layer) < line["exit_layer"]]
        assert all(confidence < 0.52 for confidence in passed)
    printed = capsys.readouterr().out
    assert "9 rows at threshold 0.52" in printed and "once right, right at every" in printed
    assert printed.count("  layer ") == 4


def test_labels_are_not_needed(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data, target = tmp_path / "texts.jsonl", tmp_path / "ranked.jsonl"
    data.write_text('{"text": "fun"}\n{"text": "dull", "label": "negative"}\n')
    run_command(
        Difficulty(), str(tiny_archive), str(data), "--json-lines", "--output", str(target)
    )  # fmt: skip
    lines = {line["text"]: line for line in map(json.loads, target.read_text().splitlines())}
    assert "label" not in lines["fun"] and lines["dull"]["label"] == "negative"
    assert "once right" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--threshold", "2"], "threshold must be a number between 0 and 1"),
        (["--output", "{tmp}/ranked.csv"], "must end in one of .jsonl"),
        (["--json-lines", "--output", "{tmp}/ranked.jsonl"], "train.txt, line 1: not JSON"),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(
    tiny_archive: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    arguments: "list[str]",
    message: str,
) -> None:
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    assert message in refused(Difficulty(), capsys, tiny_archive, TRAIN, *filled)
    assert list(tmp_path.iterdir()) == []


def test_no_row_is_both_easy_and_hard(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = tmp_path / "texts.jsonl"
    data.write_text('{"text": "fun"}\n{"text": "dull"}\n{"text": "odd"}\n')
    run_command(Difficulty(), str(tiny_archive), str(data), "--json-lines", "--examples", "9")
    shown = capsys.readouterr().out
    assert [shown.count(f": {text}\n") for text in ("fun", "dull", "odd")] == [1, 1, 1]
    with pytest.raises(SystemExit):
        run_command(Difficulty(), str(tiny_archive), str(data), "--examples", "-1")
    assert "must be at least 0, got -1" in capsys.readouterr().err


def test_a_terminal_that_cannot_show_a_text_stops_nothing(
    tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, target = tmp_path / "texts.jsonl", tmp_path / "ranked.jsonl"
    data.write_text('{"text": "caf\u00e9"}\n', encoding="utf-8")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", terminal)
    run_command(
        Difficulty(), str(tiny_archive), str(data), "--json-lines", "--output", str(target)
    )  # fmt: skip
    terminal.flush()
    assert b"caf\\xe9" in terminal.buffer.getvalue()  # type: ignore[attr-defined]
    assert "caf\u00e9" in target.read_text(encoding="utf-8")
