"""`sledgehammer predict` with an exported model."""

import gzip
import io
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from sledgehammer import engine
from sledgehammer.engine import cli
from sledgehammer.engine.answering import LineReader
from sledgehammer.engine.lines import LineFormat
from sledgehammer.engine.manifest import write
from sledgehammer.engine.runtimes import usable_cores
from sledgehammer.policies import CHOICE, Choice, ConfidencePolicy
from tests.conftest import ROOT
from tests.model.test_predictor import BAD_LINES

GOOD = {"text": "a good story about bees"}


def write_lines(path: Path, *lines: Any) -> str:
    path.write_bytes(
        b"".join((x if isinstance(x, bytes) else json.dumps(x).encode()) + b"\n" for x in lines)
    )
    return str(path)


def answered(text: str) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def process(*arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    """`sledgehammer ARGUMENTS` in a process of its own, whose pipes are open."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "sledgehammer", *arguments],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        **options,
    )  # fmt: skip


def test_a_line_for_a_line(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        GOOD, b"", b"{", b'{"text": "\xff"}', {"sentence": "boring", "threshold": 0.0},
        {**GOOD, "threshold": None},
    ]  # fmt: skip
    source = write_lines(tmp_path / "in.jsonl", *lines)
    assert cli.main([str(tiny_engine), source, "--threshold", "1.0", "--batch-size", "2"]) == 3
    shown = capsys.readouterr()
    answers = answered(shown.out)
    assert [answer.get("line") for answer in answers] == [None, 2, 3, 4, None, None]
    assert [answers[i]["exit_layer"] for i in (0, 4, 5)] == [3, 0, 3]
    assert answers[0] == engine.load(tiny_engine).predict([GOOD["text"]], 1.0)[0]
    assert shown.err == "3 bad lines were answered with an error: lines 2, 3, 4\n"


def test_settings_of_the_policy_for_all_lines_and_for_one(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [GOOD, {**GOOD, "max_exit_layer": 0}, {**GOOD, "patience": 1}]
    source = write_lines(tmp_path / "in.jsonl", *lines)
    options = ["--predictor-args", '{"threshold": 1.0, "max_exit_layer": 2}']
    assert cli.main([str(tiny_engine), source, *options]) == 3
    answers = answered(capsys.readouterr().out)
    assert [answer["exit_layer"] for answer in answers[:2]] == [2, 0]
    assert answers[2] == {
        "error": "the policy 'confidence' has no setting 'patience'; it has threshold, "
        "max_exit_layer",
        "line": 3,
    }
    assert cli.main([str(tiny_engine), source, "--predictor-args", '{"patience": 1}']) == 1
    assert "has no setting 'patience'" in capsys.readouterr().err


def test_bad_lines_have_the_predictors_errors(tiny_engine: Path, tmp_path: Path) -> None:
    lines = [line.encode("utf-8", "surrogateescape") for line in BAD_LINES]
    source = write_lines(tmp_path / "in.jsonl", *lines)
    output = tmp_path / "out.jsonl"
    assert cli.main([str(tiny_engine), source, "--silent", "--output-file", str(output)]) == 1, (
        "not a line could be answered"
    )
    for answer, message in zip(answered(output.read_text()), BAD_LINES.values()):
        assert message in answer["error"]


def test_the_output_file_appears_when_it_is_whole(
    tiny_engine: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write_lines(tmp_path / "in.jsonl", GOOD, GOOD)
    output = tmp_path / "out.jsonl"
    options = ["--output-file", str(output), "--predictor-args", '{"threshold": 0.0}']
    assert cli.main([str(tiny_engine), source, *options]) == 0
    assert output.read_text() == capsys.readouterr().out
    assert {answer["exit_layer"] for answer in answered(output.read_text())} == {0}
    output.write_text("old")

    def fail(*_: Any) -> Any:
        raise OSError("unplugged")

    monkeypatch.setattr(engine.Engine, "advance", fail)
    assert cli.main([str(tiny_engine), source, *options, "--silent"]) == 1
    assert capsys.readouterr().err == "sledgehammer predict: error: unplugged\n"
    assert output.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_fields_that_answers_carry_over(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {**GOOD, "id": 7, "stars": [5], "label": "positive"}, {"id": "b", "text": 3},
        {**GOOD, "id": None}, {**GOOD, "patience": 2}, b'{"text": "a", "id": NaN}',
    ]  # fmt: skip
    source = write_lines(tmp_path / "in.jsonl", *lines)
    options = ["--keep", "stars", "--keep", "text", "--keep", "patience"]
    assert cli.main([str(tiny_engine), source, *options]) == 3
    first, second, third, fourth, fifth = answered(capsys.readouterr().out)
    assert (first["id"], first["stars"], first["text"]) == (7, [5], GOOD["text"])
    assert first["label"] in ("negative", "positive") and "exit_layer" in first
    assert second == {
        "id": "b", "text": 3, "error": "field 'text' must be a string, got 3", "line": 2
    }  # fmt: skip
    assert third["id"] is None and third["text"] == GOOD["text"]
    assert fourth["patience"] == 2, "another policy's setting is data like any other if kept"
    assert "a number that JSON does not have" in fifth["error"]
    assert cli.main([str(tiny_engine), source, "--keep", "label"]) == 1
    assert "cannot keep 'label'" in capsys.readouterr().err


def test_lines_of_plain_text_after_a_byte_order_mark(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.txt"
    source.write_bytes(b"\xef\xbb\xbfI loved it\r\n\n{\n\xff\n")
    assert cli.main([str(tiny_engine), str(source), "--text-lines", "--keep", "text"]) == 3
    answers = answered(capsys.readouterr().out)
    assert [answer.get("error") for answer in answers] == [
        None, "blank line", None, "not UTF-8 text"
    ]  # fmt: skip
    assert answers[0]["text"] == "I loved it" and answers[2]["text"] == "{"
    source.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert cli.main([str(tiny_engine), str(source)]) == 0
    assert "label" in answered(capsys.readouterr().out)[0]


def test_long_texts_are_counted_once(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {"text": "bee " * 600}
    source = write_lines(tmp_path / "in.jsonl", GOOD, long, b"{", long)
    assert cli.main([str(tiny_engine), source, "--threshold", "0"]) == 3
    shown = capsys.readouterr()
    answers = answered(shown.out)
    assert [answer.get("truncated") for answer in answers] == [None, True, None, True]
    assert shown.err.splitlines() == [
        "2 texts were longer than 512 word pieces and answered without the rest: lines 2, 4",
        "1 bad line was answered with an error: line 3",
    ]


def test_a_deep_or_a_huge_line_stops_no_stream(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = [b'{"text": %s1%s}' % (b"[" * n, b"]" * n) for n in (70, 985, 3000)]
    huge = {"text": "a " * 2_500_000}
    source = write_lines(tmp_path / "in.jsonl", GOOD, *deep, huge, GOOD)
    begun = time.monotonic()
    assert cli.main([str(tiny_engine), source, "--threshold", "0"]) == 3
    assert time.monotonic() - begun < 20, "5 MB take a minute"
    answers = answered(capsys.readouterr().out)
    assert ["nested deeper" in answer.get("error", "") for answer in answers[1:4]] == [True] * 3
    assert answers[4]["truncated"] and answers[0]["probs"] == answers[5]["probs"]


def test_a_century_is_no_longer_than_forever(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_lines(tmp_path / "in.jsonl", GOOD)
    for seconds in ("1e10", "inf"):
        assert cli.main([str(tiny_engine), source, "--max-wait", seconds]) == 0
        assert "label" in answered(capsys.readouterr().out)[0]


def test_compressed_input(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.jsonl.gz"
    source.write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert cli.main([str(tiny_engine), str(source)]) == 0
    assert "label" in answered(capsys.readouterr().out)[0]
    source.write_bytes(source.read_bytes()[:-9])
    assert cli.main([str(tiny_engine), str(source)]) == 1
    assert "error: Compressed file ended" in capsys.readouterr().err


def test_pools_and_threads_change_no_answer(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_lines(tmp_path / "in.jsonl", *({"text": "bee " * i} for i in range(20)))
    outputs = []
    for options in (
        ["--pool"],
        ["--no-pool"],
        ["--threads", str(usable_cores())],
        ["--max-wait", "5"],
    ):
        arguments = [str(tiny_engine), source, "--threshold", "1", "--batch-size", "4", *options]
        assert cli.main(arguments) == 0
        outputs.append([answer["probs"] for answer in answered(capsys.readouterr().out)])
    for probs in outputs[1:]:
        assert all(own == pytest.approx(wanted, abs=1e-5) for own, wanted in zip(probs, outputs[0]))


USAGE_ERRORS = {
    "the following arguments are required: INPUT": [],
    "unrecognized arguments: --thresold": ["in", "--thresold", "1"],
    "argument --batch-size: must be at least 1, got 0": ["in", "--batch-size", "0"],
    "argument --threads: invalid": ["in", "--threads", "all"],
    "argument --max-wait: must be at least 0, got -1": ["in", "--max-wait=-1"],
    "threshold must be a number between 0 and 1, got 2.0": ["in", "--threshold", "2"],
    "threshold must be a number between 0 and 1, got '0.5'": [
        "in", "--predictor-args", '{"threshold": "0.5"}',
    ],
    "--predictor-args is not JSON": ["in", "--predictor-args", "{"],
    "--predictor-args takes": ["in", "--predictor-args", '{"frozen": false}'],
    "both give a threshold": ["in", "--threshold=1", "--predictor-args", '{"threshold": 1}'],
    "--silent needs --output-file": ["in", "--silent"],
}  # fmt: skip


@pytest.mark.parametrize("message", USAGE_ERRORS)
def test_usage_errors_are_one_line(message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["directory", *USAGE_ERRORS[message]]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sledgehammer predict: error: ") and message in error
    assert error.count("\n") == 1


def test_errors_are_one_line(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_lines(tmp_path / "in.jsonl", GOOD)
    damaged = Path(shutil.copytree(tiny_engine, tmp_path / "damaged"))
    (damaged / "config.json").write_text("{}")
    cases = {
        "is damaged: config.json has changed since it was written": [str(damaged), source],
        "missing: No such file": [str(tiny_engine), str(tmp_path / "missing")],
        "Is a directory": [str(tiny_engine), str(tmp_path)],
        "no folder": [str(tiny_engine), source, "--output-file", str(tmp_path / "no/out")],
        "it is a folder": [str(tiny_engine), source, "--output-file", str(tmp_path)],
    }
    for message, arguments in cases.items():
        assert cli.main(arguments) == 1
        shown = capsys.readouterr()
        assert message in shown.err and shown.err.count("\n") == 1 and not shown.out


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.takes(["predict", "--help"])
    with pytest.raises(SystemExit) as exit:
        cli.main(["--help"])
    assert exit.value.code == 0
    assert "sledgehammer predict out/sst_int8 reviews.jsonl" in capsys.readouterr().out


def test_what_archives_take_of_the_same_options() -> None:
    assert cli.for_archives(["a.tar.gz", "in", "--batch-size", "3"]) == [
        "a.tar.gz", "in", "--batch-size", "3"
    ]  # fmt: skip
    *rest, option, given = cli.for_archives(
        ["a.tar.gz", "in", "--threshold", "0.6", "--keep", "stars", "--text-lines",
         "--predictor-args", '{"dtype": "bfloat16", "keep": ["id"]}']
    )  # fmt: skip
    assert (rest, option) == (["a.tar.gz", "in"], "--predictor-args")
    assert json.loads(given) == {
        "dtype": "bfloat16", "threshold": 0.6, "keep": ["id", "stars"], "text_lines": True
    }  # fmt: skip


@pytest.mark.parametrize(
    "options", [["--threshold", "2"], ["--threads", "2"], ["--no-pool"], ["--max-wait", "1"]]
)
def test_what_archives_do_not_take(options: List[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.for_archives(["a.tar.gz", "in", *options])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("sledgehammer predict: error: ") and error.count("\n") == 1


def test_what_is_left_to_allennlp(tiny_engine: Path, tiny_archive: Path) -> None:
    directory = str(tiny_engine)
    assert cli.takes(["predict", directory, "-"])
    assert cli.takes(["predict", "--threshold", "0.5", directory, "in"])
    assert cli.takes(["predict", directory, "in", "--predictor-args", json.dumps({"x": "y" * 999})])
    assert cli.takes(["predict", directory]), "a usage error"
    assert not cli.takes([])
    assert not cli.takes(["evaluate", directory, "in"])
    assert not cli.takes(["predict", str(tiny_archive), "in"])
    assert not cli.takes(["predict", str(tiny_archive), "in", "--output-file", directory])
    assert not cli.takes(["predict", str(tiny_archive), "in", "--batch-size", "many"])
    assert not cli.takes(["predict", directory, "https://example.org/in.jsonl"])
    for only in (["--use-dataset-reader"], ["-o", "{}"], ["-o{}"], ["--overrides={}"],
                 ["--cuda-device", "-1"], ["--include-package", "x"], ["--predictor", "x"]):  # fmt: skip
        assert not cli.takes(["predict", directory, "in", *only])
        assert not cli.takes(["predict", *only, directory, "in"])


def test_neither_allennlp_nor_torch_is_loaded(tiny_engine: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", GOOD, b"{")
    code = (
        "import sys; from sledgehammer.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as exit: assert exit.code == 3\n"
        "sys.exit(str({'torch', 'allennlp', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", str(tiny_engine), source],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "set()"
    assert len(answered(done.stdout)) == 2


def test_a_slow_input_is_answered_line_by_line(tiny_engine: Path) -> None:
    running = process("predict", str(tiny_engine), "-", "--threshold", "0")
    assert running.stdin and running.stdout
    with running:
        for line in (json.dumps(GOOD), "{", json.dumps(GOOD)):
            running.stdin.write(line.encode() + b"\n")
            running.stdin.flush()
            answer = json.loads(running.stdout.readline())  # while the input is still open
            assert ("error" in answer) == (line == "{")
        running.stdin.close()
        assert running.stdout.read() == b""
        assert running.stderr and b"line 2" in running.stderr.read()
    assert running.returncode == 3


def test_nobody_reads_on(tiny_engine: Path, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", *[GOOD] * 2000)
    running = process("predict", str(tiny_engine), source, "--threshold", "0", "--batch-size", "8")
    assert running.stdout and running.stderr
    with running:
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 1


def test_entries_keep_the_texts_of_pairs_together() -> None:
    pair = {"premise": "a boy", "hypothesis": "geese", "threshold": 1}
    lines = io.StringIO(json.dumps(pair) + '\n{"premise": "a boy", "id": 3}\n')
    reader = LineReader(LineFormat(["premise", "hypothesis"]), ConfidencePolicy())
    item, known = reader.entries(lines)
    assert item.text == ["a boy", "geese"]  # type: ignore[union-attr]
    settings = item.all_settings  # type: ignore[union-attr]
    assert (settings["threshold"], settings["max_exit_layer"]) == (1.0, math.inf)
    assert known.answer == {"error": "missing field 'hypothesis'", "line": 2}  # type: ignore[union-attr]
    assert reader.complete({}) == {} and reader.complete(known.answer)["id"] == 3  # type: ignore[union-attr]
    assert (reader.tally.bad_lines, reader.tally.exit_code) == ([2], 3)


def test_a_choice_that_no_longer_stands_is_told(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For the engine as it was chosen nothing is said."""
    directory = tmp_path / "chosen"
    shutil.copytree(tiny_engine, directory)
    manifest = engine.load(tiny_engine).manifest
    choice = Choice(manifest.conditions(), {"min_speedup": 2.0}, 9, "dev.txt")
    (directory / CHOICE).write_text(json.dumps(choice.as_dict()))
    write(directory, manifest)
    source = write_lines(tmp_path / "in.jsonl", GOOD)
    assert cli.main([str(directory), source]) == 0
    assert capsys.readouterr().err == ""
    assert cli.main([str(directory), source, "--threshold", "0.123"]) == 0
    assert "with another policy or setting: the choice no longer" in capsys.readouterr().err
    (directory / CHOICE).write_text("[1")
    write(directory, manifest)
    assert cli.main([str(directory), source]) == 1
    assert "chosen.json is damaged" in capsys.readouterr().err
