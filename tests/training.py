"""Tiny training runs within the test process."""

import json
from pathlib import Path
from typing import Any, Dict

from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.models import load_archive

from sledgehammer.model import MultiExitClassifier
from tests.conftest import FIXTURES, TINY_BERT


def tiny_params(**overrides: Any) -> Params:
    """`fixtures/tiny.jsonnet` with absolute paths; overrides have dots for `__`."""
    paths = {
        "dataset_reader.model_name": TINY_BERT,
        "train_data_path": str(FIXTURES / "sst/train.txt"),
        "validation_data_path": str(FIXTURES / "sst/dev.txt"),
        "trainer.cuda_device": -1,
    }
    paths.update({name.replace("__", "."): value for name, value in overrides.items()})
    return Params.from_file(str(FIXTURES / "tiny.jsonnet"), json.dumps(paths))


def train(directory: Path, recover: bool = False, **overrides: Any) -> Dict[str, Any]:
    """Train into `directory`; returns what `metrics.json` holds."""
    train_model(tiny_params(**overrides), str(directory), recover=recover)
    return json.loads((directory / "metrics.json").read_text())


def load(directory: Path, **overrides: Any) -> MultiExitClassifier:
    """The model of the archive in `directory`."""
    changed = {name.replace("__", "."): value for name, value in overrides.items()}
    model = load_archive(directory / "model.tar.gz", overrides=json.dumps(changed)).model
    assert isinstance(model, MultiExitClassifier)
    return model.eval()
