"""AG News."""

import csv
from pathlib import Path
from typing import Any, List

import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.dataset_readers import AgNewsReader
from tests.conftest import FIXTURES, TINY_BERT
from tests.dataset_readers.tables import TEXT, assert_named, rows, tables


@pytest.fixture(scope="module")
def ag_news() -> AgNewsReader:
    return AgNewsReader(model_name=TINY_BERT, validation_size=3)


def test_ag_news(ag_news: AgNewsReader) -> None:
    found = rows(ag_news, FIXTURES / "ag_news/train.csv")
    assert len(found) == 12
    assert {row.label for row in found} == {"World", "Sports", "Business", "Sci/Tech"}
    assert found[0].label == "Business"
    assert found[0].texts[0].startswith("Lantern shares climb The lamp maker")
    assert '"more than we hoped"' in found[0].texts[0]


BAD_ROWS = [
    (b'"1","a","b"\n"2","c"\n', r"line 2: expected 3 columns .* got 2"),
    (b'"5","a","b"\n', r"line 1: class index must be 1, 2, 3 or 4, got '5'"),
    (b'"1","a","b"\n"2","c","d\n', r"line 2: not CSV"),
    (b'"1","a","b"\n"2","\xff","d"\n', r"line 2: not UTF-8 text"),
]


@pytest.mark.parametrize("content, message", BAD_ROWS)
def test_malformed_rows_are_named(content: bytes, message: str, tmp_path: Path) -> None:
    assert_named(AgNewsReader(model_name=TINY_BERT), tmp_path, content, message)


@tables
@given(st.lists(st.tuples(st.sampled_from("1234"), TEXT, TEXT), min_size=5, max_size=20))
def test_ag_news_never_loses_or_duplicates_a_row(
    ag_news: AgNewsReader, tmp_path: Path, table: List[Any]
) -> None:
    path = tmp_path / "rows.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(table)
    found = rows(ag_news, path)
    assert [row.texts[0] for row in found] == [f"{a} {b}".strip() for _, a, b in table]
    try:
        parts = [ag_news._select(found, str(path), part) for part in ("train", "validation")]
    except ConfigurationError as error:
        assert "can't be met" in str(error)  # too many rows with the same text
        return
    assert len(parts[1]) == 3
    assert sorted(map(str, parts[0] + parts[1])) == sorted(map(str, found))
    assert not {row.texts[0] for row in parts[0]} & {row.texts[0] for row in parts[1]}
