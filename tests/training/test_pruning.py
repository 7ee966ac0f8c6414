"""What is cut away is exactly what a gate of zero would silence."""

from typing import Any, Dict, List, Tuple

import pytest
import torch
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from hypothesis import given
from hypothesis import strategies as st

from sledgehammer.dataset_readers import SstReader
from sledgehammer.export.segments import segments_of
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network import pretrained
from sledgehammer.network.encoder import LayeredEncoder, LayerInput
from sledgehammer.network.families import FAMILIES
from sledgehammer.objectives import ExitObjective
from sledgehammer.training.pruning import (
    PRUNABLE,
    UNPRUNABLE,
    Importance,
    Kept,
    check_prunable,
    choose,
    config_changes,
    gated,
    importance,
    prune,
    shapes,
)
from tests.network.test_encoder import (
    LAYERS,
    assert_same,
    build,
    config_of,
    padded_batch,
    reference,
)
from tests.tiny_training import batch_of_dev

HEADS = ["bert", "bert-relative", "camembert", "distilbert", "electra", "electra-narrow",
         "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl"]  # fmt: skip
KEPT = Kept([[1], [0], [0, 1], [1]], [[3, 7, 20, 31], [0, 1, 2, 3], [9, 10, 11, 30], [5, 6, 7, 8]])
"""Of two heads and 32 units in each of four layers."""


def classifier(
    name: str, vocab: Vocabulary, monkeypatch: pytest.MonkeyPatch, pooling: str = "mean"
) -> MultiExitClassifier:
    """Exits after layers 0, 2 and 3 of a tiny model of some family."""
    monkeypatch.setattr(pretrained, "load_config", lambda *_: config_of(name))
    monkeypatch.setattr(pretrained, "load_transformer", lambda *_: build(name))
    return MultiExitClassifier(vocab, [0, 2, 3], model_name=name, pooling=pooling).eval()


def zero_or_one(kept: List[List[int]], count: int) -> List[torch.Tensor]:
    """For each layer a gate that lets through what is kept: (1, count)."""
    gates = torch.zeros(len(kept), 1, count)
    for gate, positions in zip(gates, kept):
        gate[:, positions] = 1.0
    return list(gates)


def run_layers(encoder: LayeredEncoder, batch: Dict[str, torch.Tensor]) -> List[torch.Tensor]:
    inputs = encoder.start(batch)
    states = []
    for layer in range(LAYERS):
        inputs = encoder.run_layer(layer, inputs)
        states.append(inputs.hidden)
    return states


