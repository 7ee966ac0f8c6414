"""`sledgehammer serve` as a user starts and ends it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.serving.servers import ENGINE, TEXT, Remote, httpx, run_server

from sledgehammer._serving import cli  # isort: skip
from tests.serving.servers import end  # isort: skip

WRONG = [
    ([], "the following arguments are required"),
    (["a", "--port", "70000"], "between 0 and 65535"),
    (["a", "--threshold", "2"], "threshold must be a number between 0 and 1"),
    (["a", "--setting", "patience"], "--setting takes NAME=NUMBER"),
    (["a", "--setting", "wrong=1"], "no policy has a setting 'wrong'"),
    (["x/a", "y/a"], "two models are called 'a'"),
    (["a b=x"], "can't be the name of a model"),
    (["a", "--tls-cert", "x"], "belong together"),
    (["a", "--max-queue", "0"], "must be at least 1"),
    (["a", "--timeout", "nan"], "must be above 0"),
]


@pytest.mark.parametrize("arguments, message", WRONG)
def test_wrong_command_lines(arguments: Any, message: str, capsys: Any) -> None:
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sledgehammer serve: error: ") and message in line


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["/nowhere"], "there is no /nowhere"),
        ([ENGINE, "--setting", "patience=3"], "has no setting 'patience'"),
        ([ENGINE, "--api-key-file", "/nowhere/keys"], "/nowhere/keys: No such file"),
        ([ENGINE, "--host", "256.0.0.1"], "256.0.0.1"),
    ],
)
def test_what_can_not_be_served(arguments: Any, message: str, capsys: Any) -> None:
    assert cli.main([*map(str, arguments), "--port", "0"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sledgehammer serve: error: ") and message in line


def test_a_port_that_is_taken(capsys: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main([str(ENGINE), "--port", str(taken.getsockname()[1])]) == 1
    assert "Address already in use" in capsys.readouterr().err


def test_it_starts_without_allennlp_and_torch(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'allennlp', 'transformers', 'sklearn', 'scipy', 'pandas'):\n"
        "    sys.modules[name] = None\n"
        "from sledgehammer._serving.app import Server\n"
        "from sledgehammer._serving.options import Options\n"
        "from pathlib import Path\n"
        f"server = Server(Options({{'tiny': Path({str(ENGINE)!r})}}))\n"
        "server.dispatcher.close()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=100)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_accepted_is_answered_before_it_ends(number: int) -> None:
    remote = run_server(f"tiny={ENGINE}")
    try:
        texts = [f"{TEXT} {n} " * 60 for n in range(100)]
        answers = []

        def ask() -> None:
            response = httpx.post(
                f"{remote.url}/v1/classify", json={"input": texts, "threshold": 1}, timeout=60
            )
            answers.append(response)

        asking = threading.Thread(target=ask)
        asking.start()
        while (
            'sledgehammer_unanswered_texts{model=""} 0.0' in httpx.get(f"{remote.url}/metrics").text
        ):
            time.sleep(0.002)
        os.kill(remote.process.pid, number)
        asking.join(60)
        assert answers[0].status_code == 200
        assert all("label" in datum for datum in answers[0].json()["data"])
        assert remote.process.wait(20) == 0
        assert remote.process.stderr is not None and "Traceback" not in remote.process.stderr.read()
    finally:
        end(remote.process)


def test_an_archive_is_exported_first(tiny_archive: Path, serve: Callable[..., Remote]) -> None:
    pytest.importorskip("onnx")
    remote = serve(f"mine={tiny_archive}")
    answer = httpx.post(f"{remote.url}/v1/classify", json={"input": TEXT}, timeout=30).json()
    assert answer["model"] == "mine" and "label" in answer["data"][0]
