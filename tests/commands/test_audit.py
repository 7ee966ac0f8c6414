"""`allennlp audit` on a tiny archive and what was exported from it."""

import json
from pathlib import Path
from typing import Any, Dict

import pytest

from sledgehammer.commands.audit import Audit
from sledgehammer.engine import load
from tests.cli import refused, run_command
from tests.conftest import FIXTURES

TRAIN = str(FIXTURES / "sst/train.txt")
SMALL = ["--queries", "6", "--changes", "2"]


def audited(tmp_path: Path, *arguments: object) -> Dict[str, Any]:
    target = tmp_path / "audit.json"
    run_command(Audit(), *map(str, arguments), "--output", str(target))
    report: Dict[str, Any] = json.loads(target.read_text())
    return report


def test_report(tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "audit.svg"
    arguments = [tiny_archive, TRAIN, *SMALL, "--threshold", "0.52", "--show", "2"]
    report = audited(tmp_path, *arguments, "--plot", picture)
    printed = capsys.readouterr().out
    kinds = {one["kind"]: one for one in report["slowdown"]}
    assert list(kinds) == ["typos", "synonyms", "appended", "in all"]
    assert report["rows"] == 9 and report["policy"]["threshold"] == 0.52
    before, in_all = report["layers"]["before"], report["layers"]["in all"]
    assert in_all == [max(row) for row in zip(*list(report["layers"].values())[:-1])]
    for kind, one in kinds.items():
        after = report["layers"][kind]
        assert all(new >= old for new, old in zip(after, before))
        assert one["queries"] <= 6 * (3 if kind == "in all" else 1)
        assert one["mean_layers_after"] == pytest.approx(sum(after) / 9)
        assert one["worst_slowdown"] == max(new / old for new, old in zip(after, before)) >= 1
    assert kinds["in all"]["mean_layers_after"] > kinds["in all"]["mean_layers_before"]
    caps = report["limits"]["max_exit_layer"]
    assert [held["max_exit_layer"] for held in caps] == [0, 2]
    assert caps[0]["mean_slowdown"] == 1 and 0 <= caps[0]["accuracy_after"] <= 1
    assert report["limits"]["budget"]["budget"] == pytest.approx(sum(before) / 9)
    assert b"in all:" in picture.read_bytes()
    shown = report["examples"]
    assert len(shown) == 2 and shown[0]["slowdown"] >= shown[1]["slowdown"] > 1
    for row in shown:
        assert " / ".join(row["texts_after"]) in printed and f"row {row['row']}: " in printed
    assert "max_exit_layer 2" in printed and "time" not in report


def test_an_engine_is_audited_without_showing_texts(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [tiny_engine, TRAIN, *SMALL, "--threshold", "0.52", "--rows", "4"]
    first = audited(tmp_path, *arguments, "--seed", "3")
    assert first == audited(tmp_path, *arguments, "--seed", "3"), "a seed repeats the search"
    assert first["rows"] == 4 and "examples" not in first
    rows = Path(TRAIN).read_text().splitlines()[:4]
    words = {word.strip("()") for row in rows for word in row.split() if len(word.strip("()")) > 4}
    assert words and not words & set((json.dumps(first) + capsys.readouterr().out).split())
    texts = ["A warm , funny little film"]
    answers = load(tiny_engine, threads=1).predict(texts, threshold=0.52)
    assert first["layers"]["before"][0] == answers[0]["layers_run"]


def test_time_and_deadline(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = tmp_path / "texts.jsonl"
    data.write_text('{"text": "a good story"}\n{"text": "a dull film about bees"}\n')
    report = audited(
        tmp_path, tiny_engine, data, "--json-lines", *SMALL, "--kinds", "typos", "--time",
        "--deadline", "0.000001", "--threshold", "1",
    )  # fmt: skip
    free, held = report["time"].values()
    assert (free["mean_layers_after"], held["mean_layers_after"]) == (4, 1)
    printed = capsys.readouterr().out
    assert "deadline 0.00 ms" in printed and "accuracy" not in printed, "there are no labels"


def test_a_cap_of_the_policy_is_the_deepest_exit(tiny_archive: Path, tmp_path: Path) -> None:
    overrides = '{"model.policy": {"type": "confidence", "threshold": 1, "max_exit_layer": 2}}'
    report = audited(
        tmp_path, tiny_archive, TRAIN, *SMALL, "--kinds", "appended", "--overrides", overrides
    )
    assert set(report["layers"]["in all"]) == {3}
    assert report["slowdown"][0]["deepest_before"] == 1 and report["slowdown"][0]["queries"] == 1
    assert [held["max_exit_layer"] for held in report["limits"]["max_exit_layer"]] == [0]


def test_kinds_that_a_model_does_not_allow(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = tmp_path / "texts.jsonl"
    data.write_text('{"text": "xyzzy"}\n')
    report = audited(tmp_path, tiny_archive, data, "--json-lines", *SMALL)
    assert [one["kind"] for one in report["slowdown"]] == ["typos", "appended", "in all"]
    assert "without synonyms: no word of the data is a word piece" in capsys.readouterr().err
    error = refused(Audit(), capsys, tiny_archive, data, "--json-lines", "--kinds", "synonyms")
    assert "no word of the data is a word piece" in error


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--threshold", "2"], "threshold must be a number between 0 and 1"),
        (["--output", "{tmp}/audit.csv"], "must end in one of .json"),
        (["--plot", "{tmp}/audit.html"], "must end in one of .png, .svg, .pdf"),
        (["--deadline", "5"], "--deadline needs --time"),
        (["--json-lines", "--output", "{tmp}/audit.json"], "train.txt, line 1: not JSON"),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture,
    arguments: "list[str]", message: str,
) -> None:  # fmt: skip
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    assert message in refused(Audit(), capsys, tiny_archive, TRAIN, *filled)
    assert list(tmp_path.iterdir()) == []
