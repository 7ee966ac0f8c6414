"""Running the command line as a user does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Optional

from tests.conftest import ROOT


def allennlp(
    *arguments: str, cwd: Path = ROOT, stdin: Optional[bytes] = None
) -> "subprocess.CompletedProcess[str]":
    """Run `allennlp ARGUMENTS --include-package sledgehammer` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "allennlp", *arguments, "--include-package", "sledgehammer"]
    done = subprocess.run(command, cwd=cwd, env=environment, input=stdin, capture_output=True)
    return subprocess.CompletedProcess(
        command, done.returncode, done.stdout.decode(), done.stderr.decode()
    )
