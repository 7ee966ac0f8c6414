"""End a command with one line for a user's mistake, and with the signal's exit code after a signal.

Our own commands run inside `one_line_errors`. AllenNLP lets every error end in a traceback, and has
parsed the command line by the time plugins are loaded; all that can still be replaced for its
commands is what Python does with an error that nobody catches (`install_excepthook`).
"""

import json
import os
import re
import sys
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import ContextManager, Iterator, Optional, Type

from allennlp.common.checks import ConfigurationError

from sledgehammer.support.console import program
from sledgehammer.support.files import NO_ROOM
from sledgehammer.support.signals import ending_on_signals

ALLENNLP_COMMANDS = (
    "train", "evaluate", "predict", "find-lr", "print-results", "count-instances", "build-vocab",
    "diff", "checklist",
)  # fmt: skip

_JSONNET_ERRORS = ("STATIC ERROR", "RUNTIME ERROR", "syntax error")
"""How the message of a config that cannot be evaluated begins."""

_WRITE_ERRORS = re.compile("No space left|PytorchStreamWriter failed|unexpected pos|quota exceeded")
"""How libraries in C++ say that a file could not be written."""


@contextmanager
def one_line_errors(prog: str) -> Iterator[None]:
    """Exit with code 1 and one line on standard error for an error that the user can fix.

    Those are the errors for which `message_of` returns a message. Other exceptions are our own
    bugs and keep their traceback. See `ending_on_signals` for signals.
    """
    with ending_on_signals():
        try:
            yield
        except BrokenPipeError:
            # Nobody reads the output any more (`| head`). Send the rest to nowhere: otherwise
            # Python complains when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:
            if message := message_of(error):
                _print_error(prog, message)
                sys.exit(1)
            raise


def one_line_errors_if_running(command: str) -> ContextManager[None]:
    """Return `one_line_errors` if the process runs this AllenNLP command, else do nothing.

    A program that calls the function behind the command gets the exceptions.
    """
    if sys.argv[1:2] == [command]:
        return one_line_errors(f"{program()} {command}")
    return nullcontext()


def install_excepthook() -> None:
    """Report users' mistakes in one line if this process runs one of AllenNLP's commands.

    The environment variable `ALLENNLP_DEBUG` keeps the tracebacks.
    """
    if sys.argv[1:2] and sys.argv[1] in ALLENNLP_COMMANDS and not os.environ.get("ALLENNLP_DEBUG"):
        sys.excepthook = _report_uncaught


def _report_uncaught(
    kind: Type[BaseException], error: BaseException, traceback: Optional[TracebackType]
) -> None:
    message = message_of(error)
    if message is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        _print_error(f"{program()} {sys.argv[1]}", message)


def _print_error(prog: str, message: str) -> None:
    print(f"{prog}: error: {message}", file=sys.stderr)


def message_of(error: BaseException) -> Optional[str]:
    """Return one line that says what is wrong if the user can fix it, else `None`."""
    message = _message_of(error)
    return None if message is None else " ".join(message.split())


def _message_of(error: BaseException) -> Optional[str]:
    if isinstance(error, ConfigurationError):
        return str(error.message)
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error}"
    if type(error) is RuntimeError and str(error).startswith(_JSONNET_ERRORS):
        return f"not a config, or wrong --overrides: {error}"
    return _system_error(error)


def _system_error(error: BaseException) -> Optional[str]:
    """Return what the operating system refused to do, if that is what went wrong."""
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return f"{error.filename}: {reason}" if error.filename else reason
    cause = error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            return _system_error(cause)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, RuntimeError) and _WRITE_ERRORS.search(str(error)):
        return f"a file could not be written; is the disk full? ({str(error).splitlines()[0]})"
    return None
