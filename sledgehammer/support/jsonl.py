"""The JSON objects that `predict` takes, line by line: what is right in them and what is wrong.

Free of AllenNLP and torch, since exported engines answer the same lines.
"""

import json
from typing import Any, Dict, List, Optional, Sequence, Tuple

CUSTOMARY_NAMES = {"text": "sentence"}
"""What AllenNLP's own predictors call a field that our readers name otherwise."""

OUTPUTS = ("label", "probs", "confidence", "exit_layer", "layers_run", "layer_speedup")
"""What the answer to a line holds."""


def parse_line(line: str) -> Tuple[Dict[str, Any], Optional[str]]:
    """The JSON object of a line, or an empty one and what is wrong."""
    if not line.strip():
        return {}, "blank line"
    if not is_text(line):
        return {}, "not UTF-8 text"
    try:
        loaded = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {}, f"not JSON: {error}"
    if not isinstance(loaded, dict):
        return {}, f"expected a JSON object, got {type(loaded).__name__}"
    return loaded, None


def texts_of(inputs: Dict[str, Any], fields: Sequence[str]) -> List[str]:
    """The texts of the named fields.

    # Raises

    `ValueError` if one is missing or is not a text.
    """
    return [_text(inputs, name) for name in fields]


def is_text(text: str) -> bool:
    """Whether the string is free of lone surrogates, and so can be encoded."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def summary_of_bad_lines(numbers: Sequence[int]) -> str:
    """What to say at the end of an input with bad lines."""
    first = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    return f"{len(numbers)} bad lines were answered with an error: lines {first}"


def _text(inputs: Dict[str, Any], name: str) -> str:
    present = name if name in inputs else CUSTOMARY_NAMES.get(name, name)
    if present not in inputs:
        raise ValueError(f"missing field {name!r}")
    value = inputs[present]
    if not isinstance(value, str):
        raise ValueError(f"field {present!r} must be a string, got {json.dumps(value)[:80]}")
    if not is_text(value):
        raise ValueError(f"field {present!r} has a lone surrogate, which is no text")
    return value
