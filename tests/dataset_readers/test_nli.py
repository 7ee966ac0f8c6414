"""SNLI and MultiNLI."""

import json
import logging
from pathlib import Path
from typing import Any, List, Type

import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.dataset_readers import MultiNliReader, SnliReader
from tests.conftest import FIXTURES, TINY_BERT
from tests.dataset_readers.tables import TEXT, assert_named, rows, tables


@pytest.mark.parametrize(
    "reader_class, folder", [(SnliReader, "snli"), (MultiNliReader, "multinli")]
)
def test_nli_skips_and_counts_rows_without_gold_label(
    reader_class: Type[SnliReader], folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = FIXTURES / folder / "train.jsonl"
    with caplog.at_level(logging.INFO):
        found = rows(reader_class(model_name=TINY_BERT), path)
    assert len(found) == len(path.read_text().splitlines()) - 1
    assert {row.label for row in found} == {"entailment", "neutral", "contradiction"}
    assert "skipped 1 rows without a gold label" in caplog.text
    collapsed = rows(reader_class(model_name=TINY_BERT, collapse_labels=True), path)
    assert {row.label for row in collapsed} == {"entailment", "non-entailment"}


def test_multinli_keeps_genre() -> None:
    reader = MultiNliReader(model_name=TINY_BERT)
    first = next(iter(reader.read(str(FIXTURES / "multinli/train.jsonl"))))
    assert first["metadata"].metadata == {"genre": "telephone"}
    assert reader.text_to_instance("a", "b")["metadata"].metadata == {"genre": None}


BAD_ROWS = [
    (SnliReader, b"{\n", r"line 1: not JSON"),
    (SnliReader, b"[]\n", r"line 1: expected a JSON object, got list"),
    (SnliReader, b'\n{"gold_label": "neutral", "sentence1": "a"}', r"line 2: no field 'sentence2'"),
    (
        SnliReader,
        b'{"gold_label": "maybe", "sentence1": "a", "sentence2": "b"}',
        r"line 1: gold_label must be one of .* got 'maybe'",
    ),
    (
        MultiNliReader,
        b'{"gold_label": "neutral", "sentence1": 1, "sentence2": "b"}',
        r"line 1: field 'sentence1' must be a string, got 1",
    ),
]


@pytest.mark.parametrize("reader_class, content, message", BAD_ROWS)
def test_malformed_rows_are_named(
    reader_class: Type[SnliReader], content: bytes, message: str, tmp_path: Path
) -> None:
    assert_named(reader_class(model_name=TINY_BERT), tmp_path, content, message)


LABELS = ["neutral", "entailment", "contradiction", "-"]


@pytest.mark.parametrize("reader_class", [SnliReader, MultiNliReader])
@tables
@given(st.lists(st.tuples(st.sampled_from(LABELS), TEXT, TEXT, TEXT), max_size=20))
def test_never_loses_or_duplicates_a_row(
    tmp_path: Path, reader_class: Type[SnliReader], table: List[Any]
) -> None:
    names = ("gold_label", "sentence1", "sentence2", "genre")
    lines = "".join(json.dumps(dict(zip(names, row))) + "\n" for row in table)
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    found = rows(reader_class(model_name=TINY_BERT), tmp_path / "rows.jsonl")
    kept = [row for row in table if row[0] != "-"]
    assert [(row.label, *row.texts) for row in found] == [row[:3] for row in kept]
    if reader_class is MultiNliReader:
        assert [row.metadata for row in found] == [{"genre": row[3]} for row in kept]


@pytest.mark.parametrize("depth", [70, 985, 100_000])
def test_deep_json_and_lone_surrogates_are_bad_rows(tmp_path: Path, depth: int) -> None:
    reader, file = SnliReader(model_name=TINY_BERT), tmp_path / "in.jsonl"
    for value, message in (
        ("[" * depth + "]" * depth, "line 1: .*nested deeper than 64 levels"),
        ('"\\ud800"', "line 1: field 'sentence1' has a lone surrogate"),
    ):
        file.write_text(
            f'{{"gold_label": "neutral", "sentence1": {value}, "sentence2": "a boy"}}\n'
        )
        with pytest.raises(ConfigurationError, match=message):
            rows(reader, file)
