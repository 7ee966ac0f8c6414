"""Rows made of the JSON objects that `allennlp predict` takes."""

from typing import Iterator, List

from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.files import bad_row, read_json_lines
from sledgehammer.lines import texts_of


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