@pytest.mark.parametrize("name", HEADS)
@torch.no_grad()
def test_pruned_is_what_gates_of_zero_give(
    name: str, vocab: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier(name, vocab, monkeypatch)
    batch = padded_batch(model.encoder.transformer)
    with gated(model.encoder, zero_or_one(KEPT.heads, 2), zero_or_one(KEPT.units, 32)):
        expected = run_layers(model.encoder, batch)
    whole = run_layers(model.encoder, batch)
    prune(model, KEPT)
    assert [tuple(shape) for shape in shapes(model.encoder)] == [(1, 4), (1, 4), (2, 4), (1, 4)]
    for state, silenced, before in zip(run_layers(model.encoder, batch), expected, whole):
        assert_same(state, silenced, batch["attention_mask"])
        assert not torch.allclose(state, before, atol=1e-3)


@pytest.mark.parametrize("name", [*HEADS, "mpnet"])
@torch.no_grad()
def test_config_rebuilds_the_shapes_and_the_library_agrees(
    name: str, vocab: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an archive does it: a config that went through JSON, an empty transformer, weights."""
    model = classifier(name, vocab, monkeypatch)
    kept = KEPT if name in HEADS else KEPT._replace(heads=[[0, 1]] * LAYERS)
    prune(model, kept)
    stored = {**config_of(name).to_dict(), **config_changes(model.encoder)}
    config = type(config_of(name)).from_dict(stored)
    transformer = pretrained.empty_transformer(config).eval()
    rebuilt = LayeredEncoder(transformer, LAYERS, LAYERS, keep_pooler=False)
    rebuilt.load_state_dict(model.encoder.state_dict())
    batch = padded_batch(transformer)
    output = reference(transformer, batch)
    # Of models with a final norm, not all return the last states from before it.
    theirs = [*output.hidden_states[1:LAYERS], output.last_hidden_state]
    ours, again = run_layers(model.encoder, batch), run_layers(rebuilt, batch)
    last = LayerInput(ours[-1], batch["attention_mask"], None)
    read = [*ours[:-1], model.encoder.read(last).hidden]
    for state, rebuilt_state, state_read, library in zip(ours, again, read, theirs):
        assert_same(state, rebuilt_state, batch["attention_mask"])
        assert_same(state_read, library, batch["attention_mask"])


def test_pruned_twice(vocab: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions count what is there; the config counts as it was before any pruning."""
    model = classifier("bert", vocab, monkeypatch)
    prune(model, KEPT)
    prune(model, Kept([[0], [0], [1], [0]], [[0, 3]] * LAYERS))
    changes = config_changes(model.encoder)
    assert changes == {
        "pruned_heads": {"0": [0], "1": [1], "2": [0], "3": [0]},
        "intermediate_size": 2,
    }
    once = classifier("bert", vocab, monkeypatch)
    prune(once, Kept([[1], [0], [1], [1]], [[k[0], k[3]] for k in KEPT.units]))
    again = dict(model.encoder.named_parameters())
    for name, weight in once.encoder.named_parameters():
        assert torch.equal(weight, again[name])


@pytest.mark.parametrize("pooling", ["mean", "attention"])
@pytest.mark.parametrize("name", ["bert", "distilbert"])
@torch.no_grad()
def test_segments_of_a_pruned_model(
    name: str, pooling: str, vocab: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier(name, vocab, monkeypatch, pooling)
    before = {n: weight.clone() for n, weight in model.exits.named_parameters()}
    prune(model, KEPT)
    assert all(torch.equal(before[n], weight) for n, weight in model.exits.named_parameters())
    batch = padded_batch(model.encoder.transformer)
    model.always_run_all_exits = True
    expected = model(batch)["logits"]
    state: Dict[str, torch.Tensor] = dict(batch)
    for position, segment in enumerate(segments_of(model, ["input_ids", "attention_mask"])):
        outputs = dict(zip(segment.outputs, segment(*(state[n] for n in segment.inputs))))
        torch.testing.assert_close(outputs["logits"], expected[:, position], rtol=1e-4, atol=1e-5)
        if "hidden_out" in outputs:
            state.update(hidden=outputs["hidden_out"], pooled=outputs["pooled_out"])


def importance_of(model: MultiExitClassifier, tensors: Dict[str, Any]) -> Importance:
    return importance(model, [(tensors["tokens"]["tokens"], tensors["label"])])


def test_importance_is_the_mean_of_each_rows_own(
    model: MultiExitClassifier, sst_reader: SstReader
) -> None:
    rows = batch_of_dev(model, sst_reader)
    tokens, label = rows["tokens"], rows["label"]
    single = [({n: t[i : i + 1] for n, t in tokens.items()}, label[i : i + 1]) for i in range(5)]
    together = importance(model, [(tokens, label)])
    apart = importance(model, single)
    for one, other in zip(together.heads + together.units, apart.heads + apart.units):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
        assert (one >= 0).all() and one.any()


def test_importance_is_the_slope_of_the_loss(
    model: MultiExitClassifier, sst_reader: SstReader
) -> None:
    """Against a difference of losses, for a single row."""
    rows = batch_of_dev(model, sst_reader)
    tokens = {name: tensor[:1] for name, tensor in rows["tokens"].items()}
    label = rows["label"][:1]
    found = importance(model, [(tokens, label)])
    model.always_run_all_exits = True

    def loss(part: int, step: float) -> float:
        gates = [[torch.ones(1, len(values)) for values in kind] for kind in found]
        gates[part][layer][0, position] += step
        with gated(model.encoder, *gates), torch.no_grad():
            return float(model(tokens, label)["loss"])

    for part, layer, position in ((0, 0, 1), (0, 3, 0), (1, 0, 5), (1, 3, 17)):
        slope = abs(loss(part, 0.02) - loss(part, -0.02)) / 0.04
        assert slope == pytest.approx(float(found[part][layer][position]), rel=0.02, abs=2e-5)


def test_importance_leaves_the_model_as_it_was(
    model: MultiExitClassifier, sst_reader: SstReader
) -> None:
    rows = batch_of_dev(model, sst_reader)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.use_number_format("bfloat16")
    importance(model, [(rows["tokens"], rows["label"])])
    assert model.runner.dtype == "bfloat16"
    assert not model.training and not model.always_run_all_exits
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["two_stage", "self_distillation", "sweet"])
def test_importance_is_over_all_exits_whatever_a_stage_trains(
    name: str, model: MultiExitClassifier, sst_reader: SstReader
) -> None:
    """A part that only lower exits look at matters: gradients go through from every exit."""
    tokens, label = (batch_of_dev(model, sst_reader)[key] for key in ("tokens", "label"))
    model.objective = objective = ExitObjective.by_name(name)()
    with torch.no_grad():  # the last exit, and what is above layer 2, sees nothing
        model.exits[-1].linear.weight.zero_()
    found = importance(model, [(tokens, label)])
    assert model.objective is objective
    assert all(layer.max() > 0 for layer in found.heads[:3] + found.units[:3])
    assert found.units[3].max() == 0
    with torch.no_grad():
        model.exits[1].linear.weight.zero_()
    less = importance(model, [(tokens, label)])
    assert less.units[0].max() > 0, "the first exit still looks at layer 0"
    assert not torch.allclose(less.units[0], found.units[0]), "exit 1 has looked at it too"
    objective.begin_epoch(0.9)
    again = importance(model, [(tokens, label)])
    for before, after in zip(less.heads + less.units, again.heads + again.units):
        torch.testing.assert_close(before, after)


def tables() -> "st.SearchStrategy[Tuple[List[List[float]], List[List[float]]]]":
    def of(width: int, layers: int) -> "st.SearchStrategy[List[List[float]]]":
        # Whole numbers: dividing by the norm rounds no two of them to one.
        row = st.lists(st.integers(0, 1000).map(float), min_size=width, max_size=width)
        return st.lists(row, min_size=layers, max_size=layers)

    return st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 5)).flatmap(
        lambda sizes: st.tuples(of(sizes[0], sizes[2]), of(sizes[1], sizes[2]))
    )


