"""Rows leave the batch when they have an answer, and nothing else changes for anybody."""

import math
import random
from typing import Dict, Iterator, List, Optional, Tuple

import pytest
import torch
from allennlp.data import Vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st

from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.network import encoder
from sledgehammer.network.runner import Answers
from sledgehammer.policies import ConfidencePolicy, Evidence
from tests.conftest import TINY_BERT

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


@pytest.fixture(scope="module", params=["mean", "first"])
def spread(request: pytest.FixtureRequest) -> MultiExitClassifier:
    """A model whose confidences lie everywhere between 0.5 and 1, half of them below 0.8."""
    vocab = Vocabulary()
    for label in ("negative", "positive"):
        vocab.add_token_to_namespace(label, "labels")
    model = MultiExitClassifier(vocab, [0, 2, 3], model_name=TINY_BERT, pooling=request.param)
    model.eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.exits.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        logits = model.runner.run_all_exits(batch_of(random_rows(100, seed=0))).logits
        for exit_number in range(3):
            # Each label is the likelier one for half of the rows; the odds are 4 : 1 at the median.
            difference = logits[:, exit_number, 0] - logits[:, exit_number, 1]
            model.exits[exit_number].linear.bias[0] -= difference.median()
            typical = (difference - difference.median()).abs().median()
            model.temperatures[exit_number] = typical / math.log(4)
    return model


@torch.no_grad()
def run(
    model: MultiExitClassifier, tokens: Tokens, threshold: Optional[torch.Tensor] = None
) -> Answers:
    settings = model.policy.values
    if threshold is not None:
        settings = settings.with_value("threshold", threshold.numpy())
    return model.runner.run_until_answered(tokens, model.temperatures, model.policy, settings)


@torch.no_grad()
def all_probs(model: MultiExitClassifier, tokens: Tokens) -> torch.Tensor:
    logits = model.runner.run_all_exits(tokens).logits
    return torch.softmax(logits / model.temperatures[:, None], dim=-1)


def replay(model: MultiExitClassifier, probs: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(model.policy.replay(Evidence(probs.numpy())))


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
    spread: MultiExitClassifier,
    count: int,
    seed: int,
    threshold: float,
    own_thresholds: bool,
    padding: int,
    order: random.Random,
) -> None:
    spread.policy = ConfidencePolicy(threshold)
    rows = random_rows(count, seed)
    own = None
    if own_thresholds:
        # Stretched, so that 0 and 1 are among them.
        own = torch.rand(count, generator=torch.Generator().manual_seed(seed))
        own = (own * 1.4 - 0.2).clamp(0, 1)
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
        if limit < 1.0 and (confidences - limit).abs().min() < 1e-5:
            continue  # rounding may decide
        alone = run(spread, batch_of([rows[row]]), None if own is None else own[row : row + 1])
        assert together.exit[position] == alone.exit[0]
        torch.testing.assert_close(together.probs[position], alone.probs[0], rtol=1e-4, atol=1e-5)
        if alone.probs[0].max() > 0.5 + 1e-4:  # else the labels are as likely as each other
            assert together.probs[position].argmax() == alone.probs[0].argmax()


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.8, 0.95, 1.0])
def test_stopping_early_answers_as_running_everything_would(
    spread: MultiExitClassifier, threshold: float
) -> None:
    spread.policy = ConfidencePolicy(threshold)
    tokens = batch_of(random_rows(30, seed=3))
    probs = all_probs(spread, tokens)
    expected = replay(spread, probs)
    answers = run(spread, tokens)
    assert torch.equal(answers.exit, expected)
    torch.testing.assert_close(
        answers.probs, probs[torch.arange(30), expected], rtol=1e-4, atol=1e-5
    )


