from typing import Dict, List

import pytest
import torch
from allennlp.data import Vocabulary

from sledgehammer.export.segments import full_model_of, segments_of, walk
from sledgehammer.model.multi_exit import MultiExitClassifier
from tests.conftest import TINY_BERT

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def some_tokens() -> Dict[str, torch.Tensor]:
    lengths = torch.tensor([7, 2, 5])
    mask = (torch.arange(7)[None, :] < lengths[:, None]).long()
    pieces = torch.arange(5, 26).view(3, 7) * mask
    return {"input_ids": pieces, "attention_mask": mask, "token_type_ids": torch.zeros_like(mask)}


@pytest.fixture(params=["mean", "first"])
def pooled(request: pytest.FixtureRequest, vocab: Vocabulary) -> MultiExitClassifier:
    torch.manual_seed(3)
    model = MultiExitClassifier(vocab, [0, 2, 3], model_name=TINY_BERT, pooling=request.param)
    for head in model.exits:  # a fresh mix is even: it would not show a wrong one
        if head.mix is not None:
            torch.nn.init.normal_(head.mix)
    return model.eval()


def test_the_chain_of_segments_is_the_model(pooled: MultiExitClassifier) -> None:
    tokens = some_tokens()
    with torch.no_grad():
        expected = pooled.runner.run_all_exits(tokens).logits
        logits: List[torch.Tensor] = []
        for segment, (inputs,) in walk(segments_of(pooled, INPUTS), [tokens]):
            logits.append(segment(*(inputs[name] for name in segment.inputs))[-1])
    torch.testing.assert_close(torch.stack(logits, dim=1), expected)


def test_segments_hand_on_what_the_next_one_takes(pooled: MultiExitClassifier) -> None:
    walked = list(walk(segments_of(pooled, INPUTS), [some_tokens()]))
    assert [segment.inputs for segment, _ in walked[1:]] == [
        ["hidden", "attention_mask", "pooled"]
    ] * 2
    assert [inputs[0]["pooled"].size(1) for _, inputs in walked[1:]] == [1, 3]
    assert walked[-1].segment.outputs == ["logits"]


def test_the_full_model_has_no_exit_but_the_last(pooled: MultiExitClassifier) -> None:
    tokens = some_tokens()
    full = full_model_of(pooled, INPUTS)
    with torch.no_grad():
        (logits,) = full(*tokens.values())
        inputs = pooled.encoder.start(tokens)
        for layer in range(4):
            inputs = pooled.encoder.run_layer(layer, inputs)
        states = pooled.encoder.pooling(pooled.pooling)(inputs)
        expected = pooled.exits[-1].linear(states)  # type: ignore[operator,union-attr]
    torch.testing.assert_close(logits, expected)


def test_the_model_is_as_before(pooled: MultiExitClassifier) -> None:
    before = {name: tensor.clone() for name, tensor in pooled.state_dict().items()}
    attention = getattr(pooled.encoder.transformer.config, "_attn_implementation", None)
    segments_of(pooled, INPUTS)
    assert all(torch.equal(before[name], now) for name, now in pooled.state_dict().items())
    assert getattr(pooled.encoder.transformer.config, "_attn_implementation", None) == attention
