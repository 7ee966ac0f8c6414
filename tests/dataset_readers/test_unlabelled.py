"""Texts without labels."""

import json
from pathlib import Path

import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.dataset_readers import UnlabelledReader
from tests.conftest import FIXTURES, TINY_BERT
from tests.tiny_training import train


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.jsonl"
    lines = [{"text": "a quiet film"}, {"text": "too loud", "label": "negative"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_labels_stand_for_none(texts: Path) -> None:
    instances = list(UnlabelledReader(model_name=TINY_BERT).read(str(texts)))
    assert [instance["label"].label for instance in instances] == [-1, -1]
    assert len(instances[0]["tokens"].input_ids) > 2


def test_pairs(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"premise": "A man.", "hypothesis": "A person."}\n')
    reader = UnlabelledReader(["premise", "hypothesis"], model_name=TINY_BERT)
    (instance,) = reader.read(str(file))
    assert 1 in instance["tokens"].token_type_ids


def test_too_many_fields() -> None:
    with pytest.raises(ConfigurationError, match="one or two names"):
        UnlabelledReader(["a", "b", "c"], model_name=TINY_BERT)


def test_they_take_part_in_training_beside_labelled_rows(tmp_path: Path, texts: Path) -> None:
    sst = {"type": "sledgehammer_sst", "model_name": TINY_BERT}
    metrics = train(
        tmp_path / "run",
        dataset_reader={
            "type": "interleaving",
            "readers": {
                "labelled": sst,
                "unlabelled": {"type": "sledgehammer_unlabelled", "model_name": TINY_BERT},
            },
            "dataset_field_name": "metadata",
        },
        validation_dataset_reader=sst,
        train_data_path=json.dumps(
            {"labelled": str(FIXTURES / "sst/train.txt"), "unlabelled": str(texts)}
        ),
        model__objective={"type": "self_distillation"},
        trainer__num_epochs=2,
    )
    assert (tmp_path / "run/model.tar.gz").is_file()
    # Of 9 labelled rows, whatever the 2 others are.
    assert (9 * metrics["training_accuracy"]) % 1 == pytest.approx(0, abs=1e-6)