def test_stopping_early_answers_as_the_model_would_from_all_logits(
    spread: MultiExitClassifier,
) -> None:
    """`MultiExitClassifier.answer` is what calibration and validation report."""
    spread.policy = ConfidencePolicy(0.9)
    tokens = batch_of(random_rows(30, seed=6))
    thresholds = torch.linspace(0.0, 1.0, 30)
    for own in (None, thresholds):
        with torch.no_grad():
            settings = None
            if own is not None:
                settings = spread.policy.values.with_value("threshold", own.numpy())
            expected = spread.answer(spread.runner.run_all_exits(tokens).logits, settings)
        answers = run(spread, tokens, own)
        assert torch.equal(answers.exit, expected.exit)
        torch.testing.assert_close(answers.probs, expected.probs, rtol=1e-4, atol=1e-5)


def test_threshold_one_is_exactly_the_full_model(spread: MultiExitClassifier) -> None:
    spread.policy = ConfidencePolicy(1.0)
    tokens = batch_of(random_rows(12, seed=4))
    answers = run(spread, tokens)
    assert answers.exit.tolist() == [2] * 12
    assert torch.equal(answers.probs, all_probs(spread, tokens)[:, -1])


def test_threshold_one_is_the_full_model_for_rows_that_are_certain(
    spread: MultiExitClassifier,
) -> None:
    """Of rows with a confidence of exactly 1.0 only those with a lower threshold stop."""
    calibrated = spread.temperatures.clone()
    try:
        spread.temperatures.fill_(1e-3)
        tokens = batch_of(random_rows(12, seed=4))
        certain = (all_probs(spread, tokens)[:, 0].max(dim=-1).values == 1.0).nonzero().squeeze(1)
        assert len(certain) >= 4
        tokens = {name: tensor[certain] for name, tensor in tokens.items()}
        spread.policy = ConfidencePolicy(1.0)
        assert run(spread, tokens).exit.tolist() == [2] * len(certain)
        own = (torch.arange(len(certain)) % 2).float()
        assert torch.equal(run(spread, tokens, own).exit, own.long() * 2)
    finally:
        spread.temperatures.copy_(calibrated)


def test_threshold_zero_is_exactly_the_first_exit(spread: MultiExitClassifier) -> None:
    spread.policy = ConfidencePolicy(0.0)
    tokens = batch_of(random_rows(12, seed=4))
    answers = run(spread, tokens)
    assert answers.exit.tolist() == [0] * 12
    assert torch.equal(answers.probs, all_probs(spread, tokens)[:, 0])


@pytest.fixture
def seen(spread: MultiExitClassifier) -> Iterator[List[Tuple[int, int, int]]]:
    """What the transformer's layers were given since: (layer, rows, tokens)."""
    calls: List[Tuple[int, int, int]] = []

    def note(layer: int, hidden: torch.Tensor) -> None:
        calls.append((layer, *hidden.shape[:2]))

    hooks = [
        module.register_forward_pre_hook(lambda _, inputs, layer=layer: note(layer, inputs[0]))
        for layer, module in enumerate(spread.encoder.transformer.encoder.layer)
    ]
    yield calls
    for hook in hooks:
        hook.remove()


def test_no_layer_runs_for_a_row_that_has_its_answer(
    spread: MultiExitClassifier, seen: List[Tuple[int, int, int]]
) -> None:
    """Each layer sees just the rows that still need it, and only the columns they need."""
    spread.policy = ConfidencePolicy(0.8)
    rows = random_rows(40, seed=0)
    tokens = batch_of(rows)
    exits = replay(spread, all_probs(spread, tokens)).tolist()
    seen.clear()
    run(spread, tokens)
    first_exit_with_layer = {0: 0, 1: 1, 2: 1, 3: 2}
    expected = []
    for layer, exit_number in first_exit_with_layer.items():
        staying = [len(row) for row, answered in zip(rows, exits) if answered >= exit_number]
        expected.append((layer, len(staying), max(staying)))
    assert seen == expected
    assert len({rows for _, rows, _ in seen}) == 3


