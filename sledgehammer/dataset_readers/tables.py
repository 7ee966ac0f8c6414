"""Read your own data: tables whose columns are named in the config."""

import logging
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple, Union

from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader, Instance

from sledgehammer.dataset_readers.base import Row, TransformerReader
from sledgehammer.dataset_readers.columnar import hub_rows, parquet_rows
from sledgehammer.dataset_readers.columns import Columns, KeyedRow
from sledgehammer.dataset_readers.delimited import table_rows
from sledgehammer.dataset_readers.files import Location, bad_row, read_json_lines
from sledgehammer.dataset_readers.holdout import (
    PARTS,
    checked_shares,
    dated_places,
    hashed_place,
    part_at,
    split_path,
)

logger = logging.getLogger(__name__)

Records = Iterator[Tuple[Location, Dict[str, Any]]]

EXTENSIONS = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
"""The format of a file, by how its name ends."""

FORMATS = ("csv", "tsv", "jsonl", "parquet", "hf")
"""The formats of tables; `hf` is a dataset of the library `datasets`."""


def format_of(path: str, default: str) -> str:
    """Return the format that the ending of a path says, or `default`."""
    return EXTENSIONS.get(Path(split_path(path)[0]).suffix.lower(), default)


def records_of(
    path: str,
    format: str,
    wanted: Sequence[str],
    delimiter: Optional[str] = None,
    quoted: bool = True,
    config: Optional[str] = None,
) -> Records:
    """Return what stands in each row of a table in one of `FORMATS`, by column."""
    if format == "jsonl":
        return read_json_lines(path)
    if format == "parquet":
        return parquet_rows(path, wanted)
    if format == "hf":
        return hub_rows(path, wanted, config)
    return table_rows(path, wanted, "\t" if format == "tsv" else delimiter, quoted)


