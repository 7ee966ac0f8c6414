"""Every layer gets the mean gradient of the exits above it."""

from typing import Dict, Optional

import pytest
import torch
from allennlp.data import Vocabulary

from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.runner import GradientFlow
from sledgehammer.objectives import GradientEquilibriumObjective
from tests.conftest import TINY_BERT
from tests.objectives.batches import losses_of, random_batch

EXITS = [0, 2, 3]


def test_loss_is_the_joint_one() -> None:
    batch = random_batch()
    torch.testing.assert_close(GradientEquilibriumObjective().loss(batch), losses_of(batch).sum())


@pytest.fixture(params=["mean", "first", "attention"])
def model(request: pytest.FixtureRequest, vocab: Vocabulary) -> MultiExitClassifier:
    torch.manual_seed(0)
    return MultiExitClassifier(
        vocab, EXITS, model_name=TINY_BERT, pooling=request.param, dropout=0.0
    ).eval()


def gradients(
    model: MultiExitClassifier, flow: GradientFlow, exit: Optional[int] = None
) -> Dict[str, torch.Tensor]:
    """Those of one exit's loss, or of the sum of all."""
    ids = torch.randint(5, 100, (4, 6), generator=torch.Generator().manual_seed(0))
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}
    model.zero_grad()
    losses = model.runner.run_all_exits(tokens, flow).logits.square().sum(dim=(0, 2))
    (losses.sum() if exit is None else losses[exit]).backward()
    return {
        name: weight.grad.clone()
        for name, weight in model.named_parameters()
        if weight.grad is not None
    }


def test_layers_learn_from_the_mean_and_exits_from_their_own_loss(
    model: MultiExitClassifier,
) -> None:
    found = gradients(model, GradientFlow.EQUILIBRIUM)
    alone = [gradients(model, GradientFlow.ALL, exit) for exit in range(len(EXITS))]
    for name in found:
        if ".pooler." in name:
            continue  # all exits share it
        if name.startswith("exits."):
            expected = alone[int(name.split(".")[1])][name]
        else:
            layer = int(name.split(".layer.")[1].split(".")[0]) if ".layer." in name else 0
            above = [exit for exit, top in enumerate(EXITS) if top >= layer]
            expected = sum(alone[exit][name] for exit in above) / len(above)  # type: ignore[assignment]
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-5, msg=name)


def test_outputs_are_the_same(model: MultiExitClassifier) -> None:
    ids = torch.randint(5, 100, (4, 6))
    tokens = {"input_ids": ids, "attention_mask": torch.ones_like(ids, dtype=torch.bool)}
    joint = model.runner.run_all_exits(tokens).logits
    assert torch.equal(joint, model.runner.run_all_exits(tokens, GradientFlow.EQUILIBRIUM).logits)
