"""Read rows from the JSON lines that `allennlp predict` takes."""

from itertools import islice
from typing import Iterator, List

from allennlp.common.checks import ConfigurationError

from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.dataset_readers.files import bad_row, read_json_lines
from sledgehammer.support.jsonl import described, texts_of


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
    reader: TransformerReader, path: str, json_lines: bool = False, labelled: bool = True
) -> List[Row]:
    """Return the rows of a data file, read by the archive's reader or as JSON lines.

    # Parameters

    json_lines : `bool`, optional (default = `False`)
        Whether the file has the lines that `allennlp predict` takes; each may have a `"label"`.
    labelled : `bool`, optional (default = `True`)
        Whether every row must have a label.

    # Raises

    `ConfigurationError` if there are no rows, one is malformed, or a label is missing.
    """
    all_rows = json_rows(path, reader.fields) if json_lines else reader.selected_rows(path)
    rows = list(islice(all_rows, reader.max_instances))
    if not rows:
        raise ConfigurationError(f"no rows in {path!r}: it needs at least one labelled row")
    missing = sum(row.label is None for row in rows)
    if labelled and missing:
        raise ConfigurationError(
            f"{path!r}: {missing} of {len(rows)} rows have no label, and labels are needed here"
        )
    return rows
