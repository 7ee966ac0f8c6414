"""IMDB."""

import tarfile
from pathlib import Path
from typing import Any, List

import pytest
from allennlp.common.checks import ConfigurationError
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.dataset_readers import ImdbReader
from tests.conftest import FIXTURES, TINY_BERT
from tests.dataset_readers.tables import TEXT, rows, tables

IMDB = FIXTURES / "quickstart/aclImdb"


@pytest.fixture(scope="module")
def imdb() -> ImdbReader:
    return ImdbReader(model_name=TINY_BERT, validation_size=30)


def test_imdb_tree_is_balanced_and_ordered(imdb: ImdbReader) -> None:
    found = rows(imdb, IMDB / "test")
    assert [row.label for row in found] == ["neg", "pos"] * (len(found) // 2)
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


def test_undecodable_review_is_named(imdb: ImdbReader, tmp_path: Path) -> None:
    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "0_1.txt").write_bytes(b"\xff" if label == "pos" else b"ok")
    with pytest.raises(ConfigurationError, match=r"pos/0_1.txt: not UTF-8 text"):
        rows(imdb, tmp_path)


def test_a_damaged_archive_and_a_folder_named_like_a_review(
    imdb: ImdbReader, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "imdb.tar.gz", "w:gz") as archive:
        archive.add(IMDB / "test", "aclImdb/test")
    whole = (tmp_path / "imdb.tar.gz").read_bytes()
    for size in (len(whole) // 2, len(whole) - 20):
        (tmp_path / "cut.tar.gz").write_bytes(whole[:size])
        with pytest.raises(ConfigurationError, match="cut.tar.gz: damaged, or cut short"):
            rows(imdb, f"{tmp_path}/cut.tar.gz!aclImdb/test")
    with pytest.raises(ConfigurationError, match="no data at"):
        rows(imdb, f"{tmp_path}!aclImdb/test")
    (tmp_path / "neg/0_1.txt").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="0_1.txt: cannot be read: Is a directory"):
        rows(imdb, tmp_path)


def test_a_byte_order_mark_is_no_text(imdb: ImdbReader, tmp_path: Path) -> None:
    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "0_1.txt").write_bytes(b"\xef\xbb\xbffine")
    assert [row.texts for row in rows(imdb, tmp_path)] == [["fine"], ["fine"]]


def test_folder_of_something_else(imdb: ImdbReader) -> None:
    with pytest.raises(ConfigurationError, match=r"no neg/\*.txt files"):
        rows(imdb, FIXTURES)


@tables
@given(st.lists(st.tuples(st.sampled_from(["neg", "pos"]), TEXT), min_size=2, max_size=20))
def test_never_loses_or_duplicates_a_row(
    imdb: ImdbReader, tmp_path_factory: pytest.TempPathFactory, table: List[Any]
) -> None:
    table = [("neg", "a"), ("pos", "b"), *table]
    root = tmp_path_factory.mktemp("tree") / "train"
    for number, (label, text) in enumerate(table):
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{number}_5.txt").write_text(text, encoding="utf-8")
    found = rows(imdb, root)
    assert [(row.label, row.texts[0]) for row in found] == table
    with tarfile.open(root.parent / "tree.tar.gz", "w:gz") as archive:
        archive.add(root, "tree/train")
    assert rows(imdb, f"{root.parent}/tree.tar.gz!tree/train") == found
