"""The JSON objects that `predict` takes, line by line: what is right in them and what is wrong.

Free of AllenNLP and torch, since exported engines answer the same lines.
"""

import json
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

CUSTOMARY_NAMES = {"text": "sentence"}
"""What AllenNLP's own predictors call a field that our readers name otherwise."""

DEEPEST = 64
"""Levels of lists and objects within a line; Python's own limit depends on who asks."""


def parse_line(line: str) -> Tuple[Dict[str, Any], Optional[str]]:
    """Return the JSON object of a line, or an empty one and what is wrong."""
    if problem := unreadable(line):
        return {}, problem
    try:
        loaded = json.loads(line)
    except RecursionError:
        return {}, _TOO_DEEP
    except ValueError as error:
        return {}, f"not JSON: {error}"
    if _is_deep(loaded):
        return {}, _TOO_DEEP
    if not isinstance(loaded, dict):
        return {}, f"expected a JSON object, got {type(loaded).__name__}"
    return loaded, None


def unreadable(line: str) -> Optional[str]:
    """Return what is wrong with a line of text, if anything is."""
    if not line.strip():
        return "blank line"
    return None if is_text(line) else "not UTF-8 text"


def texts_of(inputs: Mapping[str, Any], fields: Sequence[str]) -> List[str]:
    """Return the texts of the named fields.

    # Raises

    `ValueError` if one is missing or is not a text.
    """
    return [text_of(inputs, present_name(inputs, name), name) for name in fields]


def present_name(inputs: Mapping[str, Any], name: str) -> str:
    """Return the name under which a line has the text of a field."""
    return name if name in inputs else CUSTOMARY_NAMES.get(name, name)


def text_of(inputs: Mapping[str, Any], present: str, name: Optional[str] = None) -> str:
    """Return the text of a field.

    # Parameters

    present : `str`
        The name that the field has in `inputs`, if it is there.
    name : `str`, optional
        Its proper name, for errors.

    # Raises

    `ValueError` if it is missing or is not a text.
    """
    if present not in inputs:
        raise ValueError(f"missing field {name or present!r}")
    value = inputs[present]
    if not isinstance(value, str):
        raise ValueError(f"field {present!r} must be a string, got {described(value)}")
    if not is_text(value):
        raise ValueError(f"field {present!r} has a lone surrogate, which is no text")
    return value


def is_text(text: str) -> bool:
    """Return whether the string is free of lone surrogates, and so can be encoded."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def described(value: Any) -> str:
    """Return a JSON value as an error names it: short, however long and deep it is."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return json.dumps(value if not isinstance(value, str) else value[:80])[:80]


def summary_of_bad_lines(numbers: Sequence[int]) -> str:
    """Return what to say at the end of an input with bad lines."""
    answered = "1 bad line was" if len(numbers) == 1 else f"{len(numbers)} bad lines were"
    return f"{answered} answered with an error: {_named_lines(numbers)}"


def summary_of_truncated(numbers: Sequence[int], max_length: int) -> str:
    """Return what to say at the end of an input of which some texts were too long."""
    texts = "1 text was" if len(numbers) == 1 else f"{len(numbers)} texts were"
    return (
        f"{texts} longer than {max_length} word pieces and answered without the rest: "
        f"{_named_lines(numbers)}"
    )


_TOO_DEEP = f"not JSON that can be read: lists or objects are nested deeper than {DEEPEST} levels"


def _is_deep(value: Any) -> bool:
    """Whether lists and objects are nested too deeply for those who go through them later."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return False
    return True


def _inner(value: Any) -> Iterable[Any]:
    """The lists and objects right within one."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return ()
    return [inner for inner in value if isinstance(inner, (dict, list))]


def _named_lines(numbers: Sequence[int]) -> str:
    first = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    return f"{'line' if len(numbers) == 1 else 'lines'} {first}"
