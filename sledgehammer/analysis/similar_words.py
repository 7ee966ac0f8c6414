"""Find similar words by a model's own embeddings of its word pieces."""

from typing import Dict, Iterable, List, Mapping, Tuple

import numpy as np
from numpy import ndarray

MARKS = ("Ġ", "▁")
"""What byte-level BPE and SentencePiece put before a piece that begins a word. WordPiece marks the
others: those with `##` continue a word."""

MOST = 8
"""A word has at most so many similar ones."""

LEAST_SIMILARITY = 0.4
"""Words with a lower cosine are not called similar."""

LEAST_LETTERS = 4
"""Shorter words are mostly articles, prepositions and the like, whose neighbours break a sentence."""

_AT_ONCE = 256


def whole_words(vocabulary: Mapping[str, int]) -> Dict[str, int]:
    """Return the pieces that are words by themselves, without the tokenizer's mark.

    # Parameters

    vocabulary : `Mapping[str, int]`
        The number of each word piece.

    # Returns

    The number of the piece of each word of at least `LEAST_LETTERS` letters.
    """
    counts = {mark: sum(piece.startswith(mark) for piece in vocabulary) for mark in ("##", *MARKS)}
    commonest = max(counts, key=lambda mark: counts[mark])
    mark = commonest if commonest in MARKS else ""
    words = {
        piece.removeprefix(mark): number
        for piece, number in vocabulary.items()
        if piece.startswith(mark)
    }
    return {
        word: number
        for word, number in words.items()
        # Byte-level BPE writes other scripts in letters that stand for bytes.
        if len(word) >= LEAST_LETTERS and word.isalpha() and (mark != "Ġ" or word.isascii())
    }


def similar_words(
    table: ndarray, words: Mapping[str, int], wanted: Iterable[str]
) -> Dict[str, List[str]]:
    """Return the most similar words of each wanted word that has any, the most similar first.

    Similarity is the cosine of the embeddings, after their mean has been taken off: what all
    words share says nothing (Mu and Viswanath, "All-but-the-Top", 2018). Opposites are used in
    like sentences, and are often among the similar words.

    # Parameters

    table : `ndarray`
        Shape (pieces, size): the embedding of each word piece.
    words : `Mapping[str, int]`
        See `whole_words`.
    wanted : `Iterable[str]`
        Those that are no word of the vocabulary, as they stand or in lower case, have no entry.
    """
    names = sorted(words)
    vectors = _unit_vectors(table[[words[name] for name in names]]) if names else table[:0]
    places = {name: i for i, name in enumerate(names)}
    known = sorted({w if w in places else w.lower() for w in wanted} & set(places))
    similar: Dict[str, List[str]] = {}
    for first in range(0, len(known), _AT_ONCE):
        some = known[first : first + _AT_ONCE]
        cosines = vectors[[places[word] for word in some]] @ vectors.T
        for word, row in zip(some, cosines):
            if others := _nearest(word, row, names):
                similar[word] = others
    return similar


def _unit_vectors(table: ndarray) -> ndarray:
    """Return the rows without their mean, at length 1: (rows, size), float64."""
    centred = table.astype(np.float64) - table.mean(axis=0, dtype=np.float64)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)


def _nearest(word: str, cosines: ndarray, names: List[str]) -> List[str]:
    candidates: List[Tuple[float, str]] = [
        (-float(cosines[i]), names[i])
        for i in np.flatnonzero(cosines >= LEAST_SIMILARITY)
        if names[i].lower() != word.lower()
    ]
    return [name for _, name in sorted(candidates)[:MOST]]
