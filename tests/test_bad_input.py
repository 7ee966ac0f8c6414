"""A corpus of bad input: every command tells it in one line, and leaves nothing behind."""

import io
import json
from pathlib import Path
from typing import Any, Dict, List

import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.commands.audit import Audit
from sledgehammer.commands.benchmark import BenchmarkCommand
from sledgehammer.commands.calibrate import Calibrate
from sledgehammer.commands.difficulty import Difficulty
from sledgehammer.commands.export import ExportCommand
from sledgehammer.commands.lexical import Lexical
from sledgehammer.commands.prune import Prune
from sledgehammer.commands.tradeoff import TradeoffCommand
from sledgehammer.dataset_readers import CsvReader
from sledgehammer.engine import EngineError, cli, load
from sledgehammer.engine.answering import LineReader
from sledgehammer.engine.lines import LineFormat
from sledgehammer.model.archives import open_archive
from sledgehammer.model.predictor import SledgehammerPredictor
from sledgehammer.policies import ConfidencePolicy
from tests.cli import refused
from tests.conftest import FIXTURES, TINY_BERT

DEV = str(FIXTURES / "sst/dev.txt")
GOOD = b'{"text": "fun", "label": "positive"}'
DEEP = {n: b"[" * n + b"]" * n for n in (65, 500, 985, 1100, 50_000)}

BAD_LINES: Dict[str, bytes] = {
    "empty": b"", "spaces": b"  \t ", "no JSON": b"fun", "open brace": b"{", "open string": b'{"te',
    "two objects": GOOD * 2, "trailing comma": b'{"text": "a",}', "single quotes": b"{'text': 'a'}",
    "list": b'["text"]', "number": b"3", "huge number": b"1" * 5000, "string": b'"text"',
    "null": b"null", "NaN": b"NaN", "NUL byte": b"\x00", "latin-1": b'{"text": "caf\xe9"}',
    "UTF-16": '{"text": "a"}'.encode("utf-16"), "cut UTF-8": b'{"text": "\xe2\x82"}',
    "lone surrogate": b'{"text": "\\udc00"}', "raw tab": b'{"text": "a\tb"}',
    "no text": b"{}", "other text": b'{"Text": "a"}', "text is null": b'{"text": null}',
    "text is true": b'{"text": true}', "text is a list": b'{"text": ["a"]}',
    "text is an object": b'{"text": {"text": "a"}}', "text is a number": b'{"text": 1e999}',
    **{f"depth {n}": value for n, value in DEEP.items()},
    **{f"text of depth {n}": b'{"text": %s}' % value for n, value in DEEP.items()},
    **{f"other field of depth {n}": b'{"text": "a", "b": %s}' % v for n, v in DEEP.items()},
}  # fmt: skip
"""Lines that neither data nor requests may have."""

BAD_REQUESTS: Dict[str, bytes] = {
    name: b'{"text": "a", %s}' % fields
    for name, fields in {
        "threshold above 1": b'"threshold": 1.01', "threshold below 0": b'"threshold": -1e-9',
        "threshold NaN": b'"threshold": NaN', "threshold infinite": b'"threshold": -Infinity',
        "threshold a string": b'"threshold": "0.5"', "threshold true": b'"threshold": true',
        "threshold a list": b'"threshold": [0.5]', "threshold huge": b'"threshold": 1' + b"0" * 400,
        "threshold long": b'"threshold": "%s"' % (b"9" * 100_000),
        "misspelt": b'"treshold": 0.5', "upper case": b'"THRESHOLD": 0.5',
        "another policy's": b'"patience": 2', "layer half": b'"max_exit_layer": 1.5',
        "layer negative": b'"max_exit_layer": -1', "unknown": b'"stars": 5',
        "unknown null": b'"stars": null', "unknown empty": b'"": 0', "two names": b'"sentence": "b"',
        "id NaN": b'"id": NaN', "id within infinite": b'"id": {"a": [Infinity]}',
        "unknown long": b'"%s": 1' % (b"x" * 100_000), "unknown surrogate": b'"\\ud800": 1',
    }.items()
}  # fmt: skip
"""Lines that may be data, but not requests."""


@pytest.fixture(scope="module")
def predictor(tiny_archive: Path) -> SledgehammerPredictor:
    return SledgehammerPredictor(*open_archive(str(tiny_archive)))


