"""What a terminal shows, and the name that the user called us by."""

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
"""Commands whose logs are what one waits for."""


def print_anything() -> None:
    """Have standard output show what its encoding lacks as escapes, where it would raise."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def program() -> str:
    """Return `sledgehammer` or `allennlp`: the command that this process is."""
    called = Path(sys.argv[0])
    name = called.parent.name if called.name == "__main__.py" else called.stem
    return "sledgehammer" if name == "sledgehammer" else "allennlp"


def silence_libraries() -> None:
    """Keep what libraries warn of and log off the terminal; what we say is shown."""
    warnings.simplefilter("ignore")
    # `pytest` and others that are imported along reset the filters of warnings.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("sledgehammer").setLevel(logging.WARNING)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with contextlib.suppress(ImportError):
        import nltk

        # AllenNLP's models ask for data at import; without a network that prints eight lines.
        download, nowhere = nltk.download, {"quiet": True, "print_error_to": io.StringIO()}
        nltk.download = lambda *arguments, **options: download(*arguments, **{**options, **nowhere})
