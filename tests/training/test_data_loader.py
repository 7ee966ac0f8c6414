"""Evaluation in batches of rows of about the same length."""

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import DataLoader, Vocabulary

from sledgehammer.dataset_readers import SstReader
from sledgehammer.training.data_loader import SortedDataLoader
from tests.cli import allennlp
from tests.conftest import FIXTURES
from tests.tiny_training import DEV

TRAIN = str(FIXTURES / "sst/train.txt")


def lengths(reader: SstReader, vocab: Vocabulary, **arguments: Any) -> List[List[int]]:
    """Of the rows of each batch."""
    params = Params({"type": "sledgehammer_sorted", **arguments})
    loader = DataLoader.from_params(params, reader=reader, data_path=TRAIN)
    loader.index_with(vocab)
    return [
        batch["tokens"]["attention_mask"].sum(dim=1).tolist()  # type: ignore[call-overload, index]
        for batch in loader
    ]


def test_batches_are_sorted_by_length(sst_reader: SstReader, vocab: Vocabulary) -> None:
    read = [len(instance["tokens"].input_ids) for instance in sst_reader.read(TRAIN)]  # type: ignore[attr-defined]
    assert read != sorted(read)
    batches = lengths(sst_reader, vocab, batch_size=2)
    assert [len(batch) for batch in batches] == [2, 2, 2, 2, 1]
    assert [length for batch in batches for length in batch] == sorted(read)
    assert lengths(sst_reader, vocab, batch_size=2) == batches


def test_sorted_within_what_is_in_memory(sst_reader: SstReader, vocab: Vocabulary) -> None:
    batches = lengths(sst_reader, vocab, batch_size=2, max_instances_in_memory=4)
    assert [len(batch) for batch in batches] == [2, 2, 2, 2, 1]
    for first, second in (batches[:2], batches[2:4]):
        assert first + second == sorted(first + second)


def test_bad_batch_size(sst_reader: SstReader) -> None:
    with pytest.raises(ConfigurationError, match="batch_size must be at least 1, got 0"):
        SortedDataLoader(sst_reader, TRAIN, batch_size=0)


def test_allennlp_evaluate_with_a_batch_size(tiny_archive: Path, tmp_path: Path) -> None:
    predictions, metrics = tmp_path / "predictions.jsonl", tmp_path / "metrics.json"
    done = allennlp(
        "evaluate", str(tiny_archive), DEV, "--batch-size", "2", "--output-file", str(metrics),
        "--predictions-output-file", str(predictions),
        "-o", '{"model.policy.threshold": 1.0, "model.inference_dtype": "bfloat16"}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    batches: List[Dict[str, Any]] = [json.loads(s) for s in predictions.read_text().splitlines()]
    assert [len(batch["label"]) for batch in batches] == [2, 2, 1]
    assert json.loads(metrics.read_text())["share_at_exit_3"] == 1
