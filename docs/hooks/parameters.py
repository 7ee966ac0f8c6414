"""Lets mkdocstrings read AllenNLP's docstrings: `# Parameters` is a section, as in numpy's style."""

import re
from typing import Any

import griffe

_TYPED = re.compile(r"^([\w*, ]+ : )`([^`\n]+)`", flags=re.MULTILINE)
_RETURNS = re.compile(r"^# (Returns)$", flags=re.MULTILINE)
_SECTION = re.compile(r"^# (Parameters|Raises)$", flags=re.MULTILINE)


class Sections(griffe.Extension):
    """Underline the headings of sections, before a docstring is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring and not obj.is_alias:
            value = _SECTION.sub(
                lambda match: f"{match[1]}\n{'-' * len(match[1])}", obj.docstring.value
            )
            value = _RETURNS.sub(r"**\1**", value)  # prose: its type is in the signature
            obj.docstring.value = _raises(_TYPED.sub(r"\1\2", value))


def _raises(value: str) -> str:
    """Rewrite "`Error` if ..." below Raises as the type on a line of its own and the reason below."""
    head, mark, tail = value.partition("Raises\n------\n")
    if not mark:
        return value
    section, blank, rest = tail.lstrip("\n").partition("\n\n")
    sentence = " ".join(section.split())
    found = re.match(r"`([\w.]+)` (.+)", sentence)
    if not found:
        return f"{head}{sentence}{blank}{rest}"
    return f"{head}{mark}{found[1]}\n    {found[2]}{blank}{rest}"
