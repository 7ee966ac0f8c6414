"""Read texts without labels, for objectives that can learn from them."""

from typing import Any, Dict, Iterator, List, Optional

from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader, Instance
from allennlp.data.fields import LabelField

from sledgehammer.dataset_readers.base import Row, RowInstance, TransformerReader
from sledgehammer.dataset_readers.json_lines import json_rows
from sledgehammer.objectives import UNLABELLED


@DatasetReader.register("sledgehammer_unlabelled")
class UnlabelledReader(TransformerReader):
    """Read JSON lines with texts; labels in them, if any, are ignored.

    Use it for training beside a reader of labelled rows, both within AllenNLP's `interleaving`
    reader (with `"dataset_field_name": "metadata"`); see `self_distillation`.

    # Parameters

    fields : `List[str]`, optional (default = `["text"]`)
        The names of the texts in a line: one name, or two for pairs.
    """

    def __init__(self, fields: Optional[List[str]] = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fields = fields or ["text"]
        if len(self.fields) > 2:
            raise ConfigurationError(f"fields must be one or two names, got {self.fields}")

    def rows(self, path: str) -> Iterator[Row]:
        for row in json_rows(path, self.fields):
            yield Row(row.texts, None)

    def text_to_instance(self, *texts: str) -> Instance:
        """Return an instance with `tokens` and the label that stands for no label."""
        return self._instance(list(texts), None)

    def _row_instance(self, pieces: Dict[str, List[int]], row: Row) -> RowInstance:
        instance = super()._row_instance(pieces, row)
        instance.add_field("label", LabelField(UNLABELLED, skip_indexing=True))
        return instance
