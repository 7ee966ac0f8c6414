"""Pooling by learned queries."""

from typing import Any, Dict, List

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary

from sledgehammer.benchmark.plain import PlainClassifier
from sledgehammer.dataset_readers import SstReader
from sledgehammer.export.segments import full_model_of, segments_of, walk
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network.encoder import LayerInput, mean_pool
from sledgehammer.network.pooling import AttentionPooling
from sledgehammer.network.runner import GradientFlow
from sledgehammer.policies import ConfidencePolicy
from tests.conftest import TINY_BERT
from tests.export.test_segments import INPUTS, some_tokens
from tests.tiny_training import batch_of_dev

QUERIES = pytest.mark.parametrize("queries", [1, 4])


def attentive(vocab: Vocabulary, queries: int = 1, fresh: bool = False, **more: Any) -> Any:
    """The tiny model with queries; unless `fresh`, with those and a mix that are not even."""
    torch.manual_seed(0)
    model = MultiExitClassifier(
        vocab, [0, 2, 3], model_name=TINY_BERT, pooling="attention", queries=queries, **more
    ).eval()
    for head in [] if fresh else model.exits:
        torch.nn.init.normal_(head.pool.query)
        if head.mix is not None:
            torch.nn.init.normal_(head.mix)
    return model


@QUERIES
def test_it_begins_as_the_mean(queries: int) -> None:
    pool = AttentionPooling(queries, 8)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]).bool()
    hidden = torch.randn(3, 4, 8)
    mean = mean_pool(LayerInput(hidden, mask, None))
    torch.testing.assert_close(pool(hidden, mask), mean.repeat(1, queries))


def test_it_is_a_softmax_of_products() -> None:
    pool = AttentionPooling(2, 2)
    with torch.no_grad():
        pool.query.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    states = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]])
    mask = torch.tensor([[True, True, False]])
    first, second = torch.softmax(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), dim=1)
    expected = torch.cat([first, second])[None]  # the states are the axes
    torch.testing.assert_close(pool(states, mask), expected)


@QUERIES
@torch.no_grad()
def test_a_fresh_model_is_that_of_mean_pooling(
    queries: int, vocab: Vocabulary, sst_reader: SstReader
) -> None:
    model = attentive(vocab, queries, fresh=True)
    mean = MultiExitClassifier(vocab, [0, 2, 3], model_name=TINY_BERT, pooling="mean").eval()
    for head, other in zip(model.exits, mean.exits):
        blocks = head.linear.weight.view(2, queries, -1)
        other.linear.weight.copy_(blocks.sum(dim=1))  # type: ignore[union-attr, operator]
        other.linear.bias.copy_(head.linear.bias)  # type: ignore[union-attr, operator]
    tokens = batch_of_dev(model, sst_reader)["tokens"]
    torch.testing.assert_close(
        model.runner.run_all_exits(tokens).logits, mean.runner.run_all_exits(tokens).logits
    )


@QUERIES
@torch.no_grad()
def test_an_exit_looks_at_its_own_layer_by_itself_and_at_those_below_as_all_do(
    queries: int, vocab: Vocabulary
) -> None:
    model, tokens = attentive(vocab, queries), some_tokens()
    inputs = model.encoder.start(tokens)
    layers: List[LayerInput] = []
    for layer in range(4):
        inputs = model.encoder.run_layer(layer, inputs)
        layers.append(inputs)
    head = model.exits[1]
    own = []
    for query in head.pool.query:
        scores = (layers[2].hidden @ query).masked_fill(~layers[2].mask, float("-inf"))
        own.append((torch.softmax(scores, dim=1)[..., None] * layers[2].hidden).sum(dim=1))
    states = [mean_pool(below).repeat(1, queries) for below in layers[:2]] + [torch.cat(own, dim=1)]
    shares = torch.softmax(head.mix, dim=0)
    mixed = sum(share * state for share, state in zip(shares, states))
    found = model.runner.run_all_exits(tokens).logits[:, 1]
    torch.testing.assert_close(found, head.linear(mixed), rtol=1e-4, atol=1e-5)