@pytest.mark.parametrize("name", [*BAD_LINES, *BAD_REQUESTS])
def test_requests(name: str, predictor: SledgehammerPredictor) -> None:
    """An engine and an archive give a bad line the same short error, and go on."""
    lines = [GOOD, {**BAD_LINES, **BAD_REQUESTS}[name], GOOD]
    text = [line.decode("utf-8", "surrogateescape") for line in lines]
    answers = predictor.predict_batch_json([predictor.load_line(line) for line in text])
    reader = LineReader(LineFormat(["text"]), _policy())
    known = list(reader.entries(text))
    assert reader.tally.bad_lines == [2]
    assert answers[1]["error"] == known[1].answer["error"]  # type: ignore[union-attr]
    assert 0 < len(answers[1]["error"]) < 300 and "\n" not in answers[1]["error"]
    assert "label" in answers[0] and answers[0]["label"] == answers[2]["label"]
    json.dumps(answers, allow_nan=False).encode("ascii")


def _policy() -> Any:
    from sledgehammer.policies import Exits

    policy = ConfidencePolicy()
    policy.bind(Exits([0, 2, 3]))
    return policy


@pytest.mark.parametrize("name", [n for n in BAD_LINES if n not in ("empty", "spaces")])
def test_data(name: str, tiny_archive: Path, tmp_path: Path) -> None:
    """What is wrong with a row of data is told with file and line."""
    from sledgehammer.dataset_readers.json_lines import read_rows

    file = tmp_path / "in.jsonl"
    file.write_bytes(GOOD + b"\n" + BAD_LINES[name].replace(b"\n", b" ") + b"\n")
    reader = _reader(str(tiny_archive))
    with pytest.raises(ConfigurationError) as caught:
        read_rows(reader, str(file), json_lines=True)
    assert f"{file}, line 2: " in caught.value.message and len(caught.value.message) < 500


BAD_TABLES: Dict[str, bytes] = {
    "no header": b"fun,positive\n", "other columns": b"a,b\nfun,positive\n",
    "label twice": b"text,label,label\na,b,c\n", "a field too few": b"text,label,x\na,b\n",
    "a field too many": b"text,label\na,b,c\n", "open quote": b'text,label\n"a,b\n' + b"c,d\n" * 99,
    "text behind a quote": b'text,label\n"a"b,c\n', "NUL byte": b"text,label\na\0,b\n",
    "latin-1": b"text,label\ncaf\xe9,b\n", "UTF-16": "text,label\na,b\n".encode("utf-16"),
    "UTF-16 without a mark": "text,label\na,b\n".encode("utf-16-le"), "old Mac": b"text,label\ra,b\r",
    "cut UTF-8": b"text,label\na,\xe2\x82\n", "no label": b"text,label\na,\n",
    "spaces for a label": b"text,label\na, \t\n", "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "a million commas": b"text,label\n" + b"," * 1_000_000 + b"\n",
    "a million columns": b"c," * 500_000 + b"text\na\n",
    "separators of records": "text,label\na\u2028b,\n".encode(),
}  # fmt: skip
"""Tables that are refused, with a reason in one line."""


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
@pytest.mark.parametrize("name", BAD_TABLES)
def test_tables(name: str, ending: str, tmp_path: Path) -> None:
    """What is wrong with a table is told with the file and, but for its columns, the line."""
    from sledgehammer.dataset_readers.json_lines import read_rows

    file = tmp_path / f"in{ending}"
    content = BAD_TABLES[name]
    file.write_bytes(content.replace(b",", b"\t") if ending == ".tsv" else content)
    with pytest.raises(ConfigurationError) as caught:
        read_rows(_table_reader(), str(file))
    message = caught.value.message
    assert str(file) in message and len(message) < 900 and "\n" not in message
    assert f"{file}, line " in message or "no rows in" in message


