"""Read delimited text: CSV, TSV and their relatives, with the standard library's parser."""

import csv
from itertools import chain, islice
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from sledgehammer.dataset_readers.files import Location, bad_row, read_lines

DELIMITERS = (",", ";", "\t", "|")
"""What may stand between the fields of a file that does not say."""

SNIFFED_LINES = 50
LONGEST_FIELD = 1 << 30

NumberedLine = Tuple[Location, str]

# The library's limit, 128 KiB, is for files of unknown origin; a long document may exceed it.
csv.field_size_limit(LONGEST_FIELD)


def table_rows(
    path: str, wanted: Sequence[str], delimiter: Optional[str] = None, quoted: bool = True
) -> Iterator[Tuple[Location, Dict[str, Any]]]:
    """Yield the rows of a file whose first row names the columns, each as a dictionary.

    # Parameters

    wanted : `Sequence[str]`
        Columns that the file should have. They help to find the delimiter.
    delimiter : `str`, optional
        What stands between fields; found by looking at the file if `None`.
    quoted : `bool`, optional (default = `True`)
        Whether a field may stand in double quotes, and then hold delimiters and line ends.

    # Raises

    `ConfigurationError` for a malformed row; it names the file and the line.
    """
    lines = read_lines(path)
    first = list(islice(lines, SNIFFED_LINES))
    if delimiter is None:
        delimiter = _delimiter(first, wanted, quoted)
    rows = parsed_rows(path, chain(first, lines), delimiter, quoted)
    location, header = next(rows, (Location(path), []))
    names = [name.strip() for name in header]
    for name in wanted:
        if names.count(name) > 1:
            raise bad_row(location, f"column {name!r} stands there {names.count(name)} times")
    for location, fields in rows:
        if len(fields) != len(names):
            raise bad_row(
                location,
                f"expected {len(names)} fields ({_shown(names)}), got {len(fields)}",
            )
        yield location, dict(zip(names, fields))


def parsed_rows(
    path: str, lines: Iterable[NumberedLine], delimiter: str = ",", quoted: bool = True
) -> Iterator[Tuple[Location, List[str]]]:
    """Yield the fields of each row and where it begins; a quoted field may span lines.

    Rows without a field, that is, empty lines, are skipped.

    # Raises

    `ConfigurationError` for a malformed row.
    """
    reader = _reader((line + "\n" for line in _without_nul(lines)), delimiter, quoted, strict=True)
    while True:
        location = Location(path, reader.line_num + 1)
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = '; if quotes mean nothing in this file: "quoted": false' if quoted else ""
            raise bad_row(location, f"not CSV: {error}{hint}") from error
        if fields:
            yield location, fields


def _reader(lines: Iterable[str], delimiter: str, quoted: bool, strict: bool = False) -> Any:
    quoting: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    return csv.reader(lines, strict=strict, delimiter=delimiter, quoting=quoting)


def _without_nul(lines: Iterable[NumberedLine]) -> Iterator[str]:
    for location, line in lines:
        if "\0" in line:
            raise bad_row(location, "a NUL byte, which is not text (is the file UTF-16?)")
        yield line


def _delimiter(lines: Sequence[NumberedLine], wanted: Sequence[str], quoted: bool) -> str:
    """Return the delimiter with which the header has the most of the wanted columns.

    Of several the one that the standard library's sniffer finds, then the customary one.
    """
    text = [line for _, line in lines]
    candidates = [*_sniffed("\n".join(text)), *DELIMITERS]

    def columns_found(delimiter: str) -> int:
        try:
            header: List[str] = next(_reader(text, delimiter, quoted), [])
        except csv.Error:
            return 0
        return len({name.strip() for name in header} & set(wanted))

    return max(candidates, key=columns_found)


def _sniffed(sample: str) -> List[str]:
    try:
        return [csv.Sniffer().sniff(sample, "".join(DELIMITERS)).delimiter]
    except csv.Error:
        return []


def _shown(names: Sequence[str], most: int = 12) -> str:
    """Return names for an error message."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name[:40] for name in names[:most]) + rest
