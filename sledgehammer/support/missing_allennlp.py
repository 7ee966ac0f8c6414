"""Say what to install when AllenNLP is missing."""

import importlib.util
import sys

INSTALL = (
    "pip install allennlp==2.10.1 allennlp-models==2.10.1"
    if sys.version_info < (3, 11)
    else "pip install --no-deps allennlp==2.10.1 allennlp-models==2.10.1"
)
"""The command that installs AllenNLP. On Python 3.11 and later its own requirements can't be met,
but its code runs without them."""


def require_allennlp() -> None:
    """Raise an `ImportError` with the command that installs AllenNLP, if it is missing."""
    for package in ("allennlp", "allennlp_models"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"sledgehammer plugs into AllenNLP, but {package} is not installed. "
                f"Install it with:\n\n    {INSTALL}\n"
            )
