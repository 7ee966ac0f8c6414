"""Servers in this process and in processes of their own, over the tiny engine of version 0.1.0.

Importing this skips the module where a library of the server is missing.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

import pytest

for needed in ("onnxruntime", "starlette", "uvicorn", "msgspec", "prometheus_client", "httpx"):
    pytest.importorskip(needed, reason=f"serving is tested where {needed} is installed")

import httpx  # noqa: E402

from sledgehammer._serving.app import Server  # noqa: E402
from tests.conftest import FIXTURES, ROOT  # noqa: E402

ENGINE = FIXTURES / "version_0.1.0" / "engine"
TEXT = "a good story about bees"
BASE = "http://127.0.0.1"


class Segments:
    """Run the segments of an engine, slower, and note what ran.

    # Parameters

    segments : `Any`
        Those of the engine.
    """

    def __init__(self, segments: Any) -> None:
        self._segments = segments
        self.seconds = 0.0
        self.ran: List[Any] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Any = None

    def run(self, position: int, inputs: Dict[str, Any]) -> Dict[str, Any]:
        self.ran.append((position, *inputs["attention_mask"].shape))
        self.gate.wait(30)
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return self._segments.run(position, inputs)


@dataclass
class Local:
    """A server in this process, without sockets."""

    server: Server
    segments: Segments

    def client(self, **options: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.server.app)
        return httpx.AsyncClient(transport=transport, base_url=BASE, timeout=30, **options)


@dataclass
class Remote:
    """`sledgehammer serve` in a process of its own."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])


def run_server(*arguments: object) -> Remote:
    """Start `sledgehammer serve` on a free port, and wait until it listens."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "sledgehammer", "serve", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--port", "0", "--threads", "1"],
        env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r" on (https?://\S+)", line):
            return Remote(process, found[1])
    process.wait()
    raise AssertionError("".join(lines))


def end(process: "subprocess.Popen[str]") -> None:
    """End a server."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stderr is not None
    process.stderr.close()


def copied(target: Path) -> Path:
    """Return a copy of the tiny engine."""
    return Path(shutil.copytree(ENGINE, target))
