"""Check the values of command-line options, without AllenNLP and torch.

Each function is the `type` of an argument: it raises what `argparse` reports as a wrong value.
"""

import argparse
import json
from typing import Any, Dict, Union


def positive_int(text: str) -> int:
    """Return `text` as a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def natural_number(text: str) -> int:
    """Return `text` as a whole number of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {text}")
    return value


def positive_float(text: str) -> float:
    """Return `text` as a finite number above 0."""
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def share(text: str) -> float:
    """Return `text` as a number above 0 and at most 1."""
    value = float(text)
    if not 0.0 < value <= 1.0:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, got {text}")
    return value


def threshold(text: str) -> Union[float, Dict[str, Any]]:
    """Return a number, or the map from labels to numbers that a JSON object holds.

    # Raises

    `ArgumentTypeError` if the text is neither.
    """
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise argparse.ArgumentTypeError(f"{text!r:.80} is not JSON: {error}") from error
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid float value: {text!r:.80}") from None
