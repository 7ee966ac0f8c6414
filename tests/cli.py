"""Running the command line as a user does."""

import argparse
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest
from allennlp.commands.subcommand import Subcommand

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


def refused(command: Subcommand, capsys: "pytest.CaptureFixture[str]", *arguments: object) -> str:
    """The error that one of our subcommands ends with, which is told in a line."""
    with pytest.raises(SystemExit) as caught:
        run_command(command, *map(str, arguments))
    assert caught.value.code == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"allennlp {command.name}: error: ")
    return last


def run_command(command: Subcommand, *arguments: str) -> None:
    """Run one of our subcommands in this process; it exits with 1 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="allennlp")
    command.add_subparser(parser.add_subparsers())
    parsed = parser.parse_args([command.name, *arguments])
    level = logging.getLogger().level
    try:
        parsed.func(parsed)
    finally:
        logging.getLogger().setLevel(level)
