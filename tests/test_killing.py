"""`kill -9` at random moments leaves nothing half-written, and the command can be run again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

MOMENTS = os.environ.get("SLEDGEHAMMER_KILLS", "2")
"""How many moments for each command."""


@pytest.mark.timeout(3600 if int(MOMENTS) > 5 else 600)
@pytest.mark.parametrize("command", ["train", "calibrate", "export", "prune", "tradeoff"])
def test_killed_commands(tmp_path: Path, command: str) -> None:
    if command == "export":
        pytest.importorskip("onnxruntime")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.killing", str(tmp_path), command, MOMENTS, "0"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
