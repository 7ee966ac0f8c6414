"""Inference in half the bytes: close to float32, and nothing else than inference."""

from pathlib import Path
from typing import Any, List

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary

from sledgehammer.dataset_readers import SstReader
from sledgehammer.model.base import ExitClassifier
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.encoder import LayeredEncoder, mean_pool
from sledgehammer.network.exit_head import ExitHead
from sledgehammer.network.precision import FormatRunner, checked_dtype
from sledgehammer.network.runner import LayerwiseRunner
from tests.conftest import TINY_BERT
from tests.network.test_encoder import CONFIGS, LAYERS, build, padded_batch
from tests.tiny_training import batch_of_dev, load


@pytest.fixture
def layer_dtypes(model: MultiExitClassifier, monkeypatch: pytest.MonkeyPatch) -> List[torch.dtype]:
    """Number formats of the states that came out of layers since."""
    seen: List[torch.dtype] = []
    original = LayeredEncoder.run_layer

    def run_layer(self: LayeredEncoder, index: int, inputs: Any) -> Any:
        outputs = original(self, index, inputs)
        seen.append(outputs.hidden.dtype)
        return outputs

    monkeypatch.setattr(LayeredEncoder, "run_layer", run_layer)
    return seen


@torch.no_grad()
@pytest.mark.parametrize("all_exits", [False, True])
def test_layers_are_converted_and_decisions_are_not(
    model: MultiExitClassifier,
    sst_reader: SstReader,
    layer_dtypes: List[torch.dtype],
    all_exits: bool,
) -> None:
    tensors = batch_of_dev(model, sst_reader)
    model.always_run_all_exits = all_exits
    exact = model(**tensors)
    assert set(layer_dtypes) == {torch.float32}
    model.use_number_format("bfloat16")
    layer_dtypes.clear()
    output = model(**tensors)
    assert set(layer_dtypes) == {torch.bfloat16}
    assert output["probs"].dtype == output["loss"].dtype == torch.float32
    assert not torch.equal(output["probs"], exact["probs"])
    torch.testing.assert_close(output["probs"], exact["probs"], rtol=0, atol=0.02)
    model.use_number_format("float32")
    assert torch.equal(model(**tensors)["probs"], exact["probs"])


def test_training_and_weights_stay_float32(
    model: MultiExitClassifier, sst_reader: SstReader, layer_dtypes: List[torch.dtype]
) -> None:
    tensors = batch_of_dev(model, sst_reader)
    keys = list(model.state_dict())
    model.use_number_format("bfloat16")
    with torch.no_grad():
        model(**tensors)
    layer_dtypes.clear()
    model.train()(**tensors)["loss"].backward()
    assert set(layer_dtypes) == {torch.float32}
    weights = model.state_dict()
    assert list(weights) == keys
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {torch.float32}
    assert all(p.grad is not None for p in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize("how", ["train", "load", "apply"])
def test_changed_weights_are_converted_anew(
    model: MultiExitClassifier, vocab: Vocabulary, sst_reader: SstReader, how: str
) -> None:
    tensors = batch_of_dev(model, sst_reader)
    model.use_number_format("bfloat16")
    before = model(**tensors)["probs"]
    other = MultiExitClassifier(vocab, [0, 2, 3], model_name=TINY_BERT, pooling="mean").eval()
    for parameter in other.encoder.parameters():
        parameter.mul_(1.5)
    if how == "load":
        model.load_state_dict(other.state_dict())
    elif how == "train":
        model.train()
        for own, new in zip(model.parameters(), other.parameters()):
            own.copy_(new)
        model.eval()
    else:
        model.load_state_dict(other.state_dict())
        model(**tensors)
        model.encoder.requires_grad_(False)
        model.double().float()
    other.use_number_format("bfloat16")
    after = model(**tensors)["probs"]
    assert not torch.equal(after, before)
    assert torch.equal(after, other(**tensors)["probs"])


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_family(name: str, pooling: str) -> None:
    encoder = LayeredEncoder(build(name), LAYERS, LAYERS, keep_pooler=pooling == "first").eval()
    exits = [ExitHead(layer, 16, 2).eval() for layer in (0, LAYERS - 1)]

    def build_runner(some: LayeredEncoder) -> LayerwiseRunner:
        return LayerwiseRunner(some, mean_pool if pooling == "mean" else some.pool_first, exits)

    batch = padded_batch(encoder.transformer)
    exact = FormatRunner(encoder, build_runner).run_all_exits(batch).logits
    logits = FormatRunner(encoder, build_runner, "bfloat16").run_all_exits(batch).logits
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, exact)
    torch.testing.assert_close(logits, exact, rtol=0, atol=0.1)


def test_an_archive_with_another_config(tiny_archive: Path) -> None:
    model = load(tiny_archive.parent, model__inference_dtype="bfloat16")
    assert model.runner.dtype == "bfloat16"
    assert next(model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("dtype", ["int8", "bf16", "", None, 16, ["float32"], True])
def test_unknown_names(model: MultiExitClassifier, vocab: Vocabulary, dtype: Any) -> None:
    message = "dtype must be one of float32, bfloat16, float16, got"
    with pytest.raises(ConfigurationError, match=message):
        checked_dtype(dtype)
    with pytest.raises(ConfigurationError, match=message):
        model.use_number_format(dtype)
    with pytest.raises(ConfigurationError, match=message):
        MultiExitClassifier(vocab, [0], model_name=TINY_BERT, inference_dtype=dtype)


@torch.no_grad()
def test_a_format_that_the_device_lacks(
    model: MultiExitClassifier, sst_reader: SstReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = batch_of_dev(model, sst_reader)

    def fail(*_: Any) -> None:
        raise RuntimeError("not implemented for 'Half'")

    model.use_number_format("float16")
    monkeypatch.setattr(LayeredEncoder, "run_layer", fail)
    with pytest.raises(
        ConfigurationError, match="cannot run this model in float16 on cpu: .*not implemented"
    ):
        model(**tensors)


def test_a_model_with_one_format(vocab: Vocabulary) -> None:
    with pytest.raises(ConfigurationError, match="one number format, not 'bfloat16'"):
        ExitClassifier(vocab, [0], 4).use_number_format("bfloat16")