@pytest.mark.parametrize("name", [n for n in BAD_LINES if n not in ("empty", "spaces")])
def test_tables_of_json_lines(name: str, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(GOOD + b"\n" + BAD_LINES[name].replace(b"\n", b" ") + b"\n")
    from sledgehammer.dataset_readers.json_lines import read_rows

    with pytest.raises(ConfigurationError) as caught:
        read_rows(_table_reader(), str(file))
    assert f"{file}, line 2: " in caught.value.message and len(caught.value.message) < 500


def _table_reader() -> Any:
    if "table" not in _READERS:
        _READERS["table"] = CsvReader(model_name=TINY_BERT)
    return _READERS["table"]


_READERS: Dict[str, Any] = {}


def _reader(archive: str) -> Any:
    if archive not in _READERS:
        _READERS[archive] = open_archive(archive).reader
    return _READERS[archive]


BAD_ARGUMENTS: Dict[str, List[str]] = {
    "no such archive": ["{tmp}/none.tar.gz", DEV],
    "an archive that is a text": [DEV, DEV],
    "an empty archive": ["{tmp}/empty", DEV],
    "a folder that is none": ["{tmp}", DEV],
    "no such data": ["{archive}", "{tmp}/none.txt"],
    "data that are a folder": ["{archive}", "{tmp}"],
    "empty data": ["{archive}", "{tmp}/empty"],
    "data that are an archive": ["{archive}", "{archive}"],
    "deep data": ["{archive}", "{tmp}/deep", "--json-lines"],
    "deep table": ["{archive}", "{tmp}/deep", "--data-format", "jsonl"],
    "no table": ["{archive}", DEV, "--data-format", "csv"],
    "no GPU": ["{archive}", DEV, "--cuda-device", "77"],
}

COMMANDS: Dict[str, Any] = {
    "tradeoff": (TradeoffCommand, []),
    "difficulty": (Difficulty, []),
    "audit": (Audit, []),
    "calibrate": (Calibrate, ["-o", "{tmp}/new"]),
    "prune": (Prune, ["-o", "{tmp}/new", "--heads", "0.5"]),
    "export": (ExportCommand, []),
    "benchmark": (BenchmarkCommand, ["--thresholds", "0.5"]),
    "lexical": (Lexical, ["-o", "{tmp}/new", "--validation", DEV]),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_commands(
    command: str, name: str, tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "deep").write_bytes(b'{"text": %s}' % DEEP[985])
    before = sorted(tmp_path.iterdir())
    kind, options = COMMANDS[command]
    archive, data, *more = BAD_ARGUMENTS[name]
    if command == "export":  # its second argument is what it writes
        pytest.importorskip("onnx")
        options, data = ["--recalibrate", data], "{tmp}/new"
    arguments = [
        a.format(tmp=tmp_path, archive=tiny_archive) for a in (archive, data, *options, *more)
    ]
    assert "error: " in refused(kind(), capsys, *arguments)
    assert sorted(tmp_path.iterdir()) == before


BAD_COMMAND_LINES: List[List[str]] = [
    [], ["{engine}"], ["{engine}", "{tmp}/none"], ["{engine}", "{tmp}"], ["{tmp}", DEV],
    ["{engine}", DEV, "--threshold"], ["{engine}", DEV, "--threshold", "nan"],
    ["{engine}", DEV, "--threshold", "x"], ["{engine}", DEV, "--batch-size", "-1"],
    ["{engine}", DEV, "--threads", "0"], ["{engine}", DEV, "--max-wait", "nan"],
    ["{engine}", DEV, "--max-wait", "soon"], ["{engine}", DEV, "--predictor-args", "[]"],
    ["{engine}", DEV, "--predictor-args", "[" * 100_000], ["{engine}", DEV, "--keep", "probs"],
    ["{engine}", DEV, "--predictor-args", '{{"threshold": [[]]}}'], ["{engine}", DEV, "--silent"],
    ["{engine}", DEV, "--output-file", "{tmp}"], ["{engine}", DEV, "--output-file", "{tmp}/no/x"],
    ["{engine}", "{tmp}/not.gz"], ["{engine}", "a\0b"], ["{engine}", "x" * 5000],
]  # fmt: skip


@pytest.mark.parametrize(
    "arguments", BAD_COMMAND_LINES, ids=lambda a: " ".join(a[1:])[:40] or "none"
)
def test_predict_with_an_exported_model(
    arguments: List[str], tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "not.gz").write_bytes(b"\x1f\x8b no gzip")
    filled = [a.format(tmp=tmp_path, engine=tiny_engine) for a in arguments]
    assert cli.main(filled) in (1, 2)
    shown = capsys.readouterr()
    assert shown.err.startswith("sledgehammer predict: error: ") and shown.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["not.gz"]


@pytest.mark.parametrize(
    "text",
    [None, 3, b"a", "\ud800", ("a", "b"), {"text": "a"}, [], object(), io.StringIO("a")],
)
def test_texts_of_programs(text: Any, tiny_engine: Path) -> None:
    engine = load(tiny_engine)
    with pytest.raises(EngineError, match="text 1 "):
        engine.predict(["good", text])
    with pytest.raises(EngineError, match="text 1 "):
        list(engine.stream(["good", text]))
