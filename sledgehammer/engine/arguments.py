"""Check the arguments that programs pass to an engine."""

import math
import operator
from typing import Any, Sequence

from sledgehammer.engine.manifest import EngineError


def whole_number(value: Any, least: int, name: str) -> int:
    """Return `value`, which may be a numpy integer, as an int of at least `least`.

    # Raises

    `EngineError` for anything else.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise EngineError(f"{name} must be a whole number, got {value!r:.80}") from None
    if number < least:
        raise EngineError(f"{name} must be at least {least}, got {number}")
    return number


def seconds(value: Any, name: str) -> float:
    """Return `value` as a number of seconds, at least 0.

    # Raises

    `EngineError` for anything else.
    """
    try:
        number = math.nan if isinstance(value, (str, bytes)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not number >= 0:
        raise EngineError(f"{name} must be at least 0 seconds, got {value!r:.80}")
    return number


def listed(texts: Any) -> Sequence[Any]:
    """Return texts as a sequence; they may come as an array, a tuple or a generator, too.

    # Raises

    `EngineError` for a single text, and for a collection without an order.
    """
    if isinstance(texts, (str, bytes)):
        raise EngineError("give a list of texts, not one text")
    check_iterable(texts)
    return texts if isinstance(texts, (list, tuple)) else list(texts)


def check_iterable(texts: Any) -> None:
    """Raise an `EngineError` unless `texts` can be iterated over and has an order."""
    if isinstance(texts, (str, bytes)):
        raise EngineError("give an iterable of texts, not one text")
    if isinstance(texts, (dict, set)) or not (
        hasattr(texts, "__iter__") or hasattr(texts, "__getitem__")
    ):
        raise EngineError(f"give an iterable of texts, not {type(texts).__name__}")
