"""Read the lines that `predict` answers, and say which fields the answers take over from them."""

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

ANSWER_FIELDS = ("label", "probs", "confidence", "exit_layer", "layers_run", "layer_speedup")
"""The fields of every answer."""

TRUNCATED = "truncated"
"""The field, `true`, that an answer also has if the text was longer than `max_length`."""

IDENTIFIER = "id"
"""The field that an answer always takes over from its line, if the line has it."""

IGNORED = "label"
"""The field that is ignored in a line, so that labelled data can be answered."""

BYTE_ORDER_MARK = "\ufeff"

OK, NONE_ANSWERED, SOME_BAD_LINES = 0, 1, 3
"""Exit codes of `predict`. 1 is that of any error, 2 that of a wrong command line."""


class Request(NamedTuple):
    """Hold what a line asks for: its texts, its settings, and the fields its answer takes over."""

    texts: List[str]
    settings: RowSettings
    kept: Dict[str, Any]


@dataclass(frozen=True)
class LineFormat:
    """Say what the lines of an input hold, and read them.

    # Parameters

    fields : `Sequence[str]`
        Names of the texts in a line.
    keep : `Sequence[str]`, optional
        Fields that the answers take over from their lines, besides `id`.
    plain : `bool`, optional (default = `False`)
        Whether a line is a plain text instead of JSON.

    # Raises

    `ValueError` if a field to keep has the name of a field that answers have anyway, or if a
    model of pairs would have to read plain lines.
    """

    fields: Sequence[str]
    keep: Sequence[str] = ()
    plain: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.keep, str) or not all(isinstance(name, str) for name in self.keep):
            raise ValueError(f'keep must be a list of names such as ["stars"], got {self.keep!r}')
        if taken := sorted({*self.keep} & {*ANSWER_FIELDS, TRUNCATED, "error", "line"}):
            raise ValueError(f"cannot keep {taken[0]!r}: answers have a field of that name already")
        if self.plain and len(self.fields) > 1:
            raise ValueError(
                "lines of plain text are for models of single texts; this model takes "
                + " and ".join(self.fields)
            )

    def parse(self, line: str) -> Tuple[Dict[str, Any], Optional[str]]:
        """Return the fields of a line and `None`, or no fields and what is wrong with the line."""
        if not self.plain:
            return parse_line(line)
        text = line.rstrip("\r\n")
        problem = unreadable(text)
        return ({}, problem) if problem else ({self.fields[0]: text}, None)

    def request(self, inputs: Mapping[str, Any], policy: ExitPolicy) -> Request:
        """Return what a line asks for.

        # Raises

        `ValueError` for a missing or invalid text, an unknown setting or an invalid value of one,
        or a field that nothing uses.
        """
        texts = texts_of(inputs, self.fields)
        kept = self.kept(inputs)
        # A field to keep may have the name of another policy's setting.
        settings = {
            name: value
            for name, value in settings_in(inputs, nulls=True).items()
            if name in policy.settings or name not in self.keep
        }
        names = [present_name(inputs, name) for name in self.fields]
        known = {*names, *kept, *settings, IGNORED}
        if unknown := [name for name in inputs if name not in known]:
            raise ValueError(_unknown_field(unknown[0], policy))
        row_settings = policy.settings_for({n: v for n, v in settings.items() if v is not None})
        return Request(texts, row_settings, kept)

    def kept(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Return the fields that the answer to a line takes over, even if the answer is an error.

        # Raises

        `ValueError` for infinity or "not a number", which are not valid JSON.
        """
        kept = {name: inputs[name] for name in (IDENTIFIER, *self.keep) if name in inputs}
        for name, value in kept.items():
            try:
                json.dumps(value, allow_nan=False)
            except ValueError as error:
                raise ValueError(f"field {name!r} has a number that JSON does not have") from error
        return kept


@dataclass
class Tally:
    """Count the lines of an input, and note the numbers of those to report at its end.

    # Parameters

    lines : `int`
        Answers so far.
    bad_lines : `List[int]`
        The numbers, counted from 1, of the lines that were answered with an error.
    truncated : `List[int]`
        The numbers of the lines whose text was too long.
    """

    lines: int = 0
    bad_lines: List[int] = field(default_factory=list)
    truncated: List[int] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Add the tally of the lines that follow."""
        self.lines += other.lines
        self.bad_lines += other.bad_lines
        self.truncated += other.truncated

    def summaries(self, max_length: int) -> List[str]:
        """Return a message about long texts and one about bad lines, if there were any."""
        messages = []
        if self.truncated:
            messages.append(summary_of_truncated(self.truncated, max_length))
        if self.bad_lines:
            messages.append(summary_of_bad_lines(self.bad_lines))
        return messages

    @property
    def exit_code(self) -> int:
        """Return the exit code of `predict`: 1 if all lines were bad, 3 if some were, else 0."""
        if not self.bad_lines:
            return OK
        return NONE_ANSWERED if len(self.bad_lines) == self.lines else SOME_BAD_LINES


def _unknown_field(name: str, policy: ExitPolicy) -> str:
    similar = difflib.get_close_matches(name[:80], policy.settings, n=1)
    if similar:
        return f"unknown field {described(name)}: did you mean {similar[0]!r}?"
    return (
        f"unknown field {described(name)}: name it with --keep to have it in the answer, or leave "
        "it out"
    )
