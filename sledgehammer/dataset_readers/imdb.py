"""Read IMDB reviews (Maas et al., ACL 2011)."""

import re
from typing import List, Tuple

from allennlp.data import DatasetReader

from sledgehammer.dataset_readers.base import Row, SingleTextReader
from sledgehammer.dataset_readers.files import read_text_tree

LABELS = ("neg", "pos")


@DatasetReader.register("sledgehammer_imdb")
class ImdbReader(SingleTextReader):
    """Read the official tree: a folder with `pos/` and `neg/`, where each `.txt` file is a review.

    The path is such a folder (`aclImdb/train`), or one in a tar archive, which is read without
    being unpacked (`aclImdb_v1.tar.gz!aclImdb/train`; the archive may be a URL). Rows are ordered
    by review number and the classes take turns, so that the first N rows are a balanced sample.
    There is no official validation set: use `...!aclImdb/train#train`, `#validation` and
    `validation_size`.

    See `TransformerReader` for the parameters.
    """

    def rows(self, path: str) -> List[Row]:
        texts = read_text_tree(path, LABELS)
        return [Row([text], name.split("/")[0]) for name, text in sorted(texts, key=_order)]


def _order(named_text: Tuple[str, str]) -> Tuple[int, str]:
    """Return the key to sort by: (12, `pos/12_8`) for `pos/12_8`."""
    name = named_text[0]
    number = re.match(r"\d+", name.split("/")[1])
    return (int(number.group()) if number else -1, name)