class TableReader(TransformerReader):
    """Read a table with a text, or two, and a label in each row: the base of readers by format.

    A file whose name ends in `.csv`, `.tsv`, `.jsonl` or `.parquet` is read as such, whichever of
    these readers it is given to. `#train`, `#validation`, `#calibration` and `#test` behind a path
    read a part of its rows, according to `shares`. No text is in two parts: a text that stands in
    an earlier one is left out of the others.

    `TransformerReader` tells of the parameters that all readers have.

    # Parameters

    text : `Union[str, List[str]]`, optional (default = `"text"`)
        The column with the text. Several are joined by a space, and empty ones left out.
    second_text : `str`, optional
        The column with the second text, if rows are pairs.
    label : `str`, optional (default = `"label"`)
        The column with the class: a text, a whole number or true/false.
    id : `str`, optional
        The column that says which row this is; it becomes the row's metadata.
    label_map : `Dict[str, Optional[str]]`, optional
        What each label is to be called; `null` leaves its rows out, `""` stands for no label.
    shares : `Dict[str, float]`, optional
        The share of the rows of each part, such as `{"validation": 0.1, "test": 0.2}`; `train` has
        the rest, or less if it is named.
    group : `str`, optional
        A column whose value decides the part, in place of the text: the rows of an author, a
        customer or a document stay together.
    time : `str`, optional
        A column with dates (ISO 8601) or numbers: the latest rows are the test, those before it
        the calibration, and so on back to the training rows.
    delimiter : `str`, optional
        Of CSV; found by looking at the file if it is not given.
    quoted : `bool`, optional (default = `True`)
        Whether fields of CSV and TSV may stand in double quotes.
    config : `str`, optional
        Of a dataset on the hub: which configuration.

    # Raises

    `ConfigurationError` for arguments that contradict each other.
    """

    format = "csv"
    """How a file is read whose name does not say it."""

    def __init__(
        self,
        text: Union[str, List[str]] = "text",
        second_text: Optional[str] = None,
        label: str = "label",
        id: Optional[str] = None,
        label_map: Optional[Dict[str, Optional[str]]] = None,
        shares: Optional[Dict[str, float]] = None,
        group: Optional[str] = None,
        time: Optional[str] = None,
        delimiter: Optional[str] = None,
        quoted: bool = True,
        config: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if group is not None and time is not None:
            raise ConfigurationError("rows are divided by group or by time, not by both")
        if shares is not None and self._validation_size is not None:
            raise ConfigurationError("give shares or a validation_size, not both")
        if delimiter is not None and len(delimiter) != 1:
            raise ConfigurationError(f"delimiter must be one character, got {delimiter!r}")
        self.columns = Columns(text, label, second_text, id, group or time, label_map)
        self.fields = self.columns.fields
        self.shares = None if shares is None else checked_shares(shares)
        self._by_time = time is not None
        self._delimiter, self._quoted, self._config = delimiter, quoted, config

    def rows(self, path: str) -> Iterator[Row]:
        return (keyed.row for keyed in self._keyed_rows(path))

    def selected_rows(
        self, file_path: str, format: Optional[str] = None, labelled: bool = True
    ) -> Iterator[Row]:
        """Return the rows at a path, or a part of them.

        # Parameters

        format : `str`, optional
            One of `FORMATS`; the path says it if `None`.
        labelled : `bool`, optional (default = `True`)
            Whether every row must have a label.
        """
        path, part = split_path(str(file_path))
        keyed = self._keyed_rows(path, format, labelled)
        if not part:
            return (one.row for one in keyed)
        if self.shares is None:
            return iter(self._select([one.row for one in keyed], path, part))
        return iter(self._part(list(keyed), path, part))

    def text_to_instance(self, *texts: str, label: Optional[str] = None) -> Instance:
        """Return an instance with `tokens` and, if it is known, `label`."""
        return self._instance(list(texts), label)

    def _keyed_rows(
        self, path: str, format: Optional[str] = None, labelled: bool = True
    ) -> Iterator[KeyedRow]:
        records = records_of(
            path, format or format_of(path, self.format), self.columns.wanted,
            self._delimiter, self._quoted, self._config,
        )  # fmt: skip
        yield from self.columns.rows(records, labelled)
        if self.columns.left_out:
            logger.info("%s: label_map left out %d rows", path, self.columns.left_out)

    def _part(self, rows: List[KeyedRow], path: str, part: str) -> List[Row]:
        """Return the rows of one part.

        # Raises

        `ConfigurationError` if there are none.
        """
        assert self.shares is not None
        if part not in self.shares:
            raise ConfigurationError(f"{path}#{part}: shares names no {part}")
        shares = self.shares
        parts = [part_at(place, shares) for place in self._places(rows)]
        texts = ["\n".join(keyed.row.texts) for keyed in rows]
        earlier: Set[str] = set()
        for other in PARTS[: PARTS.index(part)]:
            earlier.update(text for text, of in zip(texts, parts) if of == other)
        own = [(keyed.row, text) for keyed, text, of in zip(rows, texts, parts) if of == part]
        found = [row for row, text in own if text not in earlier]
        if len(found) < len(own):
            logger.info(
                "%s#%s: left out %d rows whose text is in an earlier part", path, part,
                len(own) - len(found),
            )  # fmt: skip
        if not found:
            raise ConfigurationError(
                f"{path}#{part} has no rows: its share of {len(rows)} rows is {shares[part]:g}"
            )
        return found

    def _places(self, rows: Sequence[KeyedRow]) -> List[float]:
        """Return where each row stands between the test, at 0, and the end of training, at 1."""
        if self._by_time:
            try:
                return dated_places([keyed.key for keyed in rows])
            except ValueError as error:
                bad = rows[error.args[0]]
                raise bad_row(
                    bad.location,
                    f"column {self.columns.key!r} must be dates (2024-05-31) or numbers, the same "
                    f"in all rows, got {str(bad.key)[:40]!r}",
                ) from error
        if self.columns.key is not None:
            return [hashed_place(str(keyed.key)) for keyed in rows]
        return [hashed_place("\n".join(keyed.row.texts)) for keyed in rows]


@DatasetReader.register("sledgehammer_csv")
class CsvReader(TableReader):
    """Read CSV whose first row names the columns; see `TableReader`.

    Fields in double quotes may hold delimiters and line ends. The delimiter may be `,`, `;`, a tab
    or `|`. A byte order mark is skipped.
    """


@DatasetReader.register("sledgehammer_tsv")
class TsvReader(TableReader):
    """Read tab-separated values whose first row names the columns; see `TableReader`."""

    format = "tsv"


@DatasetReader.register("sledgehammer_jsonl")
class JsonLinesReader(TableReader):
    """Read a JSON object from each line; see `TableReader`. Other fields may be there too."""

    format = "jsonl"


@DatasetReader.register("sledgehammer_parquet")
class ParquetReader(TableReader):
    """Read Parquet files, where pyarrow is installed; see `TableReader`."""

    format = "parquet"


@DatasetReader.register("sledgehammer_hf")
class HubReader(TableReader):
    """Read datasets of the library `datasets`, where it is installed; see `TableReader`.

    The path is a folder that `save_to_disk` wrote, or the name of a dataset on the hub;
    `PATH!SPLIT` names one of several splits. Class labels are read by their names.
    """

    format = "hf"


def column_rows(
    path: str, format: str, fields: Sequence[str], labelled: bool = True
) -> Iterator[Row]:
    """Yield the rows of a table with the columns `fields` and `label`.

    This is for archives whose own reader is for other files.
    """
    columns = Columns(fields[0], "label", second_text=fields[1] if len(fields) > 1 else None)
    records = records_of(path, format, columns.wanted)
    return (keyed.row for keyed in columns.rows(records, labelled))
