"""`sledgehammer predict --workers`: what several processes answer, and how they end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, List

import pytest

from sledgehammer.engine import cli, workers
from sledgehammer.engine.answering import Job
from sledgehammer.engine.manifest import EngineError
from tests.conftest import ROOT
from tests.engine.test_cli import process, write_lines
from tests.model.test_predictor import BAD_LINES

WORDS = "a good story about bees and the boring people who keep them".split()


def many_lines(path: Path, rows: int = 150) -> str:
    """Lines of all lengths; some have settings of their own, some are bad, some are too long."""
    lines: List[Any] = []
    for row in range(rows):
        text = " ".join(WORDS[(row + i) % len(WORDS)] for i in range(1 + row * 7 % 11))
        line = {"text": text if row % 50 else "bees " * 5000, "id": row}
        lines.append({**line, "threshold": row % 5 / 4} if row % 3 else line)
    lines[40:40] = [line.encode("utf-8", "surrogateescape") for line in BAD_LINES]
    return write_lines(path, *lines)


def test_answers_are_those_of_one_process(
    tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = many_lines(tmp_path / "in.jsonl")
    options = ["--threshold", "0.6", "--batch-size", "4", "--threads", "1"]
    results = []
    for more in ([], ["--workers", "1"], ["--workers", "3"], ["--workers", "2", "--max-wait", "9"]):
        target = tmp_path / f"out{len(results)}"
        arguments = [str(tiny_engine), source, *options, *more, "--output-file", str(target)]
        code = cli.main(arguments)
        shown = capsys.readouterr()
        assert shown.out == target.read_text(encoding="utf-8")
        results.append((code, shown.out, shown.err))
    expected = results[0]
    assert expected[0] == 3 and '"truncated": true' in expected[1] and "bad lines" in expected[2]
    for code, out, err in results[1:]:
        assert (code, err) == (expected[0], expected[2])
        for line, other in zip(out.splitlines(), expected[1].splitlines(), strict=True):
            answer, one = json.loads(line), json.loads(other)
            # Other neighbours, other padding: float32 rounds differently.
            for name in ("probs", "confidence"):
                assert answer.pop(name, 0) == pytest.approx(one.pop(name, 0), abs=1e-5)
            assert answer == one


@pytest.mark.parametrize("option", [["--threshold", "2"], ["--keep", "probs"]])
def test_errors_are_those_of_one_process(
    tiny_engine: Path, tmp_path: Path, option: List[str], capsys: pytest.CaptureFixture[str]
) -> None:
    source = many_lines(tmp_path / "in.jsonl", 3)
    codes = [cli.main([str(tiny_engine), source, *option])]
    expected = capsys.readouterr()
    codes.append(cli.main([str(tiny_engine), source, *option, "--workers", "2"]))
    assert codes[0] == codes[1] != 0
    assert capsys.readouterr() == expected


def test_a_damaged_engine_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "engine.json").write_text("{")
    source = write_lines(tmp_path / "in.jsonl", {"text": "a"})
    assert cli.main([str(tmp_path), source, "--workers", "2"]) == 1
    error = capsys.readouterr().err
    assert "engine.json is damaged" in error and error.count("\n") == 1


def test_a_dead_worker_is_an_error_and_leaves_nothing(
    tiny_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The second worker is killed when it gets its second block."""
    answer = workers.Workers.answer
    started: List[workers.Workers] = []

    def kill_one(pool: workers.Workers, first: int, lines: List[str]) -> Any:
        if not started and first > 3 * len(lines):
            started.append(pool)
            os.kill(pool._children[1].pid, signal.SIGKILL)
        return answer(pool, first, lines)

    monkeypatch.setattr(workers.Workers, "answer", kill_one)
    source = many_lines(tmp_path / "in.jsonl")
    before = sorted(tmp_path.iterdir())
    arguments = ["--workers", "2", "--batch-size", "2", "--output-file", str(tmp_path / "out")]
    assert cli.main([str(tiny_engine), source, *arguments]) == 1
    shown = capsys.readouterr()
    assert shown.err == "sledgehammer predict: error: worker 2 of 2 was killed by signal 9\n"
    assert sorted(tmp_path.iterdir()) == before
    numbers = [json.loads(line).get("id") for line in shown.out.splitlines()]
    assert numbers[:16] == list(range(16)), "what was answered before is in order"
    assert all(child._process.poll() is not None for child in started[0]._children)


def test_a_slow_input_is_answered_line_by_line(tiny_engine: Path) -> None:
    running = process("predict", str(tiny_engine), "-", "--workers", "2", "--max-wait", "0.05")
    assert running.stdin and running.stdout
    for number in range(4):
        running.stdin.write(json.dumps({"text": "bees", "id": number}).encode() + b"\n")
        running.stdin.flush()
        assert json.loads(running.stdout.readline())["id"] == number
    running.communicate()
    assert running.returncode == 0


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_all_processes(tiny_engine: Path, number: Any, code: int) -> None:
    running = process("predict", str(tiny_engine), "-", "--workers", "2", "--max-wait", "0.05")
    assert running.stdin and running.stdout
    running.stdin.write(b'{"text": "bees"}\n')
    running.stdin.flush()
    running.stdout.readline()
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    if not children.exists():
        pytest.skip("this system does not tell which processes a process has started")
    started = children.read_text().split()
    assert len(started) == 2
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (code, b"")
    assert not any(Path("/proc", child).exists() for child in started)


def test_workers_end_when_the_parent_is_killed(tiny_engine: Path) -> None:
    running = process("predict", str(tiny_engine), "-", "--workers", "1", "--max-wait", "0.05")
    assert running.stdin and running.stdout
    running.stdin.write(b'{"text": "bees"}\n')
    running.stdin.flush()
    running.stdout.readline()
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    if not children.exists():
        pytest.skip("this system does not tell which processes a process has started")
    (child,) = children.read_text().split()
    running.kill()
    running.communicate()
    until = time.monotonic() + 60
    while _is_running(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _is_running(child)


def _is_running(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_needs_neither_allennlp_nor_torch() -> None:
    code = (
        "import sys, sledgehammer.engine.worker; "
        "assert not {'torch', 'allennlp', 'transformers'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_blocks_get_smaller_where_answers_may_not_wait(tiny_engine: Path) -> None:
    with workers.Workers(Job(str(tiny_engine), {}, threads=1), 1) as pool:
        slow = workers.Dispatcher(pool, workers.Direct([]), 32, max_wait=0.1)
        assert slow._block_size() == 32, "nothing is known yet"
        slow._answered, slow._busy = 4000, 1.0
        assert slow._block_size() == 100
        free = workers.Dispatcher(pool, workers.Direct([]), 32, max_wait=None)
        assert free._block_size() == workers.BLOCK * 32


def test_an_unknown_policy_setting_is_an_engine_error(tiny_engine: Path) -> None:
    with (
        pytest.raises(EngineError, match="has no setting 'patience'"),
        workers.Workers(Job(str(tiny_engine), {"patience": 3}), 2),
    ):
        pass