@given(tables(), st.floats(0.01, 1), st.floats(0.01, 1))
def test_shares_are_kept_and_no_layer_goes_without(
    table: Tuple[List[List[float]], List[List[float]]], heads: float, width: float
) -> None:
    found = Importance(*([torch.tensor(layer) for layer in part] for part in table))
    kept = choose(found, heads, width)
    layers, each, units = len(found.heads), len(found.heads[0]), len(found.units[0])
    assert sum(map(len, kept.heads)) == max(layers, round(heads * layers * each))
    assert {len(layer) for layer in kept.units} == {max(1, round(width * units))}
    for values, positions in zip(found.heads + found.units, kept.heads + kept.units):
        assert positions == sorted(set(positions)) and positions
        gone = set(range(len(values))) - set(positions)
        least = min(float(values[position]) for position in positions)
        assert all(float(values[position]) <= least for position in gone)


def test_heads_are_ranked_over_layers_of_norm_one() -> None:
    heads = [torch.tensor([9.0, 1.0, 0.0]), torch.tensor([0.06, 0.05, 0.05])]
    kept = choose(Importance(heads, [torch.ones(1)] * 2), 0.67, 1.0)
    assert kept.heads == [[0], [0, 1, 2]]


@pytest.mark.parametrize(
    "name, heads, message",
    [
        ("albert", False, "its layers share their weights"),
        ("deberta-v3", False, "no way to cut a head out"),
        ("modernbert", False, "in one matrix"),
        ("mpnet", True, "one bias of positions"),
    ],
)
def test_families_that_cannot_be_pruned_say_why(name: str, heads: bool, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        check_prunable(config_of(name), heads)
    check_prunable(config_of("mpnet"), heads=False)
    assert set(FAMILIES) == set(PRUNABLE) | set(UNPRUNABLE)


def test_nothing_is_changed_where_heads_cannot_go(
    vocab: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = classifier("mpnet", vocab, monkeypatch)
    with pytest.raises(ConfigurationError, match="mpnet's heads"):
        prune(model, KEPT)
    assert [tuple(shape) for shape in shapes(model.encoder)] == [(2, 32)] * LAYERS
