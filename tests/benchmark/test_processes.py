"""What becomes of a contender's process: it is heard, and its death is told."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.benchmark.contenders import Contender
from sledgehammer.benchmark.processes import Worker, workers
from sledgehammer.support import child

ANSWER = """
import os, sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
connection.recv()
connection.send({"ready": True})
connection.recv()
"""
NOBODY = Contender("mine", "engine", "nowhere")


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have workers run some code in the place of the module `worker`."""
    popen = subprocess.Popen

    def run(code: str) -> None:
        def start(command: List[str], **options: Any) -> Any:
            return popen([sys.executable, "-c", ANSWER + code, command[-1]], **options)

        monkeypatch.setattr(child.subprocess, "Popen", start)

    return run


def test_what_a_dying_process_wrote_is_shown(
    instead: Any, capsys: "pytest.CaptureFixture[str]"
) -> None:
    instead("print('the kernel is not happy', file=sys.stderr, flush=True); os._exit(3)")
    with workers([NOBODY], 1) as started:
        message = "mine: its process ended with exit status 3; its last output is above"
        with pytest.raises(ConfigurationError, match=message):
            started["mine"].ask(do="round", batch_size=1)
    assert capsys.readouterr().err == "mine: the kernel is not happy\n"


def test_a_killed_process_is_told_from_one_that_ended(instead: Any) -> None:
    instead("os.kill(os.getpid(), 9)")
    worker = Worker(NOBODY, 1)
    with pytest.raises(ConfigurationError, match="was killed by signal 9 and wrote nothing"):
        worker.ask(do="round", batch_size=1)
    worker.close()


def test_a_process_that_writes_a_lot_is_not_blocked(instead: Any) -> None:
    """A pipe that nobody reads takes 64 KiB."""
    instead("sys.stderr.write('x' * 1_000_000); sys.stderr.flush(); connection.send({'done': 1})")
    with workers([NOBODY], 1) as started:
        assert started["mine"].ask(do="round", batch_size=1) == {"done": 1}


def test_a_process_that_cannot_start_leaves_none_behind(tmp_path: Path) -> None:
    before = _children()
    with pytest.raises(ConfigurationError, match="mine: EngineError: .*is not an exported model"):
        Worker(Contender("mine", "engine", str(tmp_path)), 1)
    assert _children() == before


def test_engines_are_timed_without_torch(tiny_engine: Path, instead: Any) -> None:
    """A fresh process imports no main module of ours, which would bring torch and AllenNLP."""
    code = (
        "from sledgehammer.benchmark.contenders import Contender, open_contender\n"
        f"open_contender(Contender('mine', 'engine', {str(tiny_engine)!r}), 1)\n"
        "connection.send({'torch': 'torch' in sys.modules})"
    )
    instead(code)
    with workers([NOBODY], 1) as started:
        assert started["mine"].ask(do="round", batch_size=1) == {"torch": False}


def _children() -> List[str]:
    listed = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "pid,args"], capture_output=True, text=True
    ).stdout.splitlines()
    return [line for line in listed if "benchmark.worker" in line]
