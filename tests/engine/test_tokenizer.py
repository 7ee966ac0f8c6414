"""The engine's tokenizer makes the word pieces that the readers make."""

import time
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import tokenizers
from allennlp.common.checks import ConfigurationError
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sledgehammer.dataset_readers import SnliReader, SstReader
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.tokenizer import (
    CHARACTERS_PER_PIECE,
    Encoded,
    Tokenizer,
    longest_first,
)
from tests.conftest import TINY_BERT

MAX_LENGTH = 12
LONG_TEXT_WORDS = "a good boy feeds two geese unbelievably straightforward é 好 1,234".split()
TRUNCATES_AS_WE_DO = tuple(map(int, tokenizers.__version__.split(".")[:2])) >= (0, 14)
"""Older versions give the odd word piece to the other text of a pair."""
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
SINGLE = SstReader(model_name=TINY_BERT, max_length=MAX_LENGTH)
PAIRS = SnliReader(model_name=TINY_BERT, max_length=MAX_LENGTH)
HEAD_TAIL = {
    1: SstReader(model_name=TINY_BERT, max_length=MAX_LENGTH, long_texts="head_tail"),
    2: SnliReader(model_name=TINY_BERT, max_length=MAX_LENGTH, long_texts="head_tail"),
}


def tokenizer(
    texts: int = 1, inputs: Any = INPUTS, whole: bool = False, long_texts: str = "truncate"
) -> Tokenizer:
    file = Path(TINY_BERT, "tokenizer.json")
    return Tokenizer(file, MAX_LENGTH, inputs, SINGLE.pad_token_id, texts, whole, long_texts)


LIBRARY = AutoTokenizer.from_pretrained(TINY_BERT)


def by_the_library(rows: List[Any], max_length: int = MAX_LENGTH) -> List[List[List[int]]]:
    """Return ids and type ids as transformers makes and truncates them."""
    encoded = LIBRARY(
        *(list(texts) for texts in zip(*rows)), truncation="longest_first", max_length=max_length
    )
    return [list(pair) for pair in zip(encoded["input_ids"], encoded["token_type_ids"])]


words = st.lists(st.sampled_from("a good boy feeds two geese , unbelievably . é 好".split()))
texts = words.map(" ".join) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=5))
def test_single_texts(rows: List[str]) -> None:
    expected = by_the_library([[row] for row in rows])
    got = tokenizer().encode(rows)
    assert [[row.ids, row.type_ids] for row in got] == expected
    read = SINGLE.encode([[row] for row in rows])
    assert [[row["input_ids"], row["token_type_ids"]] for row in read] == expected


@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_pairs_are_truncated_longest_first(rows: Any) -> None:
    got = tokenizer(texts=2).encode(rows)
    read = PAIRS.encode(rows)
    assert [[row.ids, row.type_ids] for row in got] == [list(row.values()) for row in read]
    assert max(len(row.ids) for row in got) <= MAX_LENGTH
    full = by_the_library(rows, 512)
    assert [row.truncated for row in got] == [len(ids) > MAX_LENGTH for ids, _ in full]
    if TRUNCATES_AS_WE_DO:
        assert [[row.ids, row.type_ids] for row in got] == by_the_library(rows)


@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_whole_texts_come_with_the_same_pieces(rows: Any) -> None:
    """They are tokenised once, and nothing of them is cut off."""
    expected = [
        [LIBRARY(text, add_special_tokens=False)["input_ids"] for text in row] for row in rows
    ]
    got = tokenizer(texts=2, whole=True).encode(rows)
    assert [row.texts for row in got] == expected == PAIRS.pieces(rows)
    assert [row._replace(texts=[]) for row in got] == tokenizer(texts=2).encode(rows)
    single = tokenizer(whole=True).encode([first for first, _ in rows])
    assert [row.texts for row in single] == [texts[:1] for texts in expected]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from(LONG_TEXT_WORDS), min_size=1, max_size=50), st.randoms())
def test_long_texts_are_cut_before_they_are_tokenised(chosen: List[str], random: Any) -> None:
    """Ordinary texts have their first pieces long before the cut."""
    text = "".join(word + random.choice([" ", ", ", "\n"]) for word in chosen * 1000)
    assert len(text) > MAX_LENGTH * CHARACTERS_PER_PIECE
    (got,) = tokenizer().encode([text])
    assert [[got.ids, got.type_ids]] == by_the_library([[text]]) and got.truncated
    (pair,) = tokenizer(texts=2).encode([("a boy", text)])
    assert [[pair.ids, pair.type_ids]] == by_the_library([("a boy", text)]) and pair.truncated


def test_two_long_texts_take_no_more_than_one() -> None:
    """The library's truncation keeps the pieces of each beside those of the other."""
    text = "bee " * 4000
    begun = time.process_time()
    (got,) = tokenizer(texts=2).encode([(text, text)])
    assert time.process_time() - begun < 5
    assert len(got.ids) == MAX_LENGTH and got.truncated


def test_no_word_piece_is_longer_than_the_bound() -> None:
    assert max(map(len, LIBRARY.get_vocab())) <= CHARACTERS_PER_PIECE
    word = "b" * 100  # the longest that WordPiece does not refuse
    (got,) = tokenizer().encode([f"{word} " * 100])
    assert [got.ids] == [ids for ids, _ in by_the_library([[f"{word} " * 100]])]


