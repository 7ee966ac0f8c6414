"""Count hashed n-grams of word pieces, in integers, so that batches change nothing."""

from dataclasses import dataclass
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
from numpy import ndarray

Pieces = Sequence[Sequence[int]]
"""The word pieces of a row: a list for its text, or for each text of a pair. They belong to the
whole text, which is not truncated, and there are no special tokens."""

MAX_NGRAM = 8
MIN_BITS, MAX_BITS = 8, 24

_MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: multiplying by it spreads similar numbers over the upper bits."""
_CHAIN = np.uint64(0xD6E8FEB86659FD93)
_FEW = 16
"""Each count or length up to this has a feature of its own; larger ones share one up to the next
power of two."""

# Added to the hashes of each kind of feature, so that different kinds do not collide.
_SHARED, _NEW, _NEW_BIGRAM, _LENGTHS, _SHARE, _NEW_OF = (
    np.uint64(salt << 40) for salt in range(1, 7)
)


class Features(NamedTuple):
    """Hold the features of some rows, sorted by row and bucket; each such pair occurs once.

    # Parameters

    row, bucket, times : `ndarray`
        Shape (features,), int64: the position of a row, the bucket of a feature, and how often the
        row has it.
    """

    row: ndarray
    bucket: ndarray
    times: ndarray


class _Tokens(NamedTuple):
    """Hold the word pieces of one text of each row, end to end: their ids and their rows."""

    ids: ndarray
    row: ndarray


@dataclass(frozen=True)
class FeatureSpace:
    """Turn rows into features, hashed into buckets.

    The features of a text are its n-grams. Those of a pair are the n-grams of its second text
    (the hypothesis); which of its word pieces the first text (the premise) has, and which not;
    which of its bigrams the first text does not have; how many of its pieces are new; and how
    long both texts are.

    # Parameters

    texts : `int`, optional (default = `1`)
        How many texts a row has: 1, or 2 for pairs.
    ngrams : `int`, optional (default = `2`)
        The length of the longest n-grams, from 1 to 8 word pieces.
    bits : `int`, optional (default = `20`)
        There are 2^bits buckets; from 8 to 24.

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
        """Return how many buckets the features are hashed into."""
        return 1 << self.bits

    def features(self, rows: Sequence[Pieces]) -> Features:
        """Return the features of some rows; those of each row are the same in every batch.

        # Raises

        `ValueError` if the number of texts in a row is not `texts`.
        """
        if not rows:
            return Features(*(np.zeros(0, np.int64) for _ in Features._fields))
        for row in rows:
            if len(row) != self.texts:
                raise ValueError(
                    f"a row has {len(row)} texts, but the lexical model takes {self.texts}"
                )
        text = _end_to_end([row[-1] for row in rows])
        parts = _ngrams(text, self.ngrams)
        if self.texts == 2:
            parts += _pair_features(_end_to_end([row[0] for row in rows]), text, len(rows))
        return self._counted(parts, len(rows))

    def _counted(self, parts: List[Tuple[ndarray, ndarray]], rows: int) -> Features:
        """Count how often each row has each bucket; `parts` are hashes and their rows."""
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
            return Features(np.zeros(len(keys), np.int64), keys, count)
        return Features(keys >> self.bits, keys & (self.buckets - 1), count)


def _end_to_end(texts: Sequence[Sequence[int]]) -> _Tokens:
    if len(texts) == 1:
        ids = np.asarray(texts[0], np.int64)
        return _Tokens(ids, np.zeros(len(ids), np.int64))
    ids = np.concatenate([np.asarray(text, np.int64) for text in texts])
    return _Tokens(ids, np.repeat(np.arange(len(texts)), [len(text) for text in texts]))


def _ngrams(tokens: _Tokens, longest: int) -> List[Tuple[ndarray, ndarray]]:
    """Return the hashes of all n-grams up to a length, and their rows."""
    ids = tokens.ids.view(np.uint64) + np.uint64(1)
    hashes = ids
    parts = [(hashes, tokens.row)]
    several_rows = len(tokens.row) > 0 and tokens.row[-1] != tokens.row[0]
    for n in range(2, min(longest, len(ids)) + 1):
        hashes = (hashes[:-1] * _CHAIN) ^ ids[n - 1 :]
        row = tokens.row[n - 1 :]
        if several_rows:
            within_row = row == tokens.row[: len(row)]
            parts.append((hashes[within_row], row[within_row]))
        else:
            parts.append((hashes, row))
    return parts


def _pair_features(first: _Tokens, second: _Tokens, rows: int) -> List[Tuple[ndarray, ndarray]]:
    """Return the hashes of how the second texts of pairs relate to the first, and their rows."""
    shared = _shared(first.ids, first.row, second.ids, second.row)
    ids = second.ids.view(np.uint64)
    parts = [(ids + np.where(shared, _SHARED, _NEW), second.row)]
    bigrams, bigram_row = _bigrams(second)
    new_bigram = ~_shared(*_bigrams(first), bigrams, bigram_row)
    bigram_hashes = bigrams[new_bigram].view(np.uint64) * _CHAIN + _NEW_BIGRAM
    parts.append((bigram_hashes, bigram_row[new_bigram]))
    each_row = np.arange(rows)
    measures = [
        np.bincount(second.row[~shared], minlength=rows),
        np.bincount(bigram_row[new_bigram], minlength=rows),
        np.bincount(second.row, minlength=rows),
        np.bincount(first.row, minlength=rows),
    ]
    for kind, measure in enumerate(measures):
        parts.append((_steps(measure) + (_LENGTHS + np.uint64(kind << 20)), each_row))
    new, _, length, _ = measures
    share = 10 * new // np.maximum(length, 1)
    parts.append((share.astype(np.uint64) + _SHARE, each_row))
    parts.append((_steps(new) * np.uint64(1 << 10) + _steps(length) + _NEW_OF, each_row))
    return parts


def _bigrams(tokens: _Tokens) -> Tuple[ndarray, ndarray]:
    within_row = tokens.row[1:] == tokens.row[:-1]
    pairs = (tokens.ids[:-1] << 31) + tokens.ids[1:]
    return pairs[within_row], tokens.row[1:][within_row]


def _shared(first: ndarray, first_row: ndarray, second: ndarray, second_row: ndarray) -> ndarray:
    """Return which of the second values are among the first ones of their row: (second,), bool."""
    # Values become small numbers, so that one number holds both a value and its row.
    values, index = np.unique(np.concatenate([first, second]), return_inverse=True)
    index = index.reshape(-1)
    keys = np.concatenate([first_row, second_row]) * len(values) + index
    return np.isin(keys[len(first) :], keys[: len(first)])


def _steps(measure: ndarray) -> ndarray:
    """Return small numbers as they are, and larger ones rounded down to powers of two: uint64."""
    large = _FEW + np.floor(np.log2(np.maximum(measure, 1) / _FEW))
    return np.where(measure <= _FEW, measure, large + 1).astype(np.uint64)
