"""Texts as counts of hashed n-grams of word pieces: integers only, so that batches are exact."""

from dataclasses import dataclass
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
from numpy import ndarray

Pieces = Sequence[Sequence[int]]
"""The word pieces of a row: those of its text, or of both texts of a pair. They are those of the
whole texts, without special tokens."""

MAX_NGRAM = 8
MIN_BITS, MAX_BITS = 8, 24

_MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: multiplying by it spreads what is alike over the upper bits."""
_CHAIN = np.uint64(0xD6E8FEB86659FD93)
_FEW = 16
"""Counts and lengths up to this are told apart one by one, larger ones by powers of two."""

# What kinds of features start their hashes with, so that they do not meet.
_SHARED, _NEW, _NEW_BIGRAM, _LENGTHS, _SHARE, _NEW_OF = (
    np.uint64(salt << 40) for salt in range(1, 7)
)


class Found(NamedTuple):
    """The features of some rows, sorted by row and bucket; each pair of them occurs once.

    # Parameters

    row, bucket, times : `ndarray`
        Shape (features,), int64: the position of the row, the hash of the feature, and how often
        it occurs in the row.
    """

    row: ndarray
    bucket: ndarray
    times: ndarray


class _Tokens(NamedTuple):
    """Word pieces of one text a row, end to end: ids and the rows that they belong to."""

    ids: ndarray
    row: ndarray


@dataclass(frozen=True)
class FeatureSpace:
    """Which features a text has, and how many buckets they are hashed into.

    The features of a text are its n-grams. Those of a pair are the n-grams of its second text
    (the hypothesis); which of its word pieces the first text (the premise) has, and which not;
    those of its bigrams that the first text does not have; how many pieces are new, of how many,
    and how long both texts are.

    # Parameters

    texts : `int`, optional (default = `1`)
        How many texts a row has: 1, or 2 for pairs.
    ngrams : `int`, optional (default = `2`)
        The longest n-grams, from 1 to 8 word pieces.
    bits : `int`, optional (default = `20`)
        There are 2 to this power buckets; 8 to 24.

    # Raises

    `ValueError` for a value out of its range.
    """

    texts: int = 1
    ngrams: int = 2
    bits: int = 20

    def __post_init__(self) -> None:
        ranges = {"texts": (1, 2), "ngrams": (1, MAX_NGRAM), "bits": (MIN_BITS, MAX_BITS)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(
                    f"{name} must be a whole number between {low} and {high}, got {value!r}"
                )

    @property
    def buckets(self) -> int:
        """How many buckets the features are hashed into."""
        return 1 << self.bits

    def features(self, rows: Sequence[Pieces]) -> Found:
        """Return the features of some rows; a row's own are the same in every batch.

        # Raises

        `ValueError` for a row with another number of texts than `texts`.
        """
        if not rows:
            return Found(*(np.zeros(0, np.int64) for _ in Found._fields))
        for row in rows:
            if len(row) != self.texts:
                raise ValueError(
                    f"a row has {len(row)} texts, the lexical model takes {self.texts}"
                )
        text = _end_to_end([row[-1] for row in rows])
        parts = _ngrams(text, self.ngrams)
        if self.texts == 2:
            parts += _pair_features(_end_to_end([row[0] for row in rows]), text, len(rows))
        return self._counted(parts, len(rows))

    def _counted(self, parts: List[Tuple[ndarray, ndarray]], rows: int) -> Found:
        hashes = np.concatenate([hashes for hashes, _ in parts])
        hashes *= _MIX
        hashes >>= np.uint64(64 - self.bits)
        keys = hashes.view(np.int64)
        if rows > 1:
            keys += np.concatenate([row for _, row in parts]) << self.bits
        keys.sort()
        ends = np.flatnonzero(keys[1:] != keys[:-1])
        first = np.empty(min(len(keys), len(ends) + 1), np.int64)  # where runs of equal keys begin
        first[:1] = 0
        np.add(ends, 1, out=first[1:])
        count = np.empty_like(first)
        np.subtract(first[1:], first[:-1], out=count[:-1])
        count[-1:] = len(keys) - first[-1:]
        keys = keys[first]
        if rows == 1:
            return Found(np.zeros(len(keys), np.int64), keys, count)
        return Found(keys >> self.bits, keys & (self.buckets - 1), count)


def _end_to_end(texts: Sequence[Sequence[int]]) -> _Tokens:
    if len(texts) == 1:
        ids = np.asarray(texts[0], np.int64)
        return _Tokens(ids, np.zeros(len(ids), np.int64))
    ids = np.concatenate([np.asarray(text, np.int64) for text in texts])
    return _Tokens(ids, np.repeat(np.arange(len(texts)), [len(text) for text in texts]))


def _ngrams(tokens: _Tokens, longest: int) -> List[Tuple[ndarray, ndarray]]:
    """Hashes of all n-grams up to a length, and their rows."""
    ids = tokens.ids.view(np.uint64) + np.uint64(1)
    hashes = ids
    parts = [(hashes, tokens.row)]
    several = len(tokens.row) > 0 and tokens.row[-1] != tokens.row[0]
    for n in range(2, min(longest, len(ids)) + 1):
        hashes = (hashes[:-1] * _CHAIN) ^ ids[n - 1 :]
        row = tokens.row[n - 1 :]
        if several:
            within = row == tokens.row[: len(row)]
            parts.append((hashes[within], row[within]))
        else:
            parts.append((hashes, row))
    return parts


def _pair_features(first: _Tokens, second: _Tokens, rows: int) -> List[Tuple[ndarray, ndarray]]:
    """Hashes of what the second text of a pair has to do with the first, and their rows."""
    shared = _shared(first.ids, first.row, second.ids, second.row)
    ids = second.ids.view(np.uint64)
    parts = [(ids + np.where(shared, _SHARED, _NEW), second.row)]
    bigrams, bigram_row = _bigrams(second)
    new_bigram = ~_shared(*_bigrams(first), bigrams, bigram_row)
    bigram_hashes = bigrams[new_bigram].view(np.uint64) * _CHAIN + _NEW_BIGRAM
    parts.append((bigram_hashes, bigram_row[new_bigram]))
    every = np.arange(rows)
    measures = [
        np.bincount(second.row[~shared], minlength=rows),
        np.bincount(bigram_row[new_bigram], minlength=rows),
        np.bincount(second.row, minlength=rows),
        np.bincount(first.row, minlength=rows),
    ]
    for kind, measure in enumerate(measures):
        parts.append((_steps(measure) + (_LENGTHS + np.uint64(kind << 20)), every))
    new, _, length, _ = measures
    share = 10 * new // np.maximum(length, 1)
    parts.append((share.astype(np.uint64) + _SHARE, every))
    parts.append((_steps(new) * np.uint64(1 << 10) + _steps(length) + _NEW_OF, every))
    return parts


def _bigrams(tokens: _Tokens) -> Tuple[ndarray, ndarray]:
    within = tokens.row[1:] == tokens.row[:-1]
    pairs = (tokens.ids[:-1] << 31) + tokens.ids[1:]
    return pairs[within], tokens.row[1:][within]


def _shared(known: ndarray, known_row: ndarray, asked: ndarray, asked_row: ndarray) -> ndarray:
    """Tell which of the asked values are among the known ones of the same row: (asked,), bool."""
    # Both values and rows are made small numbers, so that one number holds both.
    values, index = np.unique(np.concatenate([known, asked]), return_inverse=True)
    index = index.reshape(-1)
    keys = np.concatenate([known_row, asked_row]) * len(values) + index
    return np.isin(keys[len(known) :], keys[: len(known)])


def _steps(measure: ndarray) -> ndarray:
    """Small numbers as they are, larger ones by powers of two: uint64."""
    large = _FEW + np.floor(np.log2(np.maximum(measure, 1) / _FEW))
    return np.where(measure <= _FEW, measure, large + 1).astype(np.uint64)