def test_columns_that_only_leaving_rows_needed_are_cut(
    spread: MultiExitClassifier, seen: List[Tuple[int, int, int]]
) -> None:
    lengths = [2, 5, 9, 10, 13, 19]
    rows = [list(range(1, length + 1)) for length in lengths]
    # The longest row and the shorter three leave at the first exit, the other two never.
    run(spread, batch_of(rows), torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 0.0]))
    assert seen == [
        (0, 6, lengths[5]),
        (1, 2, lengths[4]),
        (2, 2, lengths[4]),
        (3, 2, lengths[4]),
    ]


@pytest.mark.parametrize("count", [1, 5])
def test_batch_that_no_row_leaves(
    spread: MultiExitClassifier, seen: List[Tuple[int, int, int]], count: int
) -> None:
    rows = random_rows(count, seed=1)
    tokens = batch_of(rows)
    probs = all_probs(spread, tokens)
    highest = float(probs[:, :-1].max())
    assert highest < 1 - 1e-6
    spread.policy = ConfidencePolicy((1 + highest) / 2)
    seen.clear()
    answers = run(spread, tokens)
    assert seen == [(layer, count, max(map(len, rows))) for layer in range(4)]
    assert answers.exit.tolist() == [2] * count
    assert torch.equal(answers.probs, probs[:, -1])


@pytest.mark.parametrize("count", [1, 5])
def test_layers_stop_when_all_rows_have_answers(
    spread: MultiExitClassifier, seen: List[Tuple[int, int, int]], count: int
) -> None:
    spread.policy = ConfidencePolicy(0.0)
    rows = random_rows(count, seed=1)
    run(spread, batch_of(rows))
    assert seen == [(0, count, max(map(len, rows)))]


def test_exits_that_nobody_could_take_are_not_computed(
    spread: MultiExitClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    for head in spread.exits[:-1]:
        monkeypatch.setattr(head, "logits", None)
    spread.policy = ConfidencePolicy(1.0)
    assert run(spread, batch_of(random_rows(3, seed=1))).exit.tolist() == [2, 2, 2]


def test_a_threshold_is_compared_in_single_precision(spread: MultiExitClassifier) -> None:
    """The difference to the confidence is there in double precision alone."""
    for row in random_rows(8, seed=3):
        reached = all_probs(spread, batch_of([row]))[0, 0].max().item()
        spread.policy = ConfidencePolicy(reached * (1 + 1e-12))
        assert run(spread, batch_of([row])).exit.tolist() == [0]


@pytest.mark.parametrize("own_thresholds", [False, True])
@pytest.mark.parametrize("count", [1, 40])
def test_one_transfer_from_the_device_an_exit(
    spread: MultiExitClassifier,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    own_thresholds: bool,
) -> None:
    """Everything that would wait for a GPU: to read values, or to find out how many there are."""
    spread.policy = ConfidencePolicy(0.8)
    tokens = batch_of(random_rows(count, seed=0))
    own = torch.full((count,), 0.8) if own_thresholds else None
    expected = run(spread, tokens, own).exit
    waits: List[str] = []

    def counted(name: str) -> None:
        original = getattr(torch.Tensor, name)

        def method(tensor: torch.Tensor, *arguments: object) -> object:
            masks = [a for a in arguments if getattr(a, "dtype", None) == torch.bool]
            if masks or "item__" not in name:
                waits.append(name)
            return original(tensor, *arguments)

        monkeypatch.setattr(torch.Tensor, name, method)

    # `__getitem__` and `__setitem__` wait if they are given a mask.
    for name in (
        "tolist", "item", "cpu", "nonzero", "__bool__", "__int__", "__float__",
        "__index__", "__getitem__", "__setitem__",
    ):  # fmt: skip
        counted(name)
    monkeypatch.setattr(encoder, "_may_be_padded", lambda mask: True)  # as on a GPU
    answers = run(spread, tokens, own)
    monkeypatch.undo()
    assert torch.equal(answers.exit, expected)
    assert waits == ["cpu"] * (min(int(expected.max()), 1) + 1)


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
