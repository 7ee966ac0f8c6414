"""Make rows of what stands in the columns of a table."""

import math
from collections import Counter
from datetime import date
from typing import Any, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union

from allennlp.common.checks import ConfigurationError

from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.files import Location, bad_row
from sledgehammer.support.jsonl import described, is_text

JOINED = "text"
"""What programs and JSON lines call a text that several columns make up."""


_LEFT_OUT = object()
"""In place of the label of a row that is to be left out."""


class KeyedRow(NamedTuple):
    """Hold a row, where it stands, and the value by which it is put into a part of the data.

    # Parameters

    row : `Row`
    location : `Location`
    key : `Any`
        The value of the column that groups rows or dates them; `None` if there is no such column.
    """

    row: Row
    location: Location
    key: Any


class Columns:
    """Say which column is what, and make rows of records.

    # Parameters

    text : `Union[str, List[str]]`
        The column with the text, or several, which are joined by a space.
    second_text : `str`, optional
        The column with the second text of a pair.
    label : `str`
    id : `str`, optional
        Kept as the row's metadata.
    key : `str`, optional
        The column by which rows are put into parts.
    label_map : `Dict[str, Optional[str]]`, optional
        What each label is to be called; rows whose label becomes `None` are left out.

    # Raises

    `ConfigurationError` for a column that is named twice, or two texts of which one is joined.
    """

    def __init__(
        self,
        text: Union[str, List[str]],
        label: str,
        second_text: Optional[str] = None,
        id: Optional[str] = None,
        key: Optional[str] = None,
        label_map: Optional[Mapping[str, Optional[str]]] = None,
    ) -> None:
        parts = [text] if isinstance(text, str) else list(text)
        self.texts = [parts] if second_text is None else [parts, [second_text]]
        self.label, self.id, self.key = label, id, key
        self.label_map = label_map
        if not parts or not all(name for names in self.texts for name in names):
            raise ConfigurationError(f"text must name a column, got {text!r}")
        required = [name for names in self.texts for name in names] + [label]
        if repeated := [name for name, count in Counter(required).items() if count > 1]:
            raise ConfigurationError(
                f"column {repeated[0]!r} is named twice among text, second_text and label"
            )
        self.required = required
        self.left_out = 0
        """How many rows of the last pass the label map has left out."""

    @property
    def wanted(self) -> List[str]:
        """Return the names of all columns that are read."""
        return [*self.required, *filter(None, [self.id, self.key])]

    @property
    def fields(self) -> List[str]:
        """Return what JSON lines for `predict` call the texts: as the columns, where it is one."""
        return [names[0] if len(names) == 1 else JOINED for names in self.texts]

    def rows(
        self, records: Iterable[Tuple[Location, Mapping[str, Any]]], labelled: bool = True
    ) -> Iterator[KeyedRow]:
        """Yield the row of each record.

        # Parameters

        labelled : `bool`, optional (default = `True`)
            Whether every row must have a label.

        # Raises

        `ConfigurationError` for a record without a column that is needed, or with a bad value in
        it; it names the file, the line and the column.
        """
        self.left_out = 0
        for location, values in records:
            self._check(location, values, labelled)
            texts = [
                " ".join(text for name in names if (text := self._text(location, values, name)))
                for names in self.texts
            ]
            label = self._label(location, values, labelled)
            if label is _LEFT_OUT:
                self.left_out += 1
                continue
            metadata = None if self.id is None else {"id": values[self.id]}
            key = None if self.key is None else self._key(location, values)
            yield KeyedRow(Row(texts, label, metadata), location, key)

    def _check(self, location: Location, values: Mapping[str, Any], labelled: bool) -> None:
        for name in self.wanted:
            if name not in values and (labelled or name != self.label):
                there = ", ".join(str(key)[:40] for key in list(values)[:12]) or "none"
                raise bad_row(location, f"no column {name!r}: the columns are {there}")

    def _text(self, location: Location, values: Mapping[str, Any], name: str) -> str:
        value = values[name]
        if not isinstance(value, str):
            raise bad_row(location, f"column {name!r} must be a text, got {_shown(value)}")
        if not is_text(value):
            raise bad_row(location, f"column {name!r} has a lone surrogate, which is not text")
        return value

    def _label(self, location: Location, values: Mapping[str, Any], labelled: bool) -> Any:
        """Return a row's label, `None` if it has none, or `_LEFT_OUT`."""
        try:
            label = label_name(values.get(self.label))
        except ValueError as error:
            raise bad_row(location, f"column {self.label!r} {error}") from error
        if self.label_map is not None and (label is not None or "" in self.label_map):
            if (label or "") not in self.label_map:
                known = ", ".join(self.label_map)
                raise bad_row(
                    location, f"column {self.label!r}: {label!r} is not in label_map ({known})"
                )
            renamed = self.label_map[label or ""]
            return _LEFT_OUT if renamed is None else renamed
        if label is None and labelled:
            raise bad_row(location, f"column {self.label!r} is empty, and labels are needed here")
        return label

    def _key(self, location: Location, values: Mapping[str, Any]) -> Any:
        assert self.key is not None
        value = values[self.key]
        scalar = isinstance(value, (str, int, float, date))
        if not scalar or value == "" or value != value:
            raise bad_row(location, f"column {self.key!r} must have a value, got {_shown(value)}")
        return value


def label_name(value: Any) -> Optional[str]:
    """Return a label as a text; `None` for an empty one.

    # Raises

    `ValueError` for what is no class: a list, an object, or a fraction.
    """
    if isinstance(value, str):
        if not is_text(value):
            raise ValueError("has a lone surrogate, which is not text")
        return value.strip() or None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    raise ValueError(f"must be a class (a text or a whole number), got {_shown(value)}")


def _shown(value: Any) -> str:
    """Return a value for an error message."""
    try:
        return described(value)
    except (TypeError, ValueError):
        return f"a {type(value).__name__}"
