"""The linear model: exact in batches, and nothing damaged is loaded."""

import math
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.lexical import FeatureSpace, LexicalError, LinearModel, Pieces
from sledgehammer.lexical.linear import GRAIN

LABELS = 3
TEXTS = st.lists(st.integers(0, 300), max_size=40)


def random_model(texts: int = 1, bits: int = 10) -> LinearModel:
    """A model of which half of the buckets were never seen."""
    random = np.random.default_rng(0)
    space = FeatureSpace(texts=texts, bits=bits)
    table = random.normal(0, 3, (space.buckets, 1 + LABELS)).astype(np.float16)
    table[:, 0] = 1 + random.integers(0, 700, space.buckets) * GRAIN
    table[::2] = 0
    return LinearModel(space, table, np.array([0.5, -1, 0.25], np.float32))


@pytest.mark.parametrize("texts", [1, 2])
@given(data=st.data())
def test_logits_of_a_row_are_the_same_to_the_bit_in_every_batch(
    texts: int, data: st.DataObject
) -> None:
    rows: List[Pieces] = data.draw(st.lists(st.tuples(*[TEXTS] * texts), min_size=1, max_size=6))
    model = random_model(texts)
    together = model.logits(rows)
    assert together.shape == (len(rows), LABELS) and together.dtype == np.float32
    for position, row in enumerate(rows):
        assert np.array_equal(model.logits([row])[0], together[position])


def test_logits_of_long_rows_are_the_same_to_the_bit_in_every_batch() -> None:
    random = np.random.default_rng(1)
    model = random_model(bits=16)
    rows = [[random.zipf(1.3, 3000).clip(max=30000).tolist()] for _ in range(20)]
    together = model.logits(rows)
    assert all(np.array_equal(model.logits([r])[0], own) for r, own in zip(rows, together))


def test_logits_are_a_product_of_weights_with_a_row_of_unit_length() -> None:
    model = random_model()
    text = [3, 1, 4, 1, 5, 9, 2, 6, 1]
    found = model.space.features([[text]])
    idf = model.table[found.bucket, 0].astype(float)
    counted = np.array([1 + math.log(count) for count in found.times])
    row = counted * idf / np.linalg.norm(counted * idf)
    seen = idf > 0
    weights = model.table[found.bucket[seen], 1:].astype(float) / idf[seen, None]
    expected = row[seen] @ weights + model.bias
    np.testing.assert_allclose(model.logits([[text]])[0], expected, atol=0.02)


def test_a_text_of_unknown_words_gives_the_bias() -> None:
    model = random_model()
    unknown = [
        [n] for n in range(300) if not model.table[model.space.features([[[n]]]).bucket].any()
    ]
    assert len(unknown) > 50
    for logits in model.logits([[text] for text in unknown] + [[[]]]):
        assert np.array_equal(logits, model.bias)


def test_no_rows_have_no_logits() -> None:
    assert random_model().logits([]).shape == (0, LABELS)


def test_a_saved_model_is_the_same(tmp_path: Path) -> None:
    model = random_model(texts=2)
    files = [tmp_path / "one.npz", tmp_path / "other.npz"]
    for file in files:
        model.save(file)
    assert files[0].read_bytes() == files[1].read_bytes()
    loaded = LinearModel.load(files[0])
    assert loaded.space == model.space
    assert np.array_equal(loaded.table, model.table) and np.array_equal(loaded.bias, model.bias)
    assert loaded.size == model.table.nbytes + model.bias.nbytes


def test_files_that_are_no_model_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.npz"
    random_model().save(file)
    whole = file.read_bytes()
    for content in (b"", b"text", whole[:-30], whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(LexicalError, match="not a lexical model"):
            LinearModel.load(file)
    np.savez(file, space=np.array([1, 2, 10]), table=np.zeros((3, 3), np.float16))
    with pytest.raises(LexicalError, match="not a lexical model"):
        LinearModel.load(file)
    np.savez(file, space=np.array([{"pickled": 1}], object))
    with pytest.raises(LexicalError, match="not a lexical model"):
        LinearModel.load(file)


def changed(**changes: Any) -> LinearModel:
    model = random_model()
    parts = {"space": model.space, "table": model.table.copy(), "bias": model.bias.copy()}
    return LinearModel(**{**parts, **changes})


def with_entry(column: int, value: float) -> np.ndarray:
    table = random_model().table.copy()
    table[1, column] = value
    return table


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"table": random_model().table.astype(np.float32)}, "must be float16"),
        ({"bias": np.zeros(2, np.float32)}, "need a table of shape"),
        ({"table": random_model().table[:-1]}, "need a table of shape"),
        ({"table": with_entry(2, np.nan)}, "not finite"),
        ({"bias": np.full(LABELS, np.inf, np.float32)}, "not finite"),
        ({"table": with_entry(0, 0.5)}, "at least 1"),
        ({"table": with_entry(0, 1.01)}, "a multiple of"),
        ({"table": with_entry(1, 1000.0)}, "exceeds 256"),
        ({"table": with_entry(0, -2.0)}, "at least 1"),
        ({"table": with_entry(0, 0.0)}, "together with all weights of its bucket"),
    ],
)
def test_arrays_that_make_no_model_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(LexicalError, match=message):
        changed(**changes)
