"""Lets mkdocstrings read AllenNLP's docstrings: `# Parameters` is a section, as in numpy's style."""

import re
from typing import Any

import griffe

_SECTIONS = re.compile(r"^# (Parameters|Returns|Raises)$", flags=re.MULTILINE)
_TYPED = re.compile(r"^([\w*, ]+ : )`([^`\n]+)`", flags=re.MULTILINE)
_ERROR = re.compile(r"`([\w.]+)` (.+)")


class Sections(griffe.Extension):
    """Rewrite the sections of a docstring, before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring and not obj.is_alias:
            returned = str(getattr(obj, "returns", None) or "object")
            obj.docstring.value = numpy_style(obj.docstring.value, returned)


def numpy_style(docstring: str, returned: str) -> str:
    """Return the docstring with numpy's sections.

    # Parameters

    docstring : `str`
        In AllenNLP's style: headings, and prose below Returns and Raises.
    returned : `str`
        The type that the function returns, which the prose leaves out.
    """
    text, *sections = _SECTIONS.split(docstring)
    for name, content in zip(sections[::2], sections[1::2]):
        content = _section(name, content.strip("\n"), returned)
        text += f"{name}\n{'-' * len(name)}\n{content}\n\n"
    return text.rstrip("\n")


def _section(name: str, content: str, returned: str) -> str:
    if name == "Parameters":
        return _TYPED.sub(r"\1\2", content)
    sentence = " ".join(content.split())
    if name == "Returns":
        return f"{returned}\n    {sentence}"
    error = _ERROR.match(sentence)
    return f"{error[1]}\n    {error[2]}" if error else f"Exception\n    {sentence}"
