"""The JSON objects that `allennlp predict` takes, and rows made of them."""

import json
from typing import Any, Dict, Iterator, List

from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.files import bad_row, read_json_lines

CUSTOMARY_NAMES = {"text": "sentence"}
"""What AllenNLP's own predictors call a field that our readers name otherwise."""


def texts_of(inputs: Dict[str, Any], fields: List[str]) -> List[str]:
    """The texts of the named fields.

    # Raises

    `ValueError` if one is missing or is not a text.
    """
    return [_text(inputs, name) for name in fields]


def json_rows(path: str, fields: List[str]) -> Iterator[Row]:
    """Rows from a file of JSON lines with the named fields and maybe a `label`.

    # Raises

    `ConfigurationError` for a malformed line.
    """
    for location, inputs in read_json_lines(path):
        label = inputs.get("label")
        if label is not None and not isinstance(label, str):
            raise bad_row(location, f"field 'label' must be a string, got {label!r}")
        try:
            yield Row(texts_of(inputs, fields), label)
        except ValueError as error:
            raise bad_row(location, str(error)) from error


def is_text(text: str) -> bool:
    """Whether the string is free of lone surrogates, and so can be encoded."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


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