@pytest.mark.parametrize("first, second", [(a, b) for a in range(12) for b in range(12)])
def test_the_longer_text_is_cut_first(first: int, second: int) -> None:
    for room in range(1, 20):
        kept = longest_first(first, second, room)
        assert sum(kept) == min(room, first + second)
        assert kept[0] <= first and kept[1] <= second
        if kept != (first, second):
            cut, other = (0, 1) if first > second else (1, 0)
            assert kept[cut] >= kept[other] or kept[other] == (first, second)[other]


def test_batches_are_padded_on_the_right() -> None:
    rows = [Encoded([2, 7, 3], [0, 0, 0]), Encoded([2, 8, 9, 3], [0, 0, 1, 1])]
    batch = tokenizer().batch(rows)
    pad = SINGLE.pad_token_id
    assert batch["input_ids"].tolist() == [[2, 7, 3, pad], [2, 8, 9, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}
    assert list(tokenizer(inputs=INPUTS[:2]).batch(rows)) == INPUTS[:2]
    for row, pieces in enumerate(rows):
        alone, length = tokenizer().batch([pieces]), len(pieces.ids)
        assert list(alone) == list(batch)
        for name, array in alone.items():
            np.testing.assert_array_equal(array, batch[name][row : row + 1, :length])
            assert array.dtype == np.int64


@pytest.mark.parametrize("text", [3, None, ("a", "b"), ["a", 1], b"a", []])
def test_what_is_no_text(text: Any) -> None:
    with pytest.raises(EngineError, match="text 1 must be a string"):
        tokenizer().encode(["good", text])


@pytest.mark.parametrize("text", [3, None, "ab", ("a",), ("a", None), ("a", "b", "c")])
def test_what_is_no_pair(text: Any) -> None:
    with pytest.raises(EngineError, match="text 0 must be a pair of strings"):
        tokenizer(texts=2).encode([text])


def test_a_lone_surrogate_is_no_text() -> None:
    with pytest.raises(EngineError, match="text 0 has a lone surrogate"):
        tokenizer().encode(["\ud800"])


def test_a_file_that_is_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(EngineError, match="is not a tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json", 8, INPUTS, 0, 1)


def ends_of(pieces: List[int], room: int) -> List[int]:
    """The first and the last pieces of a text that has more than there is room for."""
    if len(pieces) <= room:
        return pieces
    head = round(room * 128 / 510)
    return [*pieces[:head], *pieces[len(pieces) - (room - head) :]]


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=5), st.booleans())
def test_head_and_tail_of_single_texts(rows: List[str], whole: bool) -> None:
    """The engine and the readers keep the same pieces: the first and the last of the whole text."""
    full = [ids for ids, _ in by_the_library([[row] for row in rows], 512)]
    expected = [[ids[0], *ends_of(ids[1:-1], MAX_LENGTH - 2), ids[-1]] for ids in full]
    got = tokenizer(whole=whole, long_texts="head_tail").encode(rows)
    assert [row.ids for row in got] == expected
    assert [row.truncated for row in got] == [len(ids) > MAX_LENGTH for ids in full]
    read = HEAD_TAIL[1].encode([[row] for row in rows])
    assert [[row["input_ids"], row["token_type_ids"]] for row in read] == [
        [row.ids, row.type_ids] for row in got
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_head_and_tail_of_each_text_of_a_pair(rows: Any) -> None:
    got = tokenizer(texts=2, whole=True, long_texts="head_tail").encode(rows)
    read = HEAD_TAIL[2].encode(rows)
    assert [[row.ids, row.type_ids] for row in got] == [list(row.values()) for row in read]
    for row in got:
        first, second = row.texts
        kept = longest_first(len(first), len(second), MAX_LENGTH - 3)
        inner = [piece for text, room in zip(row.texts, kept) for piece in ends_of(text, room)]
        special = {row.ids[0], row.ids[-1]}
        assert [piece for piece in row.ids if piece not in special] == [
            piece for piece in inner if piece not in special
        ]
        assert len(row.ids) <= MAX_LENGTH


def test_the_end_of_a_very_long_text_is_kept() -> None:
    """Characters between its ends are not tokenised at all."""
    unit = " ".join(LONG_TEXT_WORDS) + " "
    text = f"boy {unit * 3000} geese feeds two"
    assert len(text) > 2 * MAX_LENGTH * CHARACTERS_PER_PIECE
    for whole in (False, True):
        ((ids, _, truncated, _),) = tokenizer(whole=whole, long_texts="head_tail").encode([text])
        first, last = (row.texts[0] for row in tokenizer(whole=True).encode(["boy", text[-15:]]))
        assert ids[1] == first[0] and ids[-4:-1] == last[-3:]
        assert len(ids) == MAX_LENGTH and truncated
    began = time.monotonic()
    tokenizer(long_texts="head_tail").encode([text * 100])
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "value, message",
    [
        ("windows", "windows of a text can't be answered together yet; long_texts must be"),
        ("tail", "long_texts must be 'truncate' or 'head_tail', got 'tail'"),
    ],
)
def test_other_ways_with_long_texts_are_refused(value: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SstReader(model_name=TINY_BERT, long_texts=value)
