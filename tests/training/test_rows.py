"""The rows of a run, read again."""

import json
from pathlib import Path
from typing import Any

import pytest
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.data.data_loaders import MultiProcessDataLoader, SimpleDataLoader
from allennlp.data.dataset_readers import InterleavingDatasetReader

from sledgehammer.dataset_readers import SstReader, UnlabelledReader
from sledgehammer.dataset_readers.base import Row
from sledgehammer.network.fingerprints import row_hashes
from sledgehammer.training.fine_tuning import GivenRows
from sledgehammer.training.rows import rows_of
from tests.conftest import FIXTURES, TINY_BERT

TRAIN = str(FIXTURES / "sst/train.txt")


def loader_of(reader: Any, path: str, vocab: Vocabulary) -> MultiProcessDataLoader:
    loader = MultiProcessDataLoader(reader, path, batch_size=3)
    loader.index_with(vocab)
    return loader


def fingerprints_in(loader: MultiProcessDataLoader) -> "set[int]":
    return {h for batch in loader for h in row_hashes(batch["tokens"]).tolist()}  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [None, 4])
def test_they_are_those_of_the_batches(most: Any, vocab: Vocabulary) -> None:
    reader = SstReader(model_name=TINY_BERT, max_instances=most)
    loader = loader_of(reader, TRAIN, vocab)
    found = list(rows_of([loader, None]))
    assert len(found) == len(list(reader.read(TRAIN)))
    assert {row.fingerprint for row in found} == fingerprints_in(loader)
    assert [row.texts for row in found] == [r.texts for r in reader.selected_rows(TRAIN)][:most]


def test_given_rows(sst_reader: SstReader, vocab: Vocabulary) -> None:
    rows = [Row(["a film"], "positive"), Row(["the worst film"], "negative")]
    loader = loader_of(GivenRows(sst_reader, rows), "rows", vocab)
    found = list(rows_of([loader]))
    assert [row.texts for row in found] == [row.texts for row in rows]
    assert {row.fingerprint for row in found} == fingerprints_in(loader)


def test_labelled_and_unlabelled_rows(
    sst_reader: SstReader, vocab: Vocabulary, tmp_path: Path
) -> None:
    (tmp_path / "more.jsonl").write_text('{"text": "a film"}\n')
    readers = {"labelled": sst_reader, "others": UnlabelledReader(model_name=TINY_BERT)}
    reader = InterleavingDatasetReader(readers, dataset_field_name="metadata")
    path = json.dumps({"labelled": TRAIN, "others": str(tmp_path / "more.jsonl")})
    loader = loader_of(reader, path, vocab)
    found = list(rows_of([loader]))
    assert found[-1].texts == ["a film"]
    assert {row.fingerprint for row in found} == fingerprints_in(loader)


def test_a_loader_without_a_reader(sst_reader: SstReader, vocab: Vocabulary) -> None:
    loader = SimpleDataLoader(list(sst_reader.read(TRAIN)), batch_size=2, vocab=vocab)
    with pytest.raises(ConfigurationError, match="cannot be read again as texts"):
        list(rows_of([loader]))
