"""The AllenNLP model."""

import math
from pathlib import Path
from typing import Any, List

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.common.testing import ModelTestCase
from allennlp.data import Vocabulary
from allennlp.models import Model
from torch.nn.functional import cross_entropy
from transformers import GPT2Config

from sledgehammer.dataset_readers import SstReader
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.families import FAMILIES
from sledgehammer.network.pretrained import load_config, load_transformer
from sledgehammer.objectives import RandomExitObjective
from sledgehammer.policies import ConfidencePolicy
from tests.conftest import FIXTURES, ROOT, TINY_BERT
from tests.tiny_training import DEV, batch_of_dev


class TestWithAllenNlpsChecks(ModelTestCase):
    @pytest.fixture(autouse=True)
    def in_the_top_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ROOT)

    def test_trains_saves_and_loads(self) -> None:
        self.ensure_model_can_train_save_and_load(FIXTURES / "tiny.jsonnet", tolerance=1e-3)

    def test_trains_saves_and_loads_with_queries(self) -> None:
        self.ensure_model_can_train_save_and_load(
            FIXTURES / "tiny.jsonnet",
            tolerance=1e-3,
            overrides='{"model.pooling": "attention", "model.queries": 4}',
        )

    def test_trains_saves_and_loads_with_first_token_pooling(self) -> None:
        self.ensure_model_can_train_save_and_load(
            FIXTURES / "tiny.jsonnet", tolerance=1e-3, overrides='{"model.pooling": "first"}'
        )

    def test_predictions_do_not_depend_on_the_batch(self, tmp_path: Path) -> None:
        self.set_up_model(FIXTURES / "tiny.jsonnet", DEV, serialization_dir=str(tmp_path))
        # A threshold in the middle of the confidences, so that rows leave at several exits.
        self.model.policy = ConfidencePolicy(0.0)
        first = self.model.eval().forward_on_instances(self.instances)
        middle = sorted(float(output["confidence"]) for output in first)[len(first) // 2]
        self.model.policy = ConfidencePolicy(middle - 1e-5)
        answers = self.model.forward_on_instances(self.instances)
        assert len({int(output["exit_layer"]) for output in answers}) > 1
        self.ensure_batch_predictions_are_consistent()


BAD_EXIT_LAYERS = [[], [2, 1], [1, 1], [-1, 2], [0, 4], [True, 2], [0.0, 2.0], ["0"], 3, "3", None]


@pytest.mark.parametrize("exit_layers", BAD_EXIT_LAYERS, ids=repr)
def test_bad_exit_layers(vocab: Vocabulary, exit_layers: Any) -> None:
    with pytest.raises(ConfigurationError, match="layers between 0 and 3"):
        MultiExitClassifier(vocab, exit_layers, model_name=TINY_BERT)
    # In a config file the same: AllenNLP's own conversions must not come first.
    params = {"type": "sledgehammer", "exit_layers": exit_layers, "model_name": TINY_BERT}
    with pytest.raises(ConfigurationError, match="layers between 0 and 3"):
        Model.from_params(Params(params), vocab=vocab)


def test_unsupported_transformer(vocab: Vocabulary, tmp_path: Path) -> None:
    GPT2Config(n_layer=2).save_pretrained(tmp_path)
    with pytest.raises(ConfigurationError, match="'gpt2' are not supported") as error:
        MultiExitClassifier(vocab, [0], model_name=str(tmp_path))
    assert all(name in str(error.value) for name in FAMILIES)


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


@pytest.mark.parametrize("pooling", ["first", "mean"])
@torch.no_grad()
def test_logits_are_those_of_the_librarys_model(
    vocab: Vocabulary, sst_reader: SstReader, pooling: str
) -> None:
    """The mix of the pooled states of the library's own forward pass, through the exit's map."""
    model = MultiExitClassifier(vocab, [0, 2], model_name=TINY_BERT, pooling=pooling).eval()
    model.exits[1].mix.copy_(torch.tensor([0.3, -0.5, 1.0]))
    tokens = batch_of_dev(model, sst_reader)["tokens"]
    bert = load_transformer(TINY_BERT, load_config(TINY_BERT)).eval()
    arguments = {**tokens, "attention_mask": tokens["attention_mask"].long()}
    states = bert(**arguments, output_hidden_states=True).hidden_states[1:4]
    if pooling == "first":
        pooled = [bert.pooler(state) for state in states]
    else:
        mask = tokens["attention_mask"]
        pooled = [torch.stack([s[m].mean(dim=0) for s, m in zip(state, mask)]) for state in states]
    weights = torch.softmax(model.exits[1].mix, dim=0)
    mixed = sum(weight * state for weight, state in zip(weights, pooled))
    model.always_run_all_exits = True
    logits = model(tokens)["logits"]
    torch.testing.assert_close(logits[:, 0], model.exits[0].linear(pooled[0]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits[:, 1], model.exits[1].linear(mixed), rtol=1e-4, atol=1e-5)


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
    torch.testing.assert_close(output["layer_speedup"], 4 / output["layers_run"].float())


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


def test_objective_is_the_one_given(vocab: Vocabulary, sst_reader: SstReader) -> None:
    model = MultiExitClassifier(
        vocab, [0, 3], model_name=TINY_BERT, objective=RandomExitObjective(), dropout=0.0
    )
    tensors = batch_of_dev(model, sst_reader)
    output = model.train()(**tensors)
    losses = [cross_entropy(output["logits"][:, i], tensors["label"]) for i in range(2)]
    assert any(torch.isclose(output["loss"], loss) for loss in losses)


@torch.no_grad()
def test_validation_loss_does_not_depend_on_chance(
    model: MultiExitClassifier, sst_reader: SstReader
) -> None:
    model.objective = RandomExitObjective()
    model.always_run_all_exits = True
    tensors = batch_of_dev(model, sst_reader)
    assert len({float(model(**tensors)["loss"]) for _ in range(6)}) == 1


@pytest.mark.parametrize("pooling", ["first", "mean", "attention"])
def test_every_parameter_learns(vocab: Vocabulary, sst_reader: SstReader, pooling: str) -> None:
    """A parameter without a gradient would stop distributed training."""
    model = MultiExitClassifier(vocab, [0, 2], model_name=TINY_BERT, pooling=pooling).train()
    model(**batch_of_dev(model, sst_reader))["loss"].backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


@torch.no_grad()
def test_loss_of_a_certain_and_wrong_answer_is_finite(
    model: MultiExitClassifier, sst_reader: SstReader
) -> None:
    """Exits can be so sure that the other label's probability is 0 in float32."""
    tensors = batch_of_dev(model, sst_reader)
    model.temperatures.fill_(1e-5)
    probs = model(**tensors)["probs"]
    assert (probs.min(dim=-1).values == 0.0).all()
    wrong = float(model(tensors["tokens"], probs.argmin(dim=-1))["loss"])
    assert math.isfinite(wrong) and wrong > 80
    assert float(model(tensors["tokens"], probs.argmax(dim=-1))["loss"]) == 0.0


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
