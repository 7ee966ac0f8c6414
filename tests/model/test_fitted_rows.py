"""Fingerprints of rows, and their way through weights and training."""

from pathlib import Path

import torch

from sledgehammer.analysis.all_exits import run_all_exits
from sledgehammer.dataset_readers import SstReader
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.fitted_rows import SeenRows, row_hashes
from sledgehammer.model.multi_exit import MultiExitClassifier
from tests.tiny_training import DEV, load


def tokens(*rows: "list[int]") -> "dict[str, torch.Tensor]":
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows]),
    }


def test_a_row_has_the_same_fingerprint_in_every_batch() -> None:
    alone = row_hashes(tokens([5, 6, 7]))
    together = row_hashes(tokens([5, 6, 7], [8, 9, 10, 11], [5, 6]))
    assert alone.item() == together[0].item()
    assert len(set(together.tolist())) == 3


def test_overlap_counts_rows_seen_before() -> None:
    seen = SeenRows()
    assert seen.overlap("temperatures", torch.tensor([1, 2])) == 0
    seen.temperatures = torch.tensor([2, 3, 4])
    assert seen.overlap("temperatures", torch.tensor([1, 2, 3, 2])) == 3
    assert seen.overlap("threshold", torch.tensor([2])) == 0


def test_weights_carry_them_and_may_lack_them() -> None:
    seen, other = SeenRows(), SeenRows()
    seen.temperatures = torch.tensor([7, 8, 9])
    other.load_state_dict(seen.state_dict())
    assert other.temperatures.tolist() == [7, 8, 9]
    other.load_state_dict({})
    assert other.temperatures.tolist() == [7, 8, 9]


def test_training_remembers_its_validation_rows(tiny_archive: Path, sst_reader: SstReader) -> None:
    model: MultiExitClassifier = load(tiny_archive.parent)
    outputs = run_all_exits(model, sst_reader, read_rows(sst_reader, DEV))
    assert sorted(model.seen.temperatures.tolist()) == sorted(outputs.hashes.tolist())
