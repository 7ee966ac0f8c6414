"""Time how long a fresh process takes to give its first answer."""

import json
import os
import subprocess
import sys
from functools import partial
from typing import Dict, List

from allennlp.common.checks import ConfigurationError

from sledgehammer.benchmark.timing import Timing, alternate


def first_answers(commands: Dict[str, List[str]], line: str, rounds: int) -> Dict[str, Timing]:
    """Time processes in turns, from their start to the end of their only answer.

    # Parameters

    commands : `Dict[str, List[str]]`
        Arguments of `python -m`, by name; each command reads JSON lines from its standard input.
    line : `str`
        The input: one JSON line.

    # Raises

    `ConfigurationError` if a command fails.
    """

    def answer(arguments: List[str]) -> None:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            input=line + "\n",
            capture_output=True,
            text=True,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
        )
        if done.returncode:
            raise ConfigurationError(f"{' '.join(arguments)} failed: {done.stderr[-500:]}")

    return alternate({name: partial(answer, command) for name, command in commands.items()}, rounds)


def as_line(texts: List[str], fields: List[str]) -> str:
    """Return the JSON line of a row."""
    return json.dumps(dict(zip(fields, texts)))
