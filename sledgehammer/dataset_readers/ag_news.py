"""Read AG News (Zhang, Zhao and LeCun, NIPS 2015)."""

from typing import Iterator

from allennlp.data import DatasetReader

from sledgehammer.dataset_readers.base import Row, SingleTextReader
from sledgehammer.dataset_readers.delimited import parsed_rows
from sledgehammer.dataset_readers.files import bad_row, read_lines

CLASSES = ("World", "Sports", "Business", "Sci/Tech")


@DatasetReader.register("sledgehammer_ag_news")
class AgNewsReader(SingleTextReader):
    """Read the official CSV without a header: class index (1 to 4), title, description.

    The text is the title and the description, joined by a space; labels are the class names.
    There is no official validation file: use `train.csv#train`, `train.csv#validation` and
    `validation_size`.

    See `TransformerReader` for the parameters.
    """

    def rows(self, path: str) -> Iterator[Row]:
        for location, columns in parsed_rows(path, read_lines(path)):
            if len(columns) != 3:
                raise bad_row(
                    location,
                    f"expected 3 columns (class index, title, description), got {len(columns)}",
                )
            index, title, description = columns
            if index.strip() not in ("1", "2", "3", "4"):
                raise bad_row(location, f"class index must be 1, 2, 3 or 4, got {index!r}")
            yield Row([f"{title} {description}".strip()], CLASSES[int(index) - 1])
