"""How a command ends: a line for a user's mistake, the signal's code after a signal."""

import json
import os
import re
import sys
from contextlib import contextmanager, nullcontext
from typing import ContextManager, Iterator, NoReturn, Optional

from allennlp.common.checks import ConfigurationError

from sledgehammer.support.console import program
from sledgehammer.support.files import NO_ROOM
from sledgehammer.support.signals import ending_on_signals

_OF_JSONNET = ("STATIC ERROR", "RUNTIME ERROR", "syntax error")
"""How a config that can't be evaluated is told."""

_NO_ROOM_TOLD = re.compile("No space left|PytorchStreamWriter failed|unexpected pos|quota exceeded")
"""How libraries in C++ tell that a file could not be written."""


@contextmanager
def told_in_a_line(prog: str) -> Iterator[None]:
    """End the process with 1 and one line on standard error for what its user can mend.

    That is what `message_of` has words for. Other exceptions are
    mistakes of ours and keep their traceback. See `ending_on_signals` for signals.
    """
    with ending_on_signals():
        try:
            yield
        except BrokenPipeError:
            # Nobody reads on (`| head`). Python would complain when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except Exception as error:
            if message := message_of(error):
                _fail(prog, message)
            raise


def as_command(name: str) -> ContextManager[None]:
    """Return `told_in_a_line` where the process is a command of AllenNLP's, and nothing elsewhere.

    A program that calls the function behind the command gets the exceptions.
    """
    return told_in_a_line(f"{program()} {name}") if sys.argv[1:2] == [name] else nullcontext()


def _fail(prog: str, message: str) -> NoReturn:
    print(f"{prog}: error: {message}", file=sys.stderr)
    sys.exit(1)


def message_of(error: BaseException) -> Optional[str]:
    """Return what is wrong, in one line, if a command's user can mend it."""
    message = _message_of(error)
    return None if message is None else " ".join(message.split())


def _message_of(error: BaseException) -> Optional[str]:
    if isinstance(error, ConfigurationError):
        return str(error.message)
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error}"
    if type(error) is RuntimeError and str(error).startswith(_OF_JSONNET):
        return f"not a config, or wrong --overrides: {error}"
    return _refusal(error)


def _refusal(error: BaseException) -> Optional[str]:
    """Return what the operating system refused, if that is what went wrong."""
    if isinstance(error, OSError):
        told = error.strerror or str(error)
        return f"{error.filename}: {told}" if error.filename else told
    seen = error.__cause__ or error.__context__
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in NO_ROOM:
            return _refusal(seen)
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, RuntimeError) and _NO_ROOM_TOLD.search(str(error)):
        return f"a file could not be written; is the disk full? ({str(error).splitlines()[0]})"
    return None
