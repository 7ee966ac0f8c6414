"""The AllenNLP model."""

import shutil
from pathlib import Path
from typing import Any, List

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.common.testing import ModelTestCase
from allennlp.data import Vocabulary
from allennlp.data.batch import Batch
from allennlp.models import load_archive
from torch.nn.functional import cross_entropy

from sledgehammer.dataset_readers import SstReader
from sledgehammer.model import MultiExitClassifier
from tests.conftest import FIXTURES, ROOT, TINY_BERT
from tests.training import load, train

DEV = str(FIXTURES / "sst/dev.txt")


class TestWithAllenNlpsChecks(ModelTestCase):
    @pytest.fixture(autouse=True)
    def in_the_top_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ROOT)

    def test_trains_saves_and_loads(self) -> None:
        self.ensure_model_can_train_save_and_load(FIXTURES / "tiny.jsonnet", tolerance=1e-3)

    def test_trains_saves_and_loads_with_first_token_pooling(self) -> None:
        self.ensure_model_can_train_save_and_load(
            FIXTURES / "tiny.jsonnet", tolerance=1e-3, overrides='{"model.pooling": "first"}'
        )

    def test_predictions_do_not_depend_on_the_batch(self, tmp_path: Path) -> None:
        self.set_up_model(FIXTURES / "tiny.jsonnet", DEV, serialization_dir=str(tmp_path))
        self.ensure_batch_predictions_are_consistent(keys_to_ignore=["loss"])


def batch_of_dev(model: MultiExitClassifier, reader: SstReader) -> Any:
    batch = Batch(list(reader.read(DEV)))
    batch.index_instances(model.vocab)
    return batch.as_tensor_dict()


@pytest.mark.parametrize(
    "exit_layers",
    [[], [2, 1], [1, 1], [-1, 2], [0, 4], [True, 2], [0.0, 2.0], ["0"]],
    ids=str,
)
def test_bad_exit_layers(vocab: Vocabulary, exit_layers: List[Any]) -> None:
    with pytest.raises(ConfigurationError, match="layers between 0 and 3"):
        MultiExitClassifier(vocab, exit_layers, model_name=TINY_BERT)


def test_bad_pooling(vocab: Vocabulary) -> None:
    with pytest.raises(ConfigurationError, match="'first' or 'mean', got 'max'"):
        MultiExitClassifier(vocab, [0], model_name=TINY_BERT, pooling="max")


def test_model_needs_a_name_outside_of_a_training_run(vocab: Vocabulary) -> None:
    with pytest.raises(ConfigurationError, match="no model_name"):
        MultiExitClassifier(vocab, [0])


@pytest.mark.parametrize("exit_layers, kept", [([3], 4), ([1], 2), ([0, 2], 3)])
def test_no_layer_above_the_last_exit_is_kept(
    vocab: Vocabulary, exit_layers: List[int], kept: int
) -> None:
    model = MultiExitClassifier(vocab, exit_layers, model_name=TINY_BERT)
    assert len(model.encoder.transformer.encoder.layer) == kept
    assert model.encoder.full_layers == 4
    layers = {key.split(".")[4] for key in model.state_dict() if "encoder.layer." in key}
    assert layers == {str(layer) for layer in range(kept)}


def test_pretrained_weights_are_those_of_the_folder(vocab: Vocabulary) -> None:
    from safetensors.torch import load_file

    stored = load_file(f"{TINY_BERT}/model.safetensors")
    model = MultiExitClassifier(vocab, [1], model_name=TINY_BERT)
    loaded = model.encoder.transformer.state_dict()
    compared = [key for key in loaded if key in stored]
    assert len(compared) > 30
    assert all(torch.equal(loaded[key], stored[key]) for key in compared)


@torch.no_grad()
def test_output_is_indexed_by_row(model: MultiExitClassifier, sst_reader: SstReader) -> None:
    tensors = batch_of_dev(model, sst_reader)
    output = model(**tensors)
    assert {name: len(value) for name, value in output.items() if name != "loss"} == dict.fromkeys(
        ("probs", "confidence", "exit_layer", "layers_run", "layer_speedup"), 5
    )
    chosen = output["probs"][torch.arange(5), tensors["label"]]
    torch.testing.assert_close(output["loss"], -chosen.log().mean())
    assert torch.equal(output["layers_run"], output["exit_layer"] + 1)


@pytest.mark.parametrize("training", [True, False])
def test_all_exits_run_in_training_and_validation(
    model: MultiExitClassifier, sst_reader: SstReader, training: bool
) -> None:
    tensors = batch_of_dev(model, sst_reader)
    model.train(training)
    model.always_run_all_exits = not training
    output = model(**tensors)
    assert output["logits"].shape == (5, 3, 2)
    losses = [cross_entropy(output["logits"][:, i], tensors["label"]) for i in range(3)]
    torch.testing.assert_close(output["loss"], sum(losses))
    metrics = model.get_metrics(reset=True)
    for position, layer in enumerate(model.exit_layers):
        right = output["logits"][:, position].argmax(-1) == tensors["label"]
        assert metrics[f"exit_{layer}_accuracy"] == pytest.approx(float(right.double().mean()))
    assert "accuracy" in metrics and "share_at_exit_0" in metrics


@torch.no_grad()
def test_unlabelled_batch(model: MultiExitClassifier, sst_reader: SstReader) -> None:
    tokens = batch_of_dev(model, sst_reader)["tokens"]
    for all_exits in (False, True):
        model.always_run_all_exits = all_exits
        assert "loss" not in model(tokens)
    assert model.get_metrics(reset=True) == {}


def test_human_readable_output(model: MultiExitClassifier) -> None:
    probs = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    readable = model.make_output_human_readable(
        {"probs": probs, "logits": probs, "loss": probs.sum()}
    )
    assert readable == {
        "label": ["positive", "negative"],
        "probs": [{"negative": 0.25, "positive": 0.75}, {"negative": 0.5, "positive": 0.5}],
    }


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


def test_other_model_name_than_the_readers(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must use the same transformer"):
        train(tmp_path, model__model_name="bert-base-uncased")
