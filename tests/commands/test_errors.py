"""Test that commands end in one line and leave nothing when the system refuses something."""

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from allennlp.commands.subcommand import Subcommand

from sledgehammer.commands.audit import Audit
from sledgehammer.commands.calibrate import Calibrate
from sledgehammer.commands.difficulty import Difficulty
from sledgehammer.commands.errors import one_line_errors
from sledgehammer.commands.export import ExportCommand
from sledgehammer.commands.prune import Prune
from sledgehammer.commands.tradeoff import TradeoffCommand
from sledgehammer.support import files
from tests.cli import refused
from tests.conftest import FIXTURES, ROOT

DEV, TRAIN = str(FIXTURES / "sst/dev.txt"), str(FIXTURES / "sst/train.txt")
WRITING: Dict[str, Callable[[str], List[Any]]] = {
    "calibrate": lambda out: [Calibrate(), DEV, "-o", f"{out}.tar.gz", "--few-rows"],
    "tradeoff": lambda out: [TradeoffCommand(), DEV, "--output", f"{out}.json"],
    "tradeoff --write": lambda out: [
        TradeoffCommand(), DEV, "--min-speedup", "1", "--write", f"{out}.tar.gz"
    ],
    "difficulty": lambda out: [Difficulty(), DEV, "--output", f"{out}.jsonl"],
    "audit": lambda out: [Audit(), DEV, "--queries", "1", "--output", f"{out}.json"],
    "prune": lambda out: [
        Prune(), TRAIN, "-o", f"{out}.tar.gz", "--width", "0.5", "--epochs", "0",
        "--validation", DEV,
    ],
    "export": lambda out: [ExportCommand(), out],
}  # fmt: skip


@pytest.mark.parametrize("name", WRITING)
def test_a_full_disk(
    tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:  # fmt: skip
    if name == "export":
        pytest.importorskip("onnxruntime")
    for kind in ("owned_file", "owned_folder"):
        monkeypatch.setattr(files, kind, full(getattr(files, kind)))
    command: Subcommand
    command, *arguments = WRITING[name](str(tmp_path / "out"))
    error = refused(command, capsys, tiny_archive, *arguments)
    assert "File too large" in error or "could not be written" in error
    assert list(tmp_path.iterdir()) == []


def full(make: Callable[..., Any]) -> Callable[..., Any]:
    """Let no file get longer than 200 bytes while one is being written."""

    @contextmanager
    def limited(*arguments: Any) -> Iterator[Path]:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        with make(*arguments) as path:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))
            try:
                yield path
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return limited


def test_our_bugs_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="a mistake"), one_line_errors("prog"):
        raise RuntimeError("a mistake")


def test_the_systems_reason_beneath_a_librarys_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), one_line_errors("prog"):
        try:
            raise OSError(28, "No space left on device", "out.th")
        except OSError as error:
            raise RuntimeError("a library's words") from error
    assert capsys.readouterr().err == "prog: error: out.th: No space left on device\n"


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stream_that_is_ended_keeps_its_answers(
    tiny_engine: Path, tmp_path: Path, number: int, code: int
) -> None:
    """Check that standard output has the answers so far and the file is untouched."""
    (tmp_path / "out.jsonl").write_text("old")
    process = subprocess.Popen(
        [sys.executable, "-m", "sledgehammer", "predict", str(tiny_engine), "-",
         "--output-file", str(tmp_path / "out.jsonl")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write('{"text": "good"}\n')
    process.stdin.flush()
    first = process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(number)
    assert process.wait(30) == code
    assert '"label"' in first and process.stderr is not None and process.stderr.read() == ""
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == "old"
