"""Parse the command lines that are run without AllenNLP: `predict`, `serve` and others."""

import argparse
import sys
from typing import NoReturn


class UsageError(Exception):
    """Tell what is wrong with the command line."""


class UsageParser(argparse.ArgumentParser):
    """Raise a `UsageError` for a wrong command line, where argparse would print and exit.

    Options must be written out, and descriptions and examples are shown as they are.
    """

    def __init__(
        self, prog: str, description: str = "", epilog: str = "", help: bool = True
    ) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=help,
        )

    def error(self, message: str) -> NoReturn:
        """Raise a `UsageError`."""
        raise UsageError(message)


def print_usage_error(prog: str, error: UsageError) -> int:
    """Print what was wrong in one line, and return the exit code for it."""
    print(f"{prog}: error: {error}; see {prog} --help", file=sys.stderr)
    return 2


def seconds(text: str) -> float:
    """Parse an option that is a number of seconds, at least 0.

    # Raises

    `argparse.ArgumentTypeError` for a number below 0.
    """
    value = float(text)
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return value
