"""Every instance exactly once: held-out parts, loader workers, distributed ranks."""

from collections import Counter
from pathlib import Path
from typing import List, Optional

import pytest
import torch.distributed as dist
from allennlp.common import util
from allennlp.common.checks import ConfigurationError
from allennlp.data import DatasetReader, Instance, Vocabulary
from allennlp.data.data_loaders import MultiProcessDataLoader
from allennlp.data.dataset_readers.dataset_reader import DistributedInfo

from sledgehammer.dataset_readers import ImdbReader
from sledgehammer.dataset_readers.holdout import held_out, split_path
from tests.conftest import FIXTURES, TINY_BERT

REVIEWS = str(FIXTURES / "quickstart/aclImdb/test")


def reader(max_instances: Optional[int] = None) -> ImdbReader:
    return ImdbReader(model_name=TINY_BERT, validation_size=30, max_instances=max_instances)


def ids(instances: List[Instance]) -> Counter:
    return Counter(tuple(instance["tokens"].input_ids.tolist()) for instance in instances)


def read(path: str = REVIEWS, max_instances: Optional[int] = None) -> Counter:
    return ids(list(reader(max_instances).read(path)))


def test_parts_are_disjoint_and_complete() -> None:
    train, validation = read(f"{REVIEWS}#train"), read(f"{REVIEWS}#validation")
    assert sum(validation.values()) == 30
    assert train + validation == read()
    assert not set(train) & set(validation)


def test_the_choice_is_the_same_everywhere() -> None:
    texts = [f"text {number}" for number in range(10)]
    assert held_out(texts, 3) == {3, 6, 7}


def test_equal_texts_stay_together() -> None:
    texts = ["same"] * 4 + [f"other {number}" for number in range(4)]
    assert held_out(texts, 2) <= {4, 5, 6, 7}
    with pytest.raises(ConfigurationError, match="can't be met"):
        held_out(["same"] * 5, 2)


@pytest.mark.parametrize("size", [0, 5, -1])
def test_bad_sizes(size: int) -> None:
    with pytest.raises(ConfigurationError, match="between 1 and 4"):
        held_out(list("abcde"), size)


def test_part_without_a_size() -> None:
    with pytest.raises(ConfigurationError, match="give the dataset reader a validation_size"):
        list(ImdbReader(model_name=TINY_BERT).read(f"{REVIEWS}#train"))


def test_paths() -> None:
    assert split_path("a#b.csv#train") == ("a#b.csv", "train")
    assert split_path("a!b#validation") == ("a!b", "validation")
    assert split_path("a#b.csv") == ("a#b.csv", "")


@pytest.mark.parametrize("max_instances", [None, 11])
@pytest.mark.parametrize("path", [REVIEWS, f"{REVIEWS}#train"])
def test_loader_workers(path: str, max_instances: Optional[int]) -> None:
    loader = MultiProcessDataLoader(
        reader(max_instances), path, batch_size=4, num_workers=2, start_method="fork"
    )
    loader.index_with(Vocabulary.from_instances(loader.iter_instances()))
    assert ids(list(loader.iter_instances())) == read(path, max_instances)


@pytest.mark.parametrize("max_instances", [None, 11])
def test_distributed_ranks(monkeypatch: pytest.MonkeyPatch, max_instances: Optional[int]) -> None:
    expected = read(max_instances=max_instances)
    found: Counter = Counter()
    for rank in range(3):
        with monkeypatch.context() as patch:
            worker: DatasetReader = reader(max_instances)
            worker._set_distributed_info(DistributedInfo(3, rank))
            patch.setattr(util, "is_distributed", lambda: True)
            patch.setattr(dist, "get_rank", lambda rank=rank: rank)
            patch.setattr(dist, "get_world_size", lambda: 3)
            found += ids(list(worker.read(REVIEWS)))
    assert found == expected


def test_half_written_snapshot_never_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import PretrainedConfig

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(PretrainedConfig, "save_pretrained", fails)
    with pytest.raises(OSError, match="disk full"):
        ImdbReader(model_name=TINY_BERT, serialization_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []
