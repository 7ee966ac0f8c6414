"""Stanford Sentiment Treebank."""

from pathlib import Path
from typing import Any, List

import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.dataset_readers import SstReader
from tests.conftest import FIXTURES, TINY_BERT
from tests.dataset_readers.tables import assert_named, rows, tables


def test_sst_two_and_five_classes_and_phrases() -> None:
    train = FIXTURES / "sst/train.txt"
    two = rows(SstReader(model_name=TINY_BERT), train)
    five = rows(SstReader(model_name=TINY_BERT, granularity="5-class"), train)
    phrases = rows(SstReader(model_name=TINY_BERT, use_phrases=True), train)
    assert (len(two), len(five)) == (9, 10)
    assert {row.label for row in two} == {"negative", "positive"}
    assert {row.label for row in five} == {
        "very negative", "negative", "neutral", "positive", "very positive",
    }  # fmt: skip
    assert two[2].texts == ["The cast shines ( mostly )"]
    assert len(phrases) > len(two) and all(row in phrases for row in two)
    with pytest.raises(ConfigurationError, match="2-class, 5-class, got '3-class'"):
        SstReader(model_name=TINY_BERT, granularity="3-class")


BAD_ROWS = [
    (b"(3 (2 a) (3 b))\n(3 (2 a)\n", r"line 2: not a tree with balanced brackets"),
    (b"(7 (2 a) (3 b))\n", r"line 1: a node's label must be .* got '7'"),
]


@pytest.mark.parametrize("content, message", BAD_ROWS)
def test_malformed_rows_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    assert_named(SstReader(model_name=TINY_BERT), tmp_path, content, message)


WORD = st.text("abcdefgh-'.,!", min_size=1, max_size=8)


@tables
@given(st.lists(st.tuples(st.sampled_from("01234"), WORD, WORD), max_size=20), st.booleans())
def test_never_loses_or_duplicates_a_row(
    tmp_path: Path, table: List[Any], five_classes: bool
) -> None:
    trees = [f"({label} (2 {left}) (2 {right}))\n" for label, left, right in table]
    (tmp_path / "trees.txt").write_text("".join(trees), encoding="utf-8")
    reader = SstReader(model_name=TINY_BERT, granularity="5-class" if five_classes else "2-class")
    kept = [f"{a} {b}" for label, a, b in table if five_classes or label != "2"]
    assert [row.texts[0] for row in rows(reader, tmp_path / "trees.txt")] == kept
