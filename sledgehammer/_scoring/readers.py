"""Read the rows of Parquet, CSV and JSON lines, bad ones among them: a row in is a row out."""

import bz2
import contextlib
import csv
import gzip
import io
import lzma
import zlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Callable, Dict, Iterator, List, Optional, Sequence, TextIO

from sledgehammer._scoring.places import Folder, ScoringError
from sledgehammer.support.jsonl import described, is_text, parse_line

FORMATS = {
    ".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
}  # fmt: skip
"""The formats by the endings of names; names of text may also end in those of `_OPENERS`."""

_OPENERS: Dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

ROWS = 1024
"""Rows of a Parquet file that are read at a time."""

_LONGEST_CELL = (1 << 31) - 1


@dataclass(frozen=True)
class Row:
    """Hold the values of a row by column, and what is wrong with the row as a whole, if anything."""

    values: Dict[str, Any]
    problem: Optional[str] = None

    def text_problem(self, columns: Sequence[str]) -> Optional[str]:
        """Return why the row can't be answered, or `None`."""
        if self.problem:
            return self.problem
        return next(filter(None, (_problem_of(self.values, column) for column in columns)), None)


def _problem_of(values: Dict[str, Any], column: str) -> Optional[str]:
    if column not in values:
        return f"missing field {column!r}"
    value = values[column]
    if value is None:
        return f"{column!r} is null"
    if not isinstance(value, str):
        return f"{column!r} must be a text, got {described(value)}"
    if not is_text(value):
        return f"{column!r} is not UTF-8 text"
    return None if value.strip() else f"{column!r} is empty"


@dataclass(frozen=True)
class Shard:
    """Hold an opened input file.

    # Parameters

    rows : `Iterator[Row]`
    columns : `List[str]`, optional
        The names of its columns; `None` if each row has its own.
    types : `Dict[str, Any]`, optional
        The pyarrow types of columns, if it is Parquet.
    """

    rows: Iterator[Row]
    columns: Optional[List[str]] = None
    types: Dict[str, Any] = field(default_factory=dict)


def format_of(name: str) -> Optional[str]:
    """Return the format of a file by the ending of its name, or `None`."""
    suffixes = PurePosixPath(name).suffixes
    if suffixes and suffixes[-1] in _OPENERS:
        suffixes.pop()
        return FORMATS.get(suffixes[-1]) if suffixes and suffixes[-1] != ".parquet" else None
    return FORMATS.get(suffixes[-1]) if suffixes else None


@contextlib.contextmanager
def reading(folder: Folder, name: str, needed: Sequence[str], optional: str) -> Iterator[Shard]:
    """Open an input file.

    # Parameters

    needed : `Sequence[str]`
        Columns to read, which a table must have. In JSON lines each row may lack them.
    optional : `str`
        A column to read if there is one.

    # Raises

    `ScoringError` if the file is damaged or lacks a column, there and while rows are read.
    """
    format = format_of(name)
    shown = f"{folder.location.rstrip('/')}/{name}"
    with _damage_of(shown), folder.open(name) as binary:
        if format == "parquet":
            yield _parquet(binary, shown, needed, optional)
        else:
            with _text_of(binary, name, newline="" if format == "csv" else None) as text:
                if format == "csv":
                    yield _csv(text, shown, needed, ".tsv" in PurePosixPath(name).suffixes)
                else:
                    yield Shard(Row(*parse_line(line)) for line in text)


@contextlib.contextmanager
def _damage_of(shown: str) -> Iterator[None]:
    """Let errors of decompression name the file."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise ScoringError(f"{shown} is damaged: {error}") from error


def _text_of(binary: BinaryIO, name: str, newline: Optional[str]) -> TextIO:
    """Open text so that bytes that are not UTF-8 become lone surrogates, which mark bad rows."""
    opener = _OPENERS.get(PurePosixPath(name).suffix)
    source = opener(binary, "rb") if opener else binary
    return io.TextIOWrapper(source, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _csv(text: TextIO, shown: str, needed: Sequence[str], is_tabbed: bool) -> Shard:
    csv.field_size_limit(_LONGEST_CELL)
    lines = csv.reader(text, delimiter="\t" if is_tabbed else ",")
    try:
        header = next(lines, [])
    except csv.Error as error:
        raise ScoringError(f"{shown}: the header can't be read: {error}") from None
    _check(header, needed, shown)
    return Shard(_csv_rows(lines, header), header)


def _csv_rows(lines: Iterator[List[str]], header: List[str]) -> Iterator[Row]:
    while True:
        try:
            cells = next(lines, None)
        except csv.Error as error:
            yield Row({}, f"not CSV: {error}")
            continue
        if cells is None:
            return
        if len(cells) == len(header):
            yield Row(dict(zip(header, cells)))
        elif cells:
            yield Row(dict(zip(header, cells)), f"expected {len(header)} cells, got {len(cells)}")
        else:
            yield Row({}, "blank line")


def _parquet(binary: BinaryIO, shown: str, needed: Sequence[str], optional: str) -> Shard:
    parquet = import_parquet(shown)
    import pyarrow

    try:
        file = parquet.ParquetFile(binary)
    except pyarrow.ArrowInvalid as error:
        raise ScoringError(f"{shown} is damaged: {str(error).splitlines()[0]}") from error
    schema = file.schema_arrow
    _check(schema.names, needed, shown)
    columns = [name for name in schema.names if name in needed or name == optional]
    types = {name: schema.field(name).type for name in columns}

    def rows() -> Iterator[Row]:
        try:
            for batch in file.iter_batches(ROWS, columns=columns, use_threads=False):
                yield from map(Row, batch.to_pylist())
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ScoringError(f"{shown} is damaged: {str(error).splitlines()[0]}") from error

    return Shard(rows(), columns, types)


def import_parquet(shown: str) -> Any:
    """Return `pyarrow.parquet`.

    # Raises

    `ScoringError` if it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise ScoringError(f"{shown}: Parquet needs pyarrow: pip install pyarrow") from None
    return pyarrow.parquet


def _check(header: Sequence[str], needed: Sequence[str], shown: str) -> None:
    for column in needed:
        if header.count(column) != 1:
            wrong = "no column" if column not in header else "several columns"
            there = ", ".join(header)[:200] or "none"
            raise ScoringError(f"{shown} has {wrong} {column!r}; the columns are: {there}")
