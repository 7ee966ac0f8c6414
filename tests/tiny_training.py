"""Tiny training runs within the test process, and the data they are judged on."""

import json
from pathlib import Path
from typing import Any, Dict

import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.data.batch import Batch
from allennlp.models import load_archive

from sledgehammer.dataset_readers import SstReader
from sledgehammer.model.multi_exit import MultiExitClassifier
from tests.conftest import FIXTURES, TINY_BERT

DEV = str(FIXTURES / "sst/dev.txt")


def dotted(overrides: Dict[str, Any]) -> Dict[str, Any]:
    """Keyword arguments as AllenNLP's overrides: `model__pooling` means `model.pooling`."""
    return {name.replace("__", "."): value for name, value in overrides.items()}


def tiny_params(**overrides: Any) -> Params:
    """`fixtures/tiny.jsonnet` with absolute paths; overrides have dots for `__`."""
    paths = {
        "dataset_reader.model_name": TINY_BERT,
        "train_data_path": str(FIXTURES / "sst/train.txt"),
        "validation_data_path": DEV,
        "trainer.cuda_device": -1,
    }
    given = dotted(overrides)
    kept = {name: value for name, value in paths.items() if name.split(".")[0] not in given}
    changed = {**kept, **given}
    return Params.from_file(str(FIXTURES / "tiny.jsonnet"), json.dumps(changed))


def train(directory: Path, recover: bool = False, **overrides: Any) -> Dict[str, Any]:
    """Train into `directory`; returns what `metrics.json` holds."""
    train_model(tiny_params(**overrides), str(directory), recover=recover)
    return json.loads((directory / "metrics.json").read_text())


def load(directory: Path, **overrides: Any) -> MultiExitClassifier:
    """The model of the archive in `directory`."""
    changed = json.dumps(dotted(overrides))
    model = load_archive(directory / "model.tar.gz", overrides=changed).model
    assert isinstance(model, MultiExitClassifier)
    return model.eval()


def batch_of_dev(model: MultiExitClassifier, reader: SstReader) -> Dict[str, Any]:
    """The five labelled rows of `fixtures/sst/dev.txt` as the model's input."""
    batch = Batch(list(reader.read(DEV)))
    batch.index_instances(model.vocab)
    return batch.as_tensor_dict()


def dev_logits(model: MultiExitClassifier, reader: SstReader) -> Dict[str, torch.Tensor]:
    """Logits of all exits (rows, exits, labels) and labels (rows,) of these rows."""
    tensors = batch_of_dev(model, reader)
    model.always_run_all_exits = True
    with torch.no_grad():
        logits = model(**tensors)["logits"]
    model.always_run_all_exits = False
    return {"logits": logits, "label": tensors["label"]}
