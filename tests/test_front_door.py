"""What users type: `import sledgehammer`, and the command of that name."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sledgehammer
from sledgehammer import __main__, __version__
from sledgehammer.commands.errors import message_of
from sledgehammer.commands.tradeoff import TradeoffCommand
from tests.cli import refused
from tests.conftest import ROOT


def test_names_are_loaded_when_first_used() -> None:
    code = (
        "import sys, sledgehammer\n"
        "assert 'numpy' not in sys.modules and 'load' in dir(sledgehammer)\n"
        "sledgehammer.engine.load, sledgehammer.load\n"
        "sys.exit(str({'torch', 'allennlp', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "set()\n"
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = sledgehammer.lod


def test_load_opens_archives_and_exported_models(tiny_archive: Path, tiny_engine: Path) -> None:
    texts = ["a good story", "dull"]
    answers = [sledgehammer.load(p).predict(texts, 0.5) for p in (tiny_archive, tiny_engine)]
    for ours, theirs in zip(*answers):
        assert ours.pop("probs") == pytest.approx(theirs.pop("probs"), abs=1e-3)
        assert ours.pop("confidence") == pytest.approx(theirs.pop("confidence"), abs=1e-3)
        assert ours == theirs
    assert list(sledgehammer.load(tiny_archive).stream(texts))[1]["label"]
    assert sledgehammer.open_archive(str(tiny_archive)).reader.fields == ["text"]
    with pytest.raises(sledgehammer.engine.EngineError, match="no archive at"):
        sledgehammer.load("nowhere")
    with pytest.raises(sledgehammer.engine.EngineError, match="threads is for exported models"):
        sledgehammer.load(tiny_archive, threads=2)


def test_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["sledgehammer", "--version"])
    __main__.main()
    assert capsys.readouterr().out.startswith(f"sledgehammer {__version__} (AllenNLP 2.")


def test_archives_take_a_threshold_and_commands_are_quiet(
    tiny_archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("I loved it\n")
    done = subprocess.run(
        [sys.executable, "-m", "sledgehammer", "predict", str(tiny_archive),
         str(tmp_path / "in.txt"), "--threshold", "0", "--text-lines", "--keep", "text",
         "--silent", "--output-file", str(tmp_path / "out.jsonl")],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads((tmp_path / "out.jsonl").read_text())
    assert (answer["exit_layer"], answer["text"]) == (0, "I loved it")


def test_errors_name_the_command_that_was_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/sledgehammer", "tradeoff"])
    with pytest.raises(AssertionError):
        refused(TradeoffCommand(), capsys, "nowhere", "missing.txt")  # it expects `allennlp`
    monkeypatch.setattr("sys.argv", ["/usr/bin/allennlp", "tradeoff"])
    assert "no archive at" in refused(TradeoffCommand(), capsys, "nowhere", "missing.txt")


@pytest.mark.parametrize(
    "error, message",
    [
        (FileNotFoundError(2, "No such file or directory", "x.txt"), "x.txt: No such file or directory"),
        (RuntimeError("STATIC ERROR: x:1:2:\n  unexpected"), "wrong --overrides: STATIC ERROR: x:1:2: unexpected"),
        (json.JSONDecodeError("Expecting value", "", 0), "not JSON: Expecting value"),
        (RuntimeError("shapes differ"), None),
        (KeyError("a bug"), None),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_line_and_bugs_in_a_traceback(error: Any, message: Any) -> None:
    line = message_of(error)
    assert (line is None) == (message is None)
    assert message is None or (message in line and "\n" not in line)


OPTIONAL = (
    "datasets", "httptools", "matplotlib", "msgspec", "nncf", "onnx", "onnxruntime", "openvino", "plotly",
    "prometheus_client", "pyarrow", "starlette", "uvicorn", "uvloop", "wordllama",
)  # fmt: skip


def test_all_modules_can_be_included_without_the_extras() -> None:
    """`--include-package sledgehammer` imports them all, whatever is installed."""
    script = (
        f"import sys\nsys.modules.update(dict.fromkeys({OPTIONAL}))\n"
        "from allennlp.common.util import import_module_and_submodules\n"
        "import_module_and_submodules('sledgehammer')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)
