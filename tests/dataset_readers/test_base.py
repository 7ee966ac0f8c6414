"""What all readers do with their rows: tokenise, truncate, shard."""

from collections import Counter
from typing import List, Optional

import pytest
import torch.distributed as dist
from allennlp.common import util
from allennlp.common.checks import ConfigurationError
from allennlp.data import Batch, DatasetReader, Instance, Vocabulary
from allennlp.data.data_loaders import MultiProcessDataLoader
from allennlp.data.dataset_readers.dataset_reader import DistributedInfo

from sledgehammer.dataset_readers import ImdbReader, SnliReader
from tests.conftest import FIXTURES, TINY_BERT

REVIEWS = str(FIXTURES / "quickstart/aclImdb/test")


def reader(max_instances: Optional[int] = None) -> ImdbReader:
    return ImdbReader(model_name=TINY_BERT, validation_size=30, max_instances=max_instances)


def ids(instances: List[Instance]) -> Counter:
    return Counter(tuple(instance["tokens"].input_ids.tolist()) for instance in instances)


def read(path: str = REVIEWS, max_instances: Optional[int] = None) -> Counter:
    return ids(list(reader(max_instances).read(path)))


def test_text_to_instance_without_a_label(snli_reader: SnliReader) -> None:
    assert "label" not in reader().text_to_instance("a good film")
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


def test_parts_are_disjoint_and_complete() -> None:
    train, validation = read(f"{REVIEWS}#train"), read(f"{REVIEWS}#validation")
    assert sum(validation.values()) == 30
    assert train + validation == read()
    assert not set(train) & set(validation)


def test_part_without_a_size() -> None:
    with pytest.raises(ConfigurationError, match="give the dataset reader a validation_size"):
        list(ImdbReader(model_name=TINY_BERT).read(f"{REVIEWS}#train"))


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


def test_pieces_are_those_of_the_whole_texts(snli_reader: SnliReader) -> None:
    short, long = ["A man sleeps .", "A person ."], ["a man " * 400, "a woman"]
    pieces = snli_reader.pieces([short, long])
    (encoded,) = snli_reader.encode([short])
    first, second = pieces[0]
    within = [i for i in encoded["input_ids"] if i not in snli_reader._tokenizer.all_special_ids]
    known = [i for i in first + second if i not in snli_reader._tokenizer.all_special_ids]
    assert known == within and first and second
    ((man, woman),) = snli_reader.pieces([["a man", "a woman"]])
    assert pieces[1] == [man * 400, woman] and len(man * 400) > snli_reader.max_length
    assert snli_reader.pieces([]) == []


def test_tensors_are_those_of_a_batch_of_instances(snli_reader: SnliReader) -> None:
    rows = [["a boy runs", "he is fast"], ["a dog", "it barks at the boy and at geese"], ["a", "b"]]
    batch = Batch([snli_reader.text_to_instance(*texts) for texts in rows])
    batch.index_instances(Vocabulary())
    expected = batch.as_tensor_dict()["tokens"]
    tensors = snli_reader.tensors(snli_reader.encode(rows))
    assert set(tensors) == set(expected)
    for name, tensor in tensors.items():
        assert tensor.tolist() == expected[name].long().tolist(), name
