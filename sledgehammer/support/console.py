"""Decide what a terminal shows, and under which name the user called us."""

import contextlib
import io
import logging
import os
import sys
import warnings
from pathlib import Path

VERBOSE = "--verbose"
"""The option of the `sledgehammer` command that shows what libraries print."""

NOISY = ("train", "find-lr", "test-install")
"""Commands whose logs are their result, and stay on."""


def print_anything() -> None:
    """Let standard output escape the characters that its encoding lacks, instead of raising."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def program() -> str:
    """Return the command that this process runs: `sledgehammer` or `allennlp`."""
    script = Path(sys.argv[0])
    name = script.parent.name if script.name == "__main__.py" else script.stem
    return "sledgehammer" if name == "sledgehammer" else "allennlp"


def silence_libraries() -> None:
    """Keep warnings and logs of libraries off the terminal; our own warnings are still shown."""
    warnings.simplefilter("ignore")
    # `pytest` and other libraries reset the filters of warnings when they are imported.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("sledgehammer").setLevel(logging.WARNING)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with contextlib.suppress(ImportError):
        import nltk

        # AllenNLP's models download data when imported; without a network that prints eight lines.
        download, silent = nltk.download, {"quiet": True, "print_error_to": io.StringIO()}
        nltk.download = lambda *arguments, **options: download(*arguments, **{**options, **silent})
