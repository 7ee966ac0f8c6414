"""With two real workers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from allennlp.data import Vocabulary

from sledgehammer.model.metrics import AnswerStatistics, ExitAccuracy
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.fingerprints import row_hashes
from sledgehammer.training.callbacks import CalibrationCallback
from sledgehammer.training.distributed import gather_rows
from tests.conftest import TINY_BERT

ROWS = torch.arange(14.0).reshape(7, 2)
ANSWERED_BY = torch.tensor([0, 1, 1, 0, 1, 1, 0])
CONFIDENCE = torch.tensor([0.5, 0.9, 0.7, 0.6, 0.8, 0.9, 1.0])
CORRECT = torch.tensor([True, True, False, True, False, True, True])
SHARES = {"unequal": (slice(0, 5), slice(5, 7)), "none for one": (slice(0, 0), slice(0, 7))}
"""The rows of each worker: not the same number."""


def figures(rows: slice) -> Dict[str, float]:
    statistics, accuracy = AnswerStatistics([0, 3], 4), ExitAccuracy([0, 3])
    statistics(ANSWERED_BY[rows], CONFIDENCE[rows], CORRECT[rows])
    logits = torch.stack([ROWS, -ROWS], dim=1)[rows]
    accuracy(logits, ANSWERED_BY[rows])
    return {**statistics.get_metric(reset=True), **accuracy.get_metric(reset=True)}


def learned(rows: slice, directory: str) -> torch.Tensor:
    """What a worker's callback remembers after it was shown its share of the training rows."""
    vocab = Vocabulary()
    for label in ("negative", "positive"):
        vocab.add_token_to_namespace(label, "labels")
    model = MultiExitClassifier(vocab, [0, 3], model_name=TINY_BERT, pooling="mean")
    callback = CalibrationCallback(directory)
    callback.trainer = trainer = SimpleNamespace(model=model)  # type: ignore[assignment]
    ids = ROWS[rows].long()
    if len(ids):
        tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        batch: Any = [{"tokens": tokens}]
        callback.on_batch(trainer, batch, [{}], {}, 0, 0, is_training=True)  # type: ignore[arg-type]
    callback.on_epoch(trainer, {}, 0)  # type: ignore[arg-type]
    return model.seen.weights


def worker(rank: int, directory: str) -> None:
    dist.init_process_group("gloo", f"file://{directory}/store", rank=rank, world_size=2)
    found: Dict[str, Dict[str, Any]] = {}
    for name, shares in SHARES.items():
        rows = shares[rank]
        found[name] = {
            "figures": figures(rows),
            "rows": gather_rows(ROWS[rows]),
            "labels": gather_rows(ANSWERED_BY[rows]),
            "learned": learned(rows, f"{directory}/{name}"),
        }
    torch.save(found, f"{directory}/{rank}.pt")
    dist.destroy_process_group()


def test_alone_nothing_is_gathered() -> None:
    assert gather_rows(ROWS) is ROWS


def test_two_workers_know_what_one_would(tmp_path: Path) -> None:
    mp.spawn(worker, (str(tmp_path),), nprocs=2)
    expected = figures(slice(None))
    ids = ROWS.long()
    everything = row_hashes({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name in SHARES:
            assert torch.equal(found[name]["rows"], ROWS)
            assert torch.equal(found[name]["labels"], ANSWERED_BY)
            assert found[name]["learned"].tolist() == sorted(everything.tolist())
            assert found[name]["figures"] == pytest.approx(expected)
