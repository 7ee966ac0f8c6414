"""The server of `tests.forks` does not outlive the tests."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.conftest import ROOT

SERVE = """\
import sys
from pathlib import Path
from tests.forks import serve
serve(Path(sys.argv[1]))
print("started", flush=True)
sys.stdin.read()
"""


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert parent.stdout is not None and parent.stdout.readline() == b"started\n"
        parent.kill()
        # The server has the same standard output: it ends only once both have.
        parent.communicate(timeout=240)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
