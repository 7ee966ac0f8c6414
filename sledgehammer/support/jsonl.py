"""Read the JSON lines that `predict` takes, and say what is wrong with a bad one.

AllenNLP and torch are not needed: exported engines answer the same lines.
"""

import json
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

CUSTOMARY_NAMES = {"text": "sentence"}
"""By our name of a field: what AllenNLP's own predictors call it."""

DEEPEST = 64
"""How deep lists and objects of a line may be nested. Python has a limit too, but it depends on
how deep the stack is already."""


def parse_line(line: str) -> Tuple[Dict[str, Any], Optional[str]]:
    """Return the JSON object of a line and `None`, or an empty object and what is wrong."""
    if problem := unreadable(line):
        return {}, problem
    try:
        loaded = json.loads(line)
    except RecursionError:
        return {}, _TOO_DEEP
    except ValueError as error:
        return {}, f"not JSON: {error}"
    if is_deep(loaded):
        return {}, _TOO_DEEP
    if not isinstance(loaded, dict):
        return {}, f"expected a JSON object, got {type(loaded).__name__}"
    return loaded, None


def unreadable(line: str) -> Optional[str]:
    """Return what is wrong with a line of text, or `None`."""
    if not line.strip():
        return "blank line"
    return None if is_text(line) else "not UTF-8 text"


def texts_of(inputs: Mapping[str, Any], fields: Sequence[str]) -> List[str]:
    """Return the texts of the named fields.

    # Raises

    `ValueError` if one is missing or not a text.
    """
    return [text_of(inputs, present_name(inputs, name), name) for name in fields]


def text_or_pair(texts: Sequence[str]) -> Union[str, Sequence[str]]:
    """Return the texts of a row as engines take them: a lone text by itself."""
    return texts[0] if len(texts) == 1 else texts


def present_name(inputs: Mapping[str, Any], name: str) -> str:
    """Return the name that a line uses for a field: ours, or AllenNLP's customary one."""
    return name if name in inputs else CUSTOMARY_NAMES.get(name, name)


def text_of(inputs: Mapping[str, Any], present: str, name: Optional[str] = None) -> str:
    """Return the text of a field.

    # Parameters

    present : `str`
        The name that the field has in `inputs`, if it is there.
    name : `str`, optional
        Our name of the field, for the error if it is missing.

    # Raises

    `ValueError` if it is missing or not a text.
    """
    if present not in inputs:
        raise ValueError(f"missing field {name or present!r}")
    value = inputs[present]
    if not isinstance(value, str):
        raise ValueError(f"field {present!r} must be a string, got {described(value)}")
    if not is_text(value):
        raise ValueError(f"field {present!r} has a lone surrogate, which is not valid text")
    return value


def is_text(text: str) -> bool:
    """Return whether a string can be encoded, that is, has no lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def described(value: Any) -> str:
    """Return a value for an error message: short, however long and deep it is, JSON or not."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return json.dumps(value if not isinstance(value, str) else value[:80], default=repr)[:80]


def summary_of_bad_lines(numbers: Sequence[int]) -> str:
    """Return the message that tells, at the end of an input, which lines were bad."""
    lines = "1 bad line was" if len(numbers) == 1 else f"{len(numbers)} bad lines were"
    return f"{lines} answered with an error: {_named_lines(numbers)}"


def summary_of_truncated(numbers: Sequence[int], max_length: int) -> str:
    """Return the message that tells, at the end of an input, which texts were too long."""
    texts = "1 text was" if len(numbers) == 1 else f"{len(numbers)} texts were"
    return (
        f"{texts} longer than {max_length} word pieces and answered without the rest: "
        f"{_named_lines(numbers)}"
    )


_TOO_DEEP = f"not JSON that can be read: lists or objects are nested deeper than {DEEPEST} levels"


def is_deep(value: Any) -> bool:
    """Return whether lists and objects are nested too deeply for recursive code to process."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return False
    return True


def _children(value: Any) -> Iterable[Any]:
    """Return the lists and objects directly within a value."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return ()
    return [inner for inner in value if isinstance(inner, (dict, list))]


def _named_lines(numbers: Sequence[int]) -> str:
    first = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
    return f"{'line' if len(numbers) == 1 else 'lines'} {first}"
