"""Mistakes of users in AllenNLP's own commands, told in one line.

AllenNLP lets every error end in a traceback. It has parsed the command line when plugins are loaded,
so what can still be replaced is what Python does with an error that nobody catches.
"""

import os
import sys
from types import TracebackType
from typing import Optional, Type

from sledgehammer.commands.errors import message_of
from sledgehammer.support.console import program

COMMANDS = (
    "train", "evaluate", "predict", "find-lr", "print-results", "count-instances", "build-vocab",
    "diff", "checklist",
)  # fmt: skip


def install() -> None:
    """Tell users' mistakes in one line, if this process is one of AllenNLP's commands."""
    if sys.argv[1:2] and sys.argv[1] in COMMANDS and not os.environ.get("ALLENNLP_DEBUG"):
        sys.excepthook = _hook


def _hook(
    kind: Type[BaseException], error: BaseException, traceback: Optional[TracebackType]
) -> None:
    message = message_of(error)
    if message is None:
        sys.__excepthook__(kind, error, traceback)
        return
    print(f"{program()} {sys.argv[1]}: error: {message}", file=sys.stderr)
