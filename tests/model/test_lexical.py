"""The exit before the first layer, within a model."""

from typing import Any, Dict, List

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.models import Model
from hypothesis import given, settings
from hypothesis import strategies as st

from sledgehammer.dataset_readers import SnliReader, SstReader
from sledgehammer.model.lexical import LexicalExit
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.policies import ConfidencePolicy, ExitPolicy, exit_shares
from tests.conftest import TINY_BERT
from tests.model.lexical_models import batch_of, linear_model, model_with_lexical, random_rows

POLICIES = ExitPolicy.list_available()


def labels() -> Vocabulary:
    vocab = Vocabulary()
    for label in ("negative", "positive"):
        vocab.add_token_to_namespace(label, "labels")
    return vocab


@pytest.fixture(scope="module")
def shared() -> MultiExitClassifier:
    """Not to be changed, other than its policy."""
    return model_with_lexical(labels(), ["certainty", "depth"])


@torch.no_grad()
def all_exits(model: MultiExitClassifier, inputs: Dict[str, Any]) -> Dict[str, Any]:
    model.always_run_all_exits = True
    try:
        return model(**inputs)
    finally:
        model.always_run_all_exits = False


def policies(model: MultiExitClassifier, name: str, position: float) -> ExitPolicy:
    """A policy of that name, its setting somewhere along its grid."""
    inputs = batch_of(random_rows(100, seed=2))
    if not model.exit_shares.any():
        probs = model.calibrated(all_exits(model, inputs)["logits"])
        model.store_shares(exit_shares(probs.numpy()))
    model.policy = policy = ExitPolicy.make({"type": name})
    grid = policy.grid(labels=2) if name != "budget" else [0.0, 0.2, 0.7, 1.5, 3.0, 4.0]
    policy.change({policy.sweeps: grid[int(position * (len(grid) - 1))]})
    return policy


def test_it_is_the_first_exit(shared: MultiExitClassifier) -> None:
    assert shared.exit_layers == [-1, 0, 2, 3] and shared.network_layers == [0, 2, 3]
    found = all_exits(shared, batch_of(random_rows(7, seed=0)))
    assert found["logits"].shape == (7, 4, 2)
    expected = shared.lexical.linear.logits([[row] for row in random_rows(7, seed=0)])
    assert torch.equal(found["logits"][:, 0], torch.from_numpy(expected))
    assert found["depth"].shape == found["certainty"].shape == (7, 4)
    assert (found["depth"][:, 0] == 0).all()
    sure = torch.softmax(found["logits"][:, 0] / shared.temperatures[0], dim=-1).amax(dim=-1)
    torch.testing.assert_close(found["certainty"][:, 0], sure)


def test_rows_leave_at_every_exit(shared: MultiExitClassifier) -> None:
    """What the next test compares is worth comparing."""
    shared.policy = ConfidencePolicy(0.8)
    layers = shared(**batch_of(random_rows(60, seed=3)))["exit_layer"]
    assert all((layers == layer).sum() >= 4 for layer in shared.exit_layers)


@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12), position=st.floats(0, 1))
def test_a_rows_answer_is_its_own(
    shared: MultiExitClassifier, name: str, seed: int, count: int, position: float
) -> None:
    """Alone, in a batch, in another order, and replayed from what all exits say."""
    shared.policy = policies(shared, name, position)
    rows = random_rows(count, seed)
    with torch.no_grad():
        together = shared(**batch_of(rows))
        backwards = shared(**batch_of(rows[::-1]))
        alone = [shared(**batch_of([row])) for row in rows]
    found = all_exits(shared, batch_of(rows))
    for i in range(count):
        for other, j in ((backwards, count - 1 - i), (alone[i], 0), (found, i)):
            assert other["exit_layer"][j] == together["exit_layer"][i]
            torch.testing.assert_close(other["probs"][j], together["probs"][i], atol=1e-5, rtol=0)


