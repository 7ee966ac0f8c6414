"""Read the Stanford Sentiment Treebank (Socher et al., EMNLP 2013)."""

from typing import Any, Iterator, Optional

from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader
from nltk.tree import Tree

from sledgehammer.dataset_readers.base import Row, SingleTextReader
from sledgehammer.dataset_readers.files import Location, bad_row, read_lines

LABELS = {
    "2-class": ("negative", "negative", None, "positive", "positive"),
    "5-class": ("very negative", "negative", "neutral", "positive", "very positive"),
}
"""The label of each score from 0 to 4; rows whose label is `None` are left out."""

_UNESCAPED = {"-LRB-": "(", "-RRB-": ")", "\\/": "/", "\\*": "*"}


@DatasetReader.register("sledgehammer_sst")
class SstReader(SingleTextReader):
    """Read PTB-style trees, one on each line; nodes have scores from 0 (very negative) to 4.

    # Parameters

    granularity : `str`, optional (default = `"2-class"`)
        `2-class` (without neutral roots, as in the paper) or `5-class`; AllenNLP's own reader of
        the dataset has the same names.
    use_phrases : `bool`, optional (default = `False`)
        Read every node of a tree as a row, not only its root. This is for training alone: give
        such a config a `validation_dataset_reader` without it.

    See `TransformerReader` for the others.
    """

    def __init__(
        self, granularity: str = "2-class", use_phrases: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if granularity not in LABELS:
            raise ConfigurationError(
                f"granularity must be one of {', '.join(LABELS)}, got {granularity!r}"
            )
        self._labels = LABELS[granularity]
        self._use_phrases = use_phrases

    def rows(self, path: str) -> Iterator[Row]:
        for location, line in read_lines(path):
            if not line.strip():
                continue
            tree = _parse(line, location)
            for node in tree.subtrees() if self._use_phrases else [tree]:
                label = self._label(node, location)
                if label is not None:
                    words = [_UNESCAPED.get(word, word) for word in node.leaves()]
                    yield Row([" ".join(words)], label)

    def _label(self, node: Tree, location: Location) -> Optional[str]:
        score = node.label()
        if score not in ("0", "1", "2", "3", "4"):
            raise bad_row(location, f"a node's label must be 0, 1, 2, 3 or 4, got {score!r}")
        return self._labels[int(score)]


def _parse(line: str, location: Location) -> Tree:
    try:
        return Tree.fromstring(line)
    except RecursionError as error:
        raise bad_row(location, "brackets are nested too deeply") from error
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise bad_row(location, f"not a tree with balanced brackets: {reason}") from error
