"""The AllenNLP model through training runs and archives."""

import shutil
from pathlib import Path

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.models import load_archive

from sledgehammer.objectives import RandomExitObjective
from tests.conftest import TINY_BERT
from tests.tiny_training import load, train


@pytest.fixture
def archive_without_its_source(tmp_path: Path) -> Path:
    """A training run whose pretrained transformer has since been deleted."""
    source = tmp_path / "source"
    shutil.copytree(TINY_BERT, source)
    train(tmp_path / "run", dataset_reader__model_name=str(source), trainer__num_epochs=1)
    shutil.rmtree(source)
    return tmp_path / "run"


def test_archive_loads_without_the_pretrained_transformer(
    archive_without_its_source: Path,
) -> None:
    archive = load_archive(archive_without_its_source / "model.tar.gz")
    trained = torch.load(archive_without_its_source / "best.th", map_location="cpu")
    loaded = archive.model.state_dict()
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[name], trained[name]) for name in trained)
    instance = archive.dataset_reader.text_to_instance("a good story")
    assert "label" in archive.model.forward_on_instance(instance)


def test_threshold_can_be_overridden_when_an_archive_is_loaded(tmp_path: Path) -> None:
    train(tmp_path, trainer__num_epochs=1, model__policy__threshold=0.75)
    assert load(tmp_path).policy.threshold == 0.75
    assert load(tmp_path, model__policy__threshold=0.25).policy.threshold == 0.25


def test_baseline_by_override_alone(tmp_path: Path) -> None:
    metrics = train(tmp_path, model__exit_layers=[1], trainer__num_epochs=1)
    assert metrics["best_validation_layer_speedup"] == 2.0
    assert load(tmp_path).exit_layers == [1]


def test_random_exit_by_override_alone(tmp_path: Path) -> None:
    metrics = train(tmp_path, model__objective__type="random_exit", trainer__num_epochs=1)
    assert metrics["best_validation_exit_3_temperature"] > 0
    assert isinstance(load(tmp_path).objective, RandomExitObjective)


def test_other_model_name_than_the_readers(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must use the same transformer"):
        train(tmp_path, model__model_name="bert-base-uncased")
