"""The lines of an input of `predict`: what they may hold, and what their answers carry over."""

import difflib
import json
from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from sledgehammer.policies import ExitPolicy, RowSettings, settings_in
from sledgehammer.support.jsonl import (
    described,
    parse_line,
    present_name,
    summary_of_bad_lines,
    summary_of_truncated,
    texts_of,
    unreadable,
)

OUTPUTS = ("label", "probs", "confidence", "exit_layer", "layers_run", "layer_speedup")
"""What the answer to a line holds."""

TRUNCATED = "truncated"
"""What an answer holds besides, as `true`, if the text was longer than `max_length`."""

IDENTIFIER = "id"
"""The field that every answer carries over from its line, if the line has it."""

UNUSED = "label"
"""The field that a line may have though nothing uses it, so that labelled data can be answered."""

BYTE_ORDER_MARK = "\ufeff"

OK, NONE_ANSWERED, SOME_BAD_LINES = 0, 1, 3
"""Exit codes of `predict`. 1 is that of any error, 2 that of a wrong command line."""


class Request(NamedTuple):
    """What a line asks for: its texts, the settings for it, and what the answer carries over."""

    texts: List[str]
    settings: RowSettings
    kept: Dict[str, Any]


@dataclass(frozen=True)
class LineFormat:
    """What the lines of an input hold.

    # Parameters

    fields : `Sequence[str]`
        Names of the texts in a line.
    keep : `Sequence[str]`, optional
        Fields that the answers carry over, besides `id`.
    plain : `bool`, optional (default = `False`)
        Whether a line is a text, and no JSON.

    # Raises

    `ValueError` if answers have another field of the name of one to keep, or a model of pairs is
    to read plain lines.
    """

    fields: Sequence[str]
    keep: Sequence[str] = ()
    plain: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.keep, str) or not all(isinstance(name, str) for name in self.keep):
            raise ValueError(f'keep must be a list of names such as ["stars"], got {self.keep!r}')
        if taken := sorted({*self.keep} & {*OUTPUTS, TRUNCATED, "error", "line"}):
            raise ValueError(f"cannot keep {taken[0]!r}: answers have a field of that name")
        if self.plain and len(self.fields) > 1:
            raise ValueError(
                "lines of plain text are for models of single texts; this one takes "
                + " and ".join(self.fields)
            )

    def parse(self, line: str) -> Tuple[Dict[str, Any], Optional[str]]:
        """Return the fields of a line, or none and what is wrong with it."""
        if not self.plain:
            return parse_line(line)
        text = line.rstrip("\r\n")
        problem = unreadable(text)
        return ({}, problem) if problem else ({self.fields[0]: text}, None)

    def request(self, inputs: Mapping[str, Any], policy: ExitPolicy) -> Request:
        """Return what a line asks for.

        # Raises

        `ValueError` if a text is missing or is none, the policy has no such setting or not that
        value, or nothing takes a field.
        """
        texts = texts_of(inputs, self.fields)
        kept = self.kept(inputs)
        # Data may have a field that is named as another policy's setting.
        settings = {
            name: value
            for name, value in settings_in(inputs, nulls=True).items()
            if name in policy.settings or name not in self.keep
        }
        names = [present_name(inputs, name) for name in self.fields]
        known = {*names, *kept, *settings, UNUSED}
        if unknown := [name for name in inputs if name not in known]:
            raise ValueError(_unknown(unknown[0], policy))
        own = policy.settings_for({n: v for n, v in settings.items() if v is not None})
        return Request(texts, own, kept)

    def kept(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Return what the answer to a line carries over, which may be an error.

        # Raises

        `ValueError` for a number that JSON does not have.
        """
        found = {name: inputs[name] for name in (IDENTIFIER, *self.keep) if name in inputs}
        for name, value in found.items():
            try:
                json.dumps(value, allow_nan=False)
            except ValueError as error:
                raise ValueError(f"field {name!r} has a number that JSON does not have") from error
        return found


@dataclass
class Tally:
    """What is told at the end of an input.

    # Parameters

    lines : `int`
        Answers so far.
    bad_lines : `List[int]`
        The numbers, counted from 1, of the lines that were answered with an error.
    truncated : `List[int]`
        Those of the lines whose text was too long.
    """

    lines: int = 0
    bad_lines: List[int] = field(default_factory=list)
    truncated: List[int] = field(default_factory=list)

    def summaries(self, max_length: int) -> List[str]:
        """Return what there is to say of bad lines and long texts, a line each."""
        found = []
        if self.truncated:
            found.append(summary_of_truncated(self.truncated, max_length))
        if self.bad_lines:
            found.append(summary_of_bad_lines(self.bad_lines))
        return found

    @property
    def exit_code(self) -> int:
        """What `predict` ends with: 0, 1 if no line could be answered, 3 if some could not."""
        if not self.bad_lines:
            return OK
        return NONE_ANSWERED if len(self.bad_lines) == self.lines else SOME_BAD_LINES


def _unknown(name: str, policy: ExitPolicy) -> str:
    near = difflib.get_close_matches(name[:80], policy.settings, n=1)
    if near:
        return f"unknown field {described(name)}: did you mean {near[0]!r}?"
    return (
        f"unknown field {described(name)}: name it with --keep to have it in the answer, or leave "
        "it out"
    )
