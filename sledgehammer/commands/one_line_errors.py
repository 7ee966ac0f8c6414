"""Mistakes of users in AllenNLP's own commands, told in one line.

AllenNLP lets every error end in a traceback. It has parsed the command line when plugins are loaded,
so what can still be replaced is what Python does with an error that nobody catches.
"""

import json
import os
import sys
from types import TracebackType
from typing import Optional, Type

from allennlp.common.checks import ConfigurationError

from sledgehammer.support.console import program

COMMANDS = (
    "train", "evaluate", "predict", "find-lr", "print-results", "count-instances", "build-vocab",
    "diff", "checklist",
)  # fmt: skip


def told(error: BaseException) -> Optional[str]:
    """Return what is wrong in one line, if it is a user's mistake that needs no traceback."""
    if isinstance(error, ConfigurationError):
        message = str(error.message)
    elif isinstance(error, json.JSONDecodeError):
        message = f"not JSON: {error}"
    elif isinstance(error, OSError):
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    elif type(error) is RuntimeError and _is_jsonnet(str(error)):
        message = f"not a config, or wrong --overrides: {error}"
    else:
        return None
    return " ".join(message.split())


def install() -> None:
    """Tell users' mistakes in one line, if this process is one of AllenNLP's commands."""
    if sys.argv[1:2] and sys.argv[1] in COMMANDS and not os.environ.get("ALLENNLP_DEBUG"):
        sys.excepthook = _hook


def _hook(
    kind: Type[BaseException], error: BaseException, traceback: Optional[TracebackType]
) -> None:
    message = told(error)
    if message is None:
        sys.__excepthook__(kind, error, traceback)
        return
    print(f"{program()} {sys.argv[1]}: error: {message}", file=sys.stderr)


def _is_jsonnet(message: str) -> bool:
    return message.startswith(("STATIC ERROR", "RUNTIME ERROR", "syntax error"))
