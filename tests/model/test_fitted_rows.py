"""Test the fingerprints of rows, and that weights and training carry them."""

from pathlib import Path

import torch

from sledgehammer.analysis.all_exits import fingerprints, run_all_exits
from sledgehammer.dataset_readers import SstReader
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.fitted_rows import SeenRows
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.fingerprints import row_hashes
from tests.conftest import FIXTURES
from tests.tiny_training import DEV, load

TRAIN = str(FIXTURES / "sst/train.txt")


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


def test_old_weights_know_no_training_rows() -> None:
    seen = SeenRows()
    seen.load_state_dict({"temperatures": torch.tensor([1]), "threshold": torch.tensor([2, 3])})
    assert seen.weights.tolist() == [] and not seen.knows_training_rows
    seen.add_training_rows(torch.tensor([5, 4, 5]))
    seen.add_training_rows(torch.tensor([4, 6]))
    assert seen.weights.tolist() == [4, 5, 6] and seen.knows_training_rows
    other = SeenRows()
    other.load_state_dict(seen.state_dict())
    assert other.as_lists() == {"weights": [4, 5, 6], "temperatures": [1], "threshold": [2, 3]}


def test_training_remembers_its_training_rows(tiny_archive: Path, sst_reader: SstReader) -> None:
    model: MultiExitClassifier = load(tiny_archive.parent)
    hashes = fingerprints(sst_reader, read_rows(sst_reader, TRAIN))
    assert model.seen.weights.tolist() == sorted(set(hashes.tolist()))


def test_fingerprints_are_those_of_a_run(tiny_archive: Path, sst_reader: SstReader) -> None:
    rows = read_rows(sst_reader, TRAIN)
    outputs = run_all_exits(load(tiny_archive.parent), sst_reader, rows, batch_size=2)
    assert fingerprints(sst_reader, rows).tolist() == outputs.hashes.tolist()


def test_training_remembers_its_validation_rows(tiny_archive: Path, sst_reader: SstReader) -> None:
    model: MultiExitClassifier = load(tiny_archive.parent)
    outputs = run_all_exits(model, sst_reader, read_rows(sst_reader, DEV))
    assert sorted(model.seen.temperatures.tolist()) == sorted(outputs.hashes.tolist())
