"""Read rows from the JSON lines that `allennlp predict` takes."""

from itertools import islice
from typing import Iterable, Iterator, List, Optional

from allennlp.common.checks import ConfigurationError

from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.dataset_readers.files import bad_row, read_json_lines
from sledgehammer.dataset_readers.tables import FORMATS, TableReader, column_rows
from sledgehammer.support.jsonl import described, texts_of

JSON_LINES = "json-lines"
"""The format of the lines that `predict` takes."""

DATA_FORMATS = (JSON_LINES, *FORMATS)
"""In what formats data may be, other than that of the archive's reader."""


def json_rows(path: str, fields: List[str]) -> Iterator[Row]:
    """Yield the rows of a file of JSON lines, each with the named fields and maybe a `label`.

    # Raises

    `ConfigurationError` for a malformed line.
    """
    for location, inputs in read_json_lines(path):
        label = inputs.get("label")
        if label is not None and not isinstance(label, str):
            raise bad_row(location, f"field 'label' must be a string, got {described(label)}")
        try:
            yield Row(texts_of(inputs, fields), label)
        except ValueError as error:
            raise bad_row(location, str(error)) from error


def read_rows(
    reader: TransformerReader,
    path: str,
    json_lines: bool = False,
    labelled: bool = True,
    data_format: Optional[str] = None,
) -> List[Row]:
    """Return the rows of a data file, read by the archive's reader or in another format.

    # Parameters

    json_lines : `bool`, optional (default = `False`)
        Whether the file has the lines that `allennlp predict` takes; each may have a `"label"`.
    labelled : `bool`, optional (default = `True`)
        Whether every row must have a label.
    data_format : `str`, optional
        One of `DATA_FORMATS`, in place of what the reader reads; the columns of a table are then
        those of the reader, or else its fields and `label`.

    # Raises

    `ConfigurationError` if there are no rows, one is malformed, or a label is missing.
    """
    all_rows = _all_rows(reader, path, JSON_LINES if json_lines else data_format, labelled)
    rows = list(islice(all_rows, reader.max_instances))
    if not rows:
        raise ConfigurationError(f"no rows in {path!r}: it needs at least one labelled row")
    missing = sum(row.label is None for row in rows)
    if labelled and missing:
        raise ConfigurationError(
            f"{path!r}: {missing} of {len(rows)} rows have no label, and labels are needed here"
        )
    return rows


def _all_rows(
    reader: TransformerReader, path: str, data_format: Optional[str], labelled: bool
) -> Iterable[Row]:
    if data_format == JSON_LINES:
        return json_rows(path, reader.fields)
    if isinstance(reader, TableReader):
        return reader.selected_rows(path, data_format, labelled)
    if data_format is not None:
        return column_rows(path, data_format, reader.fields, labelled)
    return reader.selected_rows(path)