@QUERIES
@torch.no_grad()
def test_padding_changes_nothing(queries: int, vocab: Vocabulary) -> None:
    model, tokens = attentive(vocab, queries), some_tokens()
    wider = {name: torch.nn.functional.pad(t, (0, 5), value=0) for name, t in tokens.items()}
    wider["input_ids"][:, 7:] = 9
    torch.testing.assert_close(
        model.runner.run_all_exits(wider).logits, model.runner.run_all_exits(tokens).logits,
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


@QUERIES
@pytest.mark.parametrize("threshold", [0.0, 0.52, 1.0])
@torch.no_grad()
def test_rows_alone_are_as_in_batches(queries: int, threshold: float, vocab: Vocabulary) -> None:
    model, tokens = attentive(vocab, queries), some_tokens()
    model.policy = ConfidencePolicy(threshold)
    together = model(tokens)
    for row, length in enumerate(tokens["attention_mask"].sum(dim=1).tolist()):
        alone = model({name: t[row : row + 1, :length] for name, t in tokens.items()})
        torch.testing.assert_close(alone["probs"][0], together["probs"][row], rtol=1e-4, atol=1e-5)
        assert alone["exit_layer"][0] == together["exit_layer"][row]


@torch.no_grad()
def test_rows_stop_where_the_answers_of_all_exits_say(vocab: Vocabulary) -> None:
    """With signals, and a threshold between the confidences, so that rows part."""
    model, tokens = attentive(vocab, 4, signals=["certainty"]), some_tokens()
    found = model.runner.run_all_exits(tokens)
    assert found.signals["certainty"].shape == (3, 3)
    first = torch.softmax(found.logits[:, 0], dim=-1).amax(dim=-1)
    model.policy = ConfidencePolicy(float(first.sort().values[1]))
    expected, answers = model.answer(found.logits), model(tokens)
    assert len(set(expected.exit.tolist())) > 1
    assert answers["exit_layer"].tolist() == [model.exit_layers[e] for e in expected.exit]
    torch.testing.assert_close(answers["probs"], expected.probs, rtol=1e-4, atol=1e-5)


@QUERIES
def test_queries_move_in_training(queries: int, vocab: Vocabulary, sst_reader: SstReader) -> None:
    model = attentive(vocab, queries, fresh=True).train()
    batch: Dict[str, Any] = batch_of_dev(model, sst_reader)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch)["loss"].backward()
        optimizer.step()
    for head in model.exits:
        assert (head.pool.query.abs().amax(dim=1) > 1e-3).all()
        # Several do not move as one.
        assert queries == 1 or not torch.allclose(head.pool.query[0], head.pool.query[1], rtol=0.1)


def test_lower_exits_learn_to_look_while_all_else_is_frozen(
    vocab: Vocabulary, sst_reader: SstReader
) -> None:
    model = attentive(vocab).train()
    tokens = batch_of_dev(model, sst_reader)["tokens"]
    found = model.runner.run_all_exits(tokens, GradientFlow.LOWER_EXITS)
    found.logits.square().sum().backward()
    learning = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert learning == {
        "exits.0.pool.query", "exits.0.linear.weight", "exits.0.linear.bias", "exits.1.mix",
        "exits.1.pool.query", "exits.1.linear.weight", "exits.1.linear.bias",
    }  # fmt: skip


@QUERIES
@torch.no_grad()
def test_segments_are_the_model(queries: int, vocab: Vocabulary) -> None:
    model, tokens = attentive(vocab, queries), some_tokens()
    expected = model.runner.run_all_exits(tokens).logits
    logits, pooled = [], []
    for segment, (inputs,) in walk(segments_of(model, INPUTS), [tokens]):
        logits.append(segment(*(inputs[name] for name in segment.inputs))[-1])
        pooled.append(inputs.get("pooled"))
    torch.testing.assert_close(torch.stack(logits, dim=1), expected)
    # What engines hand on is as without queries.
    assert [tuple(states.shape) for states in pooled[1:]] == [(3, 1, 16), (3, 3, 16)]


@torch.no_grad()
def test_rivals_without_exits_pool_as_the_model_does(vocab: Vocabulary) -> None:
    model, tokens = attentive(vocab, 4), some_tokens()
    inputs = model.encoder.start(tokens)
    for layer in range(4):
        inputs = model.encoder.run_layer(layer, inputs)
    head = model.exits[-1]
    expected = head.linear(head.pool.of(inputs))
    (full,) = full_model_of(model, INPUTS)(*tokens.values())
    torch.testing.assert_close(full, expected)
    plain = PlainClassifier(model, 2)({**tokens, "attention_mask": tokens["attention_mask"]})
    torch.testing.assert_close(plain, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16"])
@torch.no_grad()
def test_half_precision_is_near(dtype: str, vocab: Vocabulary) -> None:
    model, tokens = attentive(vocab, 4), some_tokens()
    expected = model.runner.run_all_exits(tokens).logits
    model.use_number_format(dtype)
    found = model.runner.run_all_exits(tokens).logits
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    "arguments, problem",
    [
        ({"pooling": "max"}, "pooling must be one of first, mean, attention, got 'max'"),
        ({"pooling": "attention", "queries": 0}, "queries must be .* at least 1, got 0"),
        ({"pooling": "attention", "queries": True}, "queries must be .* at least 1, got True"),
        ({"pooling": "attention", "queries": 1.5}, "queries must be .* at least 1, got 1.5"),
        ({"pooling": "mean", "queries": 4}, "'mean' has none: give pooling 'attention'"),
    ],
)
def test_bad_arguments(arguments: Dict[str, Any], problem: str, vocab: Vocabulary) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        MultiExitClassifier(vocab, [0], model_name=TINY_BERT, **arguments)
