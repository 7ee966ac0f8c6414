"""Make the kinds of changes that `allennlp audit` searches among."""

import sys
from typing import Dict, List, Optional, Sequence

from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.similar_words import similar_words, whole_words
from sledgehammer.analysis.text_changes import Appended, Change, Synonyms, mistyped, words_of
from sledgehammer.dataset_readers.base import Row
from sledgehammer.engine import Engine
from sledgehammer.export.embedding_table import embedding_table
from sledgehammer.model.archives import Opened

TYPOS, SYNONYMS, APPENDED = "typos", "synonyms", "appended"

KINDS = (TYPOS, SYNONYMS, APPENDED)


def changes_of(
    kinds: Optional[Sequence[str]], opened: Opened, path: str, engine: Engine, rows: Sequence[Row]
) -> Dict[str, Change]:
    """Return the changes of each kind, by its name.

    # Parameters

    kinds : `Sequence[str]`, optional
        Some of `KINDS`; if `None`, all, but those that this model does not allow are left out with a
        note.
    opened, path : `Opened`, `str`
        The model, and where it was opened from.
    rows : `Sequence[Row]`
        Where appended words come from.

    # Raises

    `ConfigurationError` if one of `kinds` is impossible.
    """
    wanted = KINDS if kinds is None else tuple(dict.fromkeys(kinds))
    words = sorted({word for row in rows for text in row.texts for word in words_of(text)})
    changes: Dict[str, Change] = {}
    for kind in wanted:
        if kind == TYPOS:
            changes[kind] = mistyped
        elif kind == APPENDED:
            changes[kind] = Appended(words)
        else:
            try:
                changes[kind] = Synonyms(_similar(opened, path, engine, words))
            except ConfigurationError as error:
                if kinds is not None:
                    raise
                print(f"without {SYNONYMS}: {error.message}", file=sys.stderr)
    return changes


def _similar(
    opened: Opened, path: str, engine: Engine, words: Sequence[str]
) -> Dict[str, List[str]]:
    vocabulary = engine.tokenizer.vocabulary()
    table = embedding_table(opened, path)
    pieces = {word: n for word, n in whole_words(vocabulary).items() if n < len(table)}
    similar = similar_words(table, pieces, words)
    if not similar:
        raise ConfigurationError(
            f"no word of the data is a word piece of {path!r} with similar ones beside it"
        )
    return similar
