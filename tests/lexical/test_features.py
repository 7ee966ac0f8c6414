"""Features of word pieces: which there are, and that a row's own depend on it alone."""

from typing import List, Tuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.lexical import Features, FeatureSpace, Pieces

TEXTS = st.lists(st.integers(0, 40), max_size=30)
LARGE = FeatureSpace(bits=24)


def of_row(features: Features, row: int) -> List[Tuple[int, int]]:
    """Return the buckets and counts of a row."""
    of_it = features.row == row
    return list(zip(features.bucket[of_it].tolist(), features.times[of_it].tolist()))


@pytest.mark.parametrize("texts", [1, 2])
@given(data=st.data())
def test_features_of_a_row_are_the_same_in_every_batch(texts: int, data: st.DataObject) -> None:
    rows: List[Pieces] = data.draw(st.lists(st.tuples(*[TEXTS] * texts), min_size=1, max_size=6))
    space = FeatureSpace(texts=texts, bits=12)
    together = space.features(rows)
    for position, row in enumerate(rows):
        assert of_row(together, position) == of_row(space.features([row]), 0)


def test_all_ngrams_are_counted() -> None:
    found = FeatureSpace(ngrams=3, bits=24).features([[[7, 8, 7, 8, 7]]])
    # 7, 8; 7 8, 8 7; 7 8 7, 8 7 8.
    assert sorted(found.times.tolist()) == [1, 2, 2, 2, 2, 3]


def test_order_counts_from_bigrams_on() -> None:
    forward, back = ([[1, 2, 3]], [[3, 2, 1]])
    assert set(LARGE.features([forward]).bucket) != set(LARGE.features([back]).bucket)
    single = FeatureSpace(ngrams=1)
    assert set(single.features([forward]).bucket) == set(single.features([back]).bucket)


def test_features_are_spread_over_the_buckets() -> None:
    text = np.random.default_rng(0).integers(0, 30000, 4000).tolist()
    found = FeatureSpace(ngrams=2, bits=20).features([[text]])
    pieces, pairs = len(set(text)), len(set(zip(text, text[1:])))
    assert len(found.bucket) > 0.99 * (pieces + pairs)
    assert np.bincount(found.bucket >> 16, minlength=16).min() > 0.8 * len(found.bucket) / 16


def test_a_pair_tells_what_is_new() -> None:
    space = FeatureSpace(texts=2, bits=24)

    def differing(first: List[int], second: List[int]) -> int:
        """How many features of a pair with the same second text change with the first."""
        one, other = (space.features([[f, [5, 6]]]).bucket for f in (first, second))
        return len(set(one) ^ set(other))

    assert differing([5, 6, 9], [5, 6, 8]) == 0  # what the second text does not have is no matter
    assert differing([5, 6], [5, 7]) > 0  # 6 becomes new
    assert differing([5, 6, 9], [6, 5, 9]) > 0  # the bigram becomes new
    assert differing([5, 6, 9], [5, 6, 9, 9]) > 0  # lengths


def test_no_text_has_no_features() -> None:
    assert len(LARGE.features([[[]]]).bucket) == 0
    assert len(LARGE.features([]).bucket) == 0
    assert of_row(LARGE.features([[[]], [[1]]]), 0) == []


@pytest.mark.parametrize(
    "wrong", [{"texts": 3}, {"ngrams": 0}, {"ngrams": 9}, {"bits": 7}, {"bits": 25}, {"bits": True}]
)
def test_values_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a whole number between"):
        FeatureSpace(**wrong)


def test_rows_with_another_number_of_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="has 2 texts, but the lexical model takes 1"):
        LARGE.features([[[1], [2]]])
