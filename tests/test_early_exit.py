"""Rows leave the batch when they have an answer, and nothing else changes for anybody."""

from typing import Dict, List, Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sledgehammer.early_exit import Answers
from sledgehammer.model import MultiExitClassifier
from sledgehammer.policies import ConfidencePolicy

Tokens = Dict[str, torch.Tensor]


def batch_of(rows: List[List[int]], padding: int = 0) -> Tokens:
    """Rows of token ids, padded to the longest and `padding` columns more."""
    width = max(map(len, rows)) + padding
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = True
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def random_rows(count: int, seed: int) -> List[List[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 20, (count,), generator=generator).tolist()
    return [torch.randint(1, 160, (n,), generator=generator).tolist() for n in lengths]


@pytest.fixture(scope="module")
def spread() -> MultiExitClassifier:
    """A model whose confidences lie everywhere between 0.5 and 1."""
    from allennlp.data import Vocabulary

    from tests.conftest import TINY_BERT

    torch.manual_seed(0)
    vocab = Vocabulary()
    for label in ("negative", "positive"):
        vocab.add_token_to_namespace(label, "labels")
    model = MultiExitClassifier(vocab, [0, 2, 3], model_name=TINY_BERT, pooling="mean").eval()
    with torch.no_grad():
        for head in model.exits:
            head.linear.weight.mul_(8)
        model.temperatures.copy_(torch.tensor([2.5, 0.9, 0.7]))
    return model


@torch.no_grad()
def run(
    model: MultiExitClassifier, tokens: Tokens, threshold: Optional[torch.Tensor] = None
) -> Answers:
    return model._runner.run_until_answered(tokens, model.temperatures, model.policy, threshold)


@torch.no_grad()
def all_probs(model: MultiExitClassifier, tokens: Tokens) -> torch.Tensor:
    logits = model._runner.run_all_exits(tokens)
    return torch.softmax(logits / model.temperatures[:, None], dim=-1)


def test_rows_do_leave_at_every_exit(spread: MultiExitClassifier) -> None:
    """What the tests below compare is worth comparing."""
    spread.policy = ConfidencePolicy(0.8)
    exits = run(spread, batch_of(random_rows(40, seed=0))).exit
    assert (torch.bincount(exits, minlength=3) >= 4).all()


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 9),
    seed=st.integers(0, 10_000),
    threshold=st.floats(0, 1, width=32),
    own_thresholds=st.booleans(),
    padding=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
def test_a_row_is_answered_the_same_alone_and_in_any_batch(
    spread: MultiExitClassifier, count: int, seed: int, threshold: float, own_thresholds: bool,
    padding: int, order: "st.randoms",  # type: ignore[valid-type]
) -> None:  # fmt: skip
    spread.policy = ConfidencePolicy(threshold)
    rows = random_rows(count, seed)
    own = None
    if own_thresholds:
        own = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    shuffled = list(range(count))
    order.shuffle(shuffled)
    together = run(
        spread,
        batch_of([rows[i] for i in shuffled], padding),
        None if own is None else own[shuffled],
    )
    for position, row in enumerate(shuffled):
        limit = threshold if own is None else float(own[row])
        confidences = all_probs(spread, batch_of([rows[row]]))[0].max(dim=-1).values
        if (confidences - limit).abs().min() < 1e-5:
            continue  # rounding may decide
        alone = run(spread, batch_of([rows[row]]), None if own is None else own[row : row + 1])
        assert together.exit[position] == alone.exit[0]
        torch.testing.assert_close(together.probs[position], alone.probs[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.8, 0.95, 1.0])
def test_stopping_early_answers_as_running_everything_would(
    spread: MultiExitClassifier, threshold: float
) -> None:
    spread.policy = ConfidencePolicy(threshold)
    tokens = batch_of(random_rows(30, seed=3))
    probs = all_probs(spread, tokens)
    expected = spread.policy.replay(probs)
    answers = run(spread, tokens)
    assert torch.equal(answers.exit, expected)
    torch.testing.assert_close(
        answers.probs, probs[torch.arange(30), expected], rtol=1e-4, atol=1e-5
    )


def test_threshold_one_is_exactly_the_full_model(spread: MultiExitClassifier) -> None:
    spread.policy = ConfidencePolicy(1.0)
    tokens = batch_of(random_rows(12, seed=4))
    assert torch.equal(run(spread, tokens).probs, all_probs(spread, tokens)[:, -1])


def test_threshold_zero_is_exactly_the_first_exit(spread: MultiExitClassifier) -> None:
    spread.policy = ConfidencePolicy(0.0)
    tokens = batch_of(random_rows(12, seed=4))
    answers = run(spread, tokens)
    assert answers.exit.tolist() == [0] * 12
    assert torch.equal(answers.probs, all_probs(spread, tokens)[:, 0])


def test_no_layer_runs_for_a_row_that_has_its_answer(
    spread: MultiExitClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layer sees just the rows that still need it, and only the columns they need."""
    spread.policy = ConfidencePolicy(0.8)
    rows = random_rows(40, seed=0)
    tokens = batch_of(rows)
    exits = spread.policy.replay(all_probs(spread, tokens)).tolist()
    seen: List[torch.Size] = []
    run_layer = spread.encoder.run_layer

    def counted(index: int, inputs):  # type: ignore[no-untyped-def]
        seen.append(inputs.hidden.shape[:2])
        return run_layer(index, inputs)

    monkeypatch.setattr(spread.encoder, "run_layer", counted)
    run(spread, tokens)
    first_exit_with_layer = {0: 0, 1: 1, 2: 1, 3: 2}
    expected = []
    for layer in range(4):
        staying = [len(r) for r, e in zip(rows, exits) if e >= first_exit_with_layer[layer]]
        expected.append((len(staying), max(staying)))
    assert [tuple(shape) for shape in seen] == expected


def test_layers_stop_when_all_rows_have_answers(
    spread: MultiExitClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread.policy = ConfidencePolicy(0.0)
    layers: List[int] = []
    run_layer = spread.encoder.run_layer

    def counted(index: int, inputs):  # type: ignore[no-untyped-def]
        layers.append(index)
        return run_layer(index, inputs)

    monkeypatch.setattr(spread.encoder, "run_layer", counted)
    run(spread, batch_of(random_rows(5, seed=1)))
    assert layers == [0]


@pytest.mark.parametrize("training", [False, True])
def test_mixed_precision(spread: MultiExitClassifier, training: bool) -> None:
    """Under autocast the probabilities and the decisions are float32 all the same."""
    spread.policy = ConfidencePolicy(0.8)
    tokens = batch_of(random_rows(8, seed=5))
    label = torch.arange(8) % 2
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = spread.train(training)(tokens, label)
    finally:
        spread.eval()
    assert output["probs"].dtype == torch.float32
    torch.testing.assert_close(output["probs"].sum(dim=1), torch.ones(8))
    assert torch.isfinite(output["loss"])
