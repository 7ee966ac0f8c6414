"""The engine's tokenizer makes the word pieces that the readers make."""

from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sledgehammer.dataset_readers import SnliReader, SstReader
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.tokenizer import Encoded, Tokenizer
from tests.conftest import TINY_BERT

MAX_LENGTH = 12
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
SINGLE = SstReader(model_name=TINY_BERT, max_length=MAX_LENGTH)
PAIRS = SnliReader(model_name=TINY_BERT, max_length=MAX_LENGTH)


def tokenizer(texts: int = 1, inputs: Any = INPUTS) -> Tokenizer:
    file = Path(TINY_BERT, "tokenizer.json")
    return Tokenizer(file, MAX_LENGTH, inputs, SINGLE.pad_token_id, texts)


words = st.lists(st.sampled_from("a good boy feeds two geese , unbelievably . é 好".split()))
texts = words.map(" ".join) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=5))
def test_single_texts(rows: List[str]) -> None:
    expected = SINGLE.encode([[row] for row in rows])
    got = tokenizer().encode(rows)
    assert [row.ids for row in got] == [row["input_ids"] for row in expected]
    assert [row.type_ids for row in got] == [row["token_type_ids"] for row in expected]


@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_pairs_are_truncated_longest_first(rows: Any) -> None:
    expected = PAIRS.encode(rows)
    got = tokenizer(texts=2).encode(rows)
    assert [row.ids for row in got] == [row["input_ids"] for row in expected]
    assert [row.type_ids for row in got] == [row["token_type_ids"] for row in expected]
    assert max(len(row.ids) for row in got) <= MAX_LENGTH


def test_batches_are_padded_on_the_right() -> None:
    rows = [Encoded([2, 7, 3], [0, 0, 0]), Encoded([2, 8, 9, 3], [0, 0, 1, 1])]
    batch = tokenizer().batch(rows)
    pad = SINGLE.pad_token_id
    assert batch["input_ids"].tolist() == [[2, 7, 3, pad], [2, 8, 9, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}
    assert list(tokenizer(inputs=INPUTS[:2]).batch(rows)) == INPUTS[:2]


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
    with pytest.raises(EngineError, match="is no tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json", 8, INPUTS, 0, 1)
