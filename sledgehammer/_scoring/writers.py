"""Write rows as Parquet, CSV or JSON lines."""

import csv
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, List, Mapping, Protocol, Sequence, TextIO

from sledgehammer._scoring.readers import import_parquet

ROW_GROUP = 1 << 16
"""Rows of a Parquet file that are held until they are written together."""

PROBS = "probs"
ANSWER = ("label", PROBS, "confidence", "exit_layer", "layers_run", "truncated", "error")
"""The columns of every part, after the number of the row and the columns that are kept."""

ROW = "row"


class Writer(Protocol):
    """Write rows to a file; a row has all columns, with `None` for what it lacks."""

    def write(self, row: Dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """Write a JSON object a row."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, row: Dict[str, Any]) -> None:
        # What Parquet has and JSON lacks, such as dates, becomes a string.
        self._file.write(json.dumps(row, default=str) + "\n")

    def close(self) -> None:
        self._file.close()


class Csv:
    """Write a table with a header; each label's probability has a column, `probs.LABEL`."""

    def __init__(self, path: Path, kept: Sequence[str], labels: Sequence[str]) -> None:
        self._file: TextIO = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._labels = labels
        columns: List[str] = []
        for name in (ROW, *kept, *ANSWER):
            columns += [f"{PROBS}.{label}" for label in labels] if name == PROBS else [name]
        self._writer.writerow(columns)

    def write(self, row: Dict[str, Any]) -> None:
        cells: List[Any] = []
        for name, value in row.items():
            if name == PROBS:
                cells += [(value or {}).get(label) for label in self._labels]
            else:
                cells.append(as_text(value))
        self._writer.writerow(cells)

    def close(self) -> None:
        self._file.close()


class Parquet:
    """Write a table whose kept columns have the types they had; `probs` is a struct.

    # Parameters

    types : `Mapping[str, Any]`
        The pyarrow types of kept columns; those without one become strings.
    """

    def __init__(
        self, path: Path, kept: Sequence[str], labels: Sequence[str], types: Mapping[str, Any]
    ) -> None:
        parquet = import_parquet(str(path))
        import pyarrow as pa

        self._strings = [name for name in kept if name not in types]
        answer = {
            "label": pa.string(), PROBS: pa.struct([(label, pa.float32()) for label in labels]),
            "confidence": pa.float32(), "exit_layer": pa.int32(), "layers_run": pa.int32(),
            "truncated": pa.bool_(), "error": pa.string(),
        }  # fmt: skip
        self._schema = pa.schema(
            [
                (ROW, pa.int64()),
                *((name, types.get(name, pa.string())) for name in kept),
                *answer.items(),
            ]
        )
        self._table = pa.Table
        self._rows: List[Dict[str, Any]] = []
        self._writer = parquet.ParquetWriter(str(path), self._schema)

    def write(self, row: Dict[str, Any]) -> None:
        for name in self._strings:
            row[name] = as_text(row[name])
        self._rows.append(row)
        if len(self._rows) >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._table.from_pylist(self._rows, self._schema))
            self._rows = []

    def close(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._writer.close)
            self._flush()


def as_text(value: Any) -> Any:
    """Return a value for a column of strings: texts as they are, other values as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value, default=str)


def writer_to(
    path: Path,
    format: str,
    kept: Sequence[str],
    labels: Sequence[str],
    types: Mapping[str, Any],
) -> Writer:
    """Open a file for writing.

    # Parameters

    format : `str`
        `parquet`, `csv` or `jsonl`.
    kept : `Sequence[str]`
        The columns that are taken over from the input.
    labels : `Sequence[str]`
        The model's labels.
    types : `Mapping[str, Any]`
        See `Parquet`.
    """
    if format == "parquet":
        return Parquet(path, kept, labels, types)
    return Csv(path, kept, labels) if format == "csv" else JsonLines(path)
