"""Heads that say when to stop."""

import math
from typing import Any

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary

from sledgehammer.dataset_readers import SstReader
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.signals import AllExits, signal_loss
from tests.conftest import TINY_BERT
from tests.tiny_training import batch_of_dev


@pytest.fixture
def signalling(vocab: Vocabulary) -> MultiExitClassifier:
    torch.manual_seed(0)
    return MultiExitClassifier(
        vocab, [0, 2, 3], model_name=TINY_BERT, pooling="mean", signals=["certainty", "depth"]
    )


def test_a_model_has_none_unless_asked(model: MultiExitClassifier, sst_reader: SstReader) -> None:
    tokens = batch_of_dev(model, sst_reader)["tokens"]
    assert model.runner.run_all_exits(tokens).signals == {}
    assert not [name for name in model.state_dict() if "halting" in name or "depth" in name]


def test_shapes_and_ranges(signalling: MultiExitClassifier, sst_reader: SstReader) -> None:
    found = signalling.eval().runner.run_all_exits(batch_of_dev(signalling, sst_reader)["tokens"])
    assert found.signals["certainty"].shape == found.signals["depth"].shape == (5, 3)
    assert ((found.signals["certainty"] >= 0) & (found.signals["certainty"] <= 1)).all()
    torch.testing.assert_close(found.signals["depth"].sum(dim=1), torch.ones(5))


def test_a_row_has_the_same_signals_alone_and_in_a_batch(
    signalling: MultiExitClassifier, sst_reader: SstReader
) -> None:
    runner = signalling.eval().runner
    tokens = batch_of_dev(signalling, sst_reader)["tokens"]
    together = runner.run_all_exits(tokens).signals
    for row, length in enumerate(tokens["attention_mask"].sum(dim=1).tolist()):
        alone = {name: values[row : row + 1, :length] for name, values in tokens.items()}
        for name, values in runner.run_all_exits(alone).signals.items():
            torch.testing.assert_close(values[0], together[name][row], rtol=1e-4, atol=1e-5)


def test_hand_computed_loss() -> None:
    """Two rows, two exits: the first row is right at once, the second never."""
    logits = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    certainty = torch.tensor([[0.9, 0.8], [0.3, 0.4]])
    depth = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    label = torch.tensor([1, 0])
    of_certainty = signal_loss(AllExits(logits, {"certainty": certainty}), label)
    assert of_certainty.item() == pytest.approx(-math.log(0.9 * 0.8 * 0.7 * 0.6) / 4)
    of_depth = signal_loss(AllExits(logits, {"depth": depth}), label)
    assert of_depth.item() == pytest.approx(-math.log(0.75 * 0.5) / 2)


def test_loss_of_certainties_that_are_quite_wrong_is_finite() -> None:
    found = AllExits(torch.tensor([[[0.0, 1.0]]]), {"certainty": torch.zeros(1, 1)})
    assert torch.isfinite(signal_loss(found, torch.tensor([1])))


def test_they_learn_and_the_rest_learns_as_without_them(
    signalling: MultiExitClassifier, model: MultiExitClassifier, sst_reader: SstReader
) -> None:
    missing = signalling.load_state_dict(model.state_dict(), strict=False).missing_keys
    gradients = []
    for each in (signalling, model):
        torch.manual_seed(1)  # dropout
        each.train()(**batch_of_dev(each, sst_reader))["loss"].backward()
        gradients.append({name: weight.grad for name, weight in each.named_parameters()})
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient)
    assert set(missing) == set(gradients[0]) - set(gradients[1])
    assert all(gradients[0][name].any() for name in missing)


@pytest.mark.parametrize("signals", ["certainty", ["nosuch"], [1]])
def test_bad_names(vocab: Vocabulary, signals: Any) -> None:
    with pytest.raises(ConfigurationError, match="signals must be a list of certainty and depth"):
        MultiExitClassifier(vocab, [0], model_name=TINY_BERT, signals=signals)
