"""What each reader makes of its dataset's real format, good and bad."""

import csv
import json
import logging
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Iterator, List, Type

import pytest
from allennlp.common import file_utils
from allennlp.common.checks import ConfigurationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sledgehammer.dataset_readers import (
    AgNewsReader,
    ImdbReader,
    MultiNliReader,
    SnliReader,
    SstReader,
)
from sledgehammer.dataset_readers.base import Row, TransformerReader
from tests.conftest import FIXTURES, TINY_BERT

IMDB = FIXTURES / "quickstart/aclImdb"


def rows(reader: TransformerReader, path: Any) -> List[Row]:
    return list(reader.rows(str(path)))


@pytest.fixture(scope="module")
def ag_news() -> AgNewsReader:
    return AgNewsReader(model_name=TINY_BERT, validation_size=3)


@pytest.fixture(scope="module")
def imdb() -> ImdbReader:
    return ImdbReader(model_name=TINY_BERT, validation_size=30)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The fixtures over HTTP, with a download cache of its own."""
    monkeypatch.setattr(file_utils, "CACHE_DIRECTORY", str(tmp_path / "cache"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(FIXTURES))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_ag_news(ag_news: AgNewsReader) -> None:
    found = rows(ag_news, FIXTURES / "ag_news/train.csv")
    assert len(found) == 12
    assert {row.label for row in found} == {"World", "Sports", "Business", "Sci/Tech"}
    assert found[0].label == "Business"
    assert found[0].texts[0].startswith("Lantern shares climb The lamp maker")
    assert '"more than we hoped"' in found[0].texts[0]


def test_imdb_tree_is_balanced_and_ordered(imdb: ImdbReader) -> None:
    found = rows(imdb, IMDB / "test")
    assert [row.label for row in found] == ["neg", "pos"] * 50
    assert found[0].texts == [next((IMDB / "test/neg").glob("0_*.txt")).read_text()]


def test_imdb_archive_is_read_without_unpacking(
    imdb: ImdbReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tarfile.open(tmp_path / "imdb.tar.gz", "w:gz") as archive:
        archive.add(IMDB / "test", "aclImdb/test")
    monkeypatch.setattr(tarfile.TarFile, "extract", None)
    monkeypatch.setattr(tarfile.TarFile, "extractall", None)
    found = rows(imdb, f"{tmp_path}/imdb.tar.gz!aclImdb/test")
    assert found == rows(imdb, IMDB / "test")
    with pytest.raises(ConfigurationError, match=r"no neg/\*.txt files"):
        rows(imdb, f"{tmp_path}/imdb.tar.gz!aclImdb/train")


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


def test_text_to_instance_without_a_label(snli_reader: SnliReader, imdb: ImdbReader) -> None:
    assert "label" not in imdb.text_to_instance("a good film")
    pair = snli_reader.text_to_instance("a boy", "a man")
    types = pair["tokens"].token_type_ids.tolist()
    assert "label" not in pair and sorted(set(types)) == [0, 1]


def test_long_texts_are_truncated_pairs_longest_first() -> None:
    reader = SnliReader(model_name=TINY_BERT, max_length=16)
    long, short = "a boy " * 30, "a dog"
    assert len(reader.text_to_instance(long, short)["tokens"].input_ids) == 16
    ids = reader.text_to_instance(long, short)["tokens"].input_ids.tolist()
    alone = reader.text_to_instance("", short)["tokens"].input_ids.tolist()
    assert ids[-3:] == alone[-3:]  # the short text is whole
    empty = ImdbReader(model_name=TINY_BERT).text_to_instance("")
    assert len(empty["tokens"].input_ids) == 2
    for bad in (0, "512", 10_000):
        with pytest.raises(ConfigurationError, match="max_length"):
            SnliReader(model_name=TINY_BERT, max_length=bad)


BAD_FILES = [
    (AgNewsReader, b'"1","a","b"\n"2","c"\n', r"line 2: expected 3 columns .* got 2"),
    (AgNewsReader, b'"5","a","b"\n', r"line 1: class index must be 1, 2, 3 or 4, got '5'"),
    (AgNewsReader, b'"1","a","b"\n"2","c","d\n', r"line 2: not CSV"),
    (AgNewsReader, b'"1","a","b"\n"2","\xff","d"\n', r"line 2: not UTF-8 text"),
    (SstReader, b"(3 (2 a) (3 b))\n(3 (2 a)\n", r"line 2: not a tree with balanced brackets"),
    (SstReader, b"(7 (2 a) (3 b))\n", r"line 1: a node's label must be .* got '7'"),
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


@pytest.mark.parametrize("reader_class, content, message", BAD_FILES)
def test_malformed_rows_are_named(
    reader_class: Type[TransformerReader], content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.data"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=f"bad.data, {message}"):
        rows(reader_class(model_name=TINY_BERT), path)


def test_undecodable_review_is_named(imdb: ImdbReader, tmp_path: Path) -> None:
    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "0_1.txt").write_bytes(b"\xff" if label == "pos" else b"ok")
    with pytest.raises(ConfigurationError, match=r"pos/0_1.txt: not UTF-8 text"):
        rows(imdb, tmp_path)


@pytest.mark.parametrize("missing", ["nowhere.csv", "nowhere.zip!train.csv"])
def test_missing_path_says_what_was_looked_for(ag_news: AgNewsReader, missing: str) -> None:
    with pytest.raises(ConfigurationError, match="no data at .*nowhere.*: looked for /"):
        rows(ag_news, missing)


def test_folder_instead_of_a_file(ag_news: AgNewsReader, imdb: ImdbReader) -> None:
    with pytest.raises(ConfigurationError, match="is a folder; a file is needed"):
        rows(ag_news, FIXTURES)
    with pytest.raises(ConfigurationError, match=r"no neg/\*.txt files"):
        rows(imdb, FIXTURES)


def test_urls_and_archive_members(ag_news: AgNewsReader, server: str, tmp_path: Path) -> None:
    expected = rows(ag_news, FIXTURES / "ag_news/train.csv")
    assert rows(ag_news, f"{server}/ag_news/train.csv") == expected
    with pytest.raises(ConfigurationError, match="no data at .*: looked for http"):
        rows(ag_news, f"{server}/ag_news/absent.csv")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.write(FIXTURES / "ag_news/train.csv", "data/train.csv")
    assert rows(ag_news, f"{tmp_path}/data.zip!data/train.csv") == expected
    with pytest.raises(ConfigurationError, match="no data at"):
        rows(ag_news, f"{tmp_path}/data.zip!data/absent.csv")


TEXT = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=0, max_size=30
).filter(lambda text: text == text.strip())


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.sampled_from(["neutral", "entailment", "-"]), TEXT, TEXT), max_size=20)
)
def test_snli_never_loses_or_duplicates_a_row(
    snli_reader: SnliReader, tmp_path: Path, table: List[Any]
) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(dict(zip(("gold_label", "sentence1", "sentence2"), row))) for row in table]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    kept = [[a, b] for label, a, b in table if label != "-"]
    assert [row.texts for row in rows(snli_reader, path)] == kept
