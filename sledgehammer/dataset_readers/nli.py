"""Read SNLI (Bowman et al., EMNLP 2015) and MultiNLI (Williams et al., NAACL 2018)."""

import logging
from typing import Any, Dict, Iterator, Optional

from allennlp.data import DatasetReader, Instance
from allennlp_models.pair_classification.dataset_readers.snli import maybe_collapse_label

from sledgehammer.dataset_readers.base import Row, TextPairReader
from sledgehammer.dataset_readers.files import Location, bad_row, read_json_lines
from sledgehammer.support.jsonl import text_of

logger = logging.getLogger(__name__)

LABELS = ("entailment", "neutral", "contradiction")
NO_GOLD_LABEL = "-"


@DatasetReader.register("sledgehammer_snli")
class SnliReader(TextPairReader):
    """Read the official JSON lines: `gold_label`, `sentence1` (premise), `sentence2` (hypothesis).

    Rows on which the annotators did not agree (label `-`) are skipped; their number is logged.

    # Parameters

    collapse_labels : `bool`, optional (default = `False`)
        Read neutral and contradiction as `non-entailment`, as AllenNLP's own reader does.

    See `TransformerReader` for the others.
    """

    def __init__(self, collapse_labels: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._collapse_labels = collapse_labels

    def rows(self, path: str) -> Iterator[Row]:
        skipped = 0
        for location, row in read_json_lines(path):
            label = _string(row, "gold_label", location)
            premise = _string(row, "sentence1", location)
            hypothesis = _string(row, "sentence2", location)
            if label == NO_GOLD_LABEL:
                skipped += 1
                continue
            if label not in LABELS:
                raise bad_row(
                    location, f"gold_label must be one of {', '.join(LABELS)} or -, got {label!r}"
                )
            label = maybe_collapse_label(label, self._collapse_labels)
            yield Row([premise, hypothesis], label, self._metadata(row))
        if skipped:
            logger.info("%s: skipped %d rows without a gold label (-)", path, skipped)

    def _metadata(self, row: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        return None


@DatasetReader.register("sledgehammer_multinli")
class MultiNliReader(SnliReader):
    """Read MultiNLI, like SNLI; `metadata` keeps each row's `genre` (`None` if it has none).

    See `SnliReader` for the parameters.
    """

    def _metadata(self, row: Dict[str, Any]) -> Dict[str, Any]:
        return {"genre": row.get("genre")}

    def text_to_instance(
        self,
        premise: str,
        hypothesis: str,
        label: Optional[str] = None,
        genre: Optional[str] = None,
    ) -> Instance:
        return self._instance([premise, hypothesis], label, {"genre": genre})


def _string(row: Dict[str, Any], field: str, location: Location) -> str:
    if field not in row:
        raise bad_row(location, f"no field {field!r}")
    try:
        return text_of(row, field)
    except ValueError as error:
        raise bad_row(location, str(error)) from error