@torch.no_grad()
def test_rows_that_it_answers_are_not_even_embedded(
    shared: MultiExitClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: List[int] = []
    start = shared.encoder.start

    def counted(tokens: Any) -> Any:
        embedded.append(tuple(tokens["input_ids"].shape))
        return start(tokens)

    monkeypatch.setattr(shared.encoder, "start", counted)
    rows = random_rows(40, seed=3)
    shared.policy = ConfidencePolicy(0.8)
    layers = shared(**batch_of(rows))["exit_layer"].tolist()
    going = [row for row, layer in zip(rows, layers) if layer >= 0]
    assert 0 < len(going) < len(rows)
    assert embedded == [(len(going), 1 + max(map(len, going)))]
    embedded.clear()
    shared.policy = ConfidencePolicy(0.9, max_exit_layer=-1)
    output = shared(**batch_of(rows))
    assert embedded == [] and set(output["exit_layer"].tolist()) == {-1}


def test_no_layer_has_no_speedup(shared: MultiExitClassifier) -> None:
    shared.policy = ConfidencePolicy(0.8)
    inputs = batch_of(random_rows(40, seed=3))
    output = shared(**inputs, label=torch.zeros(40, dtype=torch.long))
    readable = shared.make_output_human_readable(dict(output))
    layers_run = output["layers_run"].tolist()
    expected = [pytest.approx(4 / n) if n else None for n in layers_run]
    assert readable["layer_speedup"] == expected
    assert 0 in layers_run
    # Over many rows it is a ratio of means.
    metrics = shared.get_metrics(reset=True)
    assert metrics["layer_speedup"] == pytest.approx(4 * 40 / sum(layers_run))
    assert metrics["share_at_exit_-1"] == layers_run.count(0) / 40
    shared.policy = ConfidencePolicy(0.9, max_exit_layer=-1)
    shared(**inputs, label=torch.zeros(40, dtype=torch.long))
    assert "layer_speedup" not in shared.get_metrics(reset=True)


def test_a_text_of_unknown_words_gives_its_prior(shared: MultiExitClassifier) -> None:
    shared.policy = ConfidencePolicy(0.9, max_exit_layer=-1)
    bias = torch.from_numpy(shared.lexical.linear.bias)
    table = shared.lexical.linear.table
    found = shared.lexical.linear.space.features
    unknown = [p for p in range(5, 160) if not table[found([[[p]]]).bucket].any()]
    for row in ([], unknown[:1]):
        inputs = batch_of([[unknown[0]]])
        inputs["pieces"] = [[row]]
        expected = torch.softmax(bias / shared.temperatures[0], dim=-1)
        torch.testing.assert_close(shared(**inputs)["probs"][0], expected)


def test_the_objective_sees_the_networks_exits_alone(vocab: Vocabulary) -> None:
    with_exit = model_with_lexical(vocab)
    without = MultiExitClassifier(vocab, [0, 2, 3], model_name=TINY_BERT, pooling="mean").eval()
    state = {k: v for k, v in with_exit.state_dict().items() if k.startswith(("encoder", "exits"))}
    without.load_state_dict({**without.state_dict(), **state})
    inputs, label = batch_of(random_rows(9, seed=0)), torch.arange(9) % 2
    losses = [all_exits(m, {**inputs, "label": label})["loss"] for m in (with_exit, without)]
    torch.testing.assert_close(*losses)
    assert all_exits(without, inputs)["logits"].shape == (9, 3, 2)


def test_weights_carry_it(vocab: Vocabulary) -> None:
    model = model_with_lexical(vocab)
    params = {
        "type": "sledgehammer", "exit_layers": [0, 2, 3], "model_name": TINY_BERT,
        "pooling": "mean", "lexical": {},
    }  # fmt: skip
    other = Model.from_params(Params(params), vocab=vocab).eval()
    assert not other.lexical.is_fitted
    other.load_state_dict(model.state_dict())
    inputs = batch_of(random_rows(20, seed=5))
    torch.testing.assert_close(*(m(**inputs)["probs"] for m in (model, other)))
    assert other.weights_fingerprint() == model.weights_fingerprint()
    other.lexical.linear = linear_model(seed=1)
    assert other.weights_fingerprint() != model.weights_fingerprint()


def test_weights_of_a_model_without_it_load(vocab: Vocabulary) -> None:
    old = MultiExitClassifier(vocab, [0, 2, 3], model_name=TINY_BERT)
    old.temperatures.copy_(torch.tensor([2.0, 3.0, 4.0]))
    assert not any("lexical" in name or "mixing" in name for name in old.state_dict())
    new = MultiExitClassifier(vocab, [0, 2, 3], model_name=TINY_BERT, lexical=LexicalExit())
    new.load_state_dict(old.state_dict())
    assert new.temperatures.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert not new.lexical.is_fitted and not new.mixing.any()


def test_what_is_missing_is_told(vocab: Vocabulary, sst_reader: SstReader) -> None:
    model = model_with_lexical(vocab)
    instance = sst_reader.text_to_instance("a warm film")
    with pytest.raises(ConfigurationError, match='give the dataset reader "lexical": true'):
        model.forward_on_instance(instance)
    reader = SstReader(model_name=TINY_BERT, lexical=True)
    instance = reader.text_to_instance("a warm film")
    assert model.forward_on_instance(instance)["exit_layer"] in model.exit_layers
    model.lexical.forget()
    with pytest.raises(ConfigurationError, match="has not been fitted: train with"):
        model.forward_on_instance(instance)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"ngrams": 0}, "lexical.ngrams must be a whole number between 1 and 8, got 0"),
        ({"bits": 30}, "lexical.bits must be a whole number between 8 and 24, got 30"),
        ({"min_rows": 0}, "lexical.min_rows must be at least 1, got 0"),
    ],
)
def test_bad_settings(arguments: Dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        LexicalExit(**arguments)


def test_a_reader_gives_the_pieces_of_whole_texts_if_asked() -> None:
    words = "warm film dull endless " * 20
    plain = SstReader(model_name=TINY_BERT, max_length=8)
    assert "pieces" not in plain.text_to_instance(words).fields
    reader = SstReader(model_name=TINY_BERT, max_length=8, lexical=True)
    pieces = reader.text_to_instance(words)["pieces"].metadata
    assert pieces == plain.pieces([[words]])[0] and len(pieces[0]) >= 80
    pairs = SnliReader(model_name=TINY_BERT, lexical=True)
    assert len(pairs.text_to_instance("a film", "a warm film")["pieces"].metadata) == 2
