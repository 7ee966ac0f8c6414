"""Weights of classes: in every objective, from a map or counted."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.common import Params
from allennlp.common.checks import ConfigurationError
from allennlp.data import Vocabulary
from allennlp.models import Model
from torch.nn.functional import cross_entropy

from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.objectives import (
    UNLABELLED,
    ExitObjective,
    ExitWeightedObjective,
    GatekeeperObjective,
    JointObjective,
)
from sledgehammer.objectives.base import exit_losses
from sledgehammer.objectives.class_weights import balanced, checked_weights
from tests.conftest import TINY_BERT
from tests.objectives.batches import LABEL, batch_of, random_batch
from tests.tiny_training import train

WEIGHTS = torch.tensor([1.0, 5.0, 0.5, 1.0])


def test_the_mean_is_that_of_torch() -> None:
    batch = random_batch()
    batch.class_weights = WEIGHTS
    wanted = [cross_entropy(batch.logits[:, i], LABEL, weight=WEIGHTS) for i in range(3)]
    assert torch.allclose(exit_losses(batch), torch.stack(wanted))
    batch.class_weights = torch.ones(4)
    assert torch.allclose(exit_losses(batch), exit_losses(random_batch()))


@pytest.mark.parametrize(
    "objective", [JointObjective(), ExitWeightedObjective(), GatekeeperObjective()]
)
def test_rows_of_a_heavy_class_are_as_if_they_were_there_more_often(
    objective: ExitObjective,
) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 3, 4)
    once = batch_of(logits, training=False)
    once.class_weights = torch.tensor([1.0, 3.0, 1.0, 1.0])
    rows = torch.tensor([i for i, label in enumerate(LABEL) for _ in range(3 if label == 1 else 1)])
    often = batch_of(logits[rows], LABEL[rows], training=False)
    if isinstance(objective, ExitWeightedObjective):
        objective.hinge = 0.0  # compares means, which no weight of a row changes
    assert torch.allclose(objective.loss(once), objective.loss(often))


def test_rows_without_labels_have_no_weight() -> None:
    batch = batch_of(torch.randn(5, 3, 4), torch.full((5,), UNLABELLED))
    batch.class_weights = WEIGHTS
    assert exit_losses(batch).tolist() == [0, 0, 0]


def test_balanced_classes_count_alike_and_rows_1_on_average() -> None:
    counts = {"spam": 10, "ham": 990}
    weights = balanced(counts, ["ham", "spam", "never seen"])
    assert weights[0] * 990 == pytest.approx(weights[1] * 10) == pytest.approx(500)
    assert weights[2] == 1.0


BAD_WEIGHTS: Any = [
    ("balanced", 'must be "auto" or a map'),
    ([1, 2], 'must be "auto" or a map'),
    ({"pos": 2}, "no label 'pos' in the data, which has negative, positive"),
    ({"positive": 0}, "'positive' must have a weight above 0, got 0"),
    ({"positive": "2"}, "must have a weight above 0, got '2'"),
    ({"positive": float("inf")}, "above 0"),
]


@pytest.mark.parametrize("weights, message", BAD_WEIGHTS)
def test_bad_weights(weights: Any, message: str, vocab: Vocabulary) -> None:
    with pytest.raises(ConfigurationError, match=message):
        MultiExitClassifier(vocab, [0], model_name=TINY_BERT, class_weights=weights)


def test_a_map_from_a_config(vocab: Vocabulary) -> None:
    config = json.dumps({"positive": 2})
    params = Params({"type": "sledgehammer", "exit_layers": [0], "model_name": TINY_BERT})
    params["class_weights"] = json.loads(config)
    model = Model.from_params(params, vocab=vocab)
    assert isinstance(model, MultiExitClassifier) and model.class_weights is not None
    assert model.class_weights.tolist() == [1.0, 2.0]
    assert checked_weights(None, ["a"]) is None


def test_training_counts_labels_and_archives_do_not_carry_the_weights(
    tmp_path: Path, vocab: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = MultiExitClassifier.balance

    def balance(self: MultiExitClassifier, counts: Any) -> None:
        real(self, counts)
        seen.append(dict(zip(self.labels, self.class_weights.tolist())))  # type: ignore[union-attr]

    monkeypatch.setattr(MultiExitClassifier, "balance", balance)
    data = tmp_path / "x.csv"
    data.write_text("text,label\n" + "good,positive\n" * 9 + "bad,negative\n" * 3)
    train(
        tmp_path / "run", model__class_weights="auto", train_data_path=str(data),
        validation_data_path=str(data), trainer__num_epochs=1,
        dataset_reader={"type": "sledgehammer_csv", "model_name": TINY_BERT},
    )  # fmt: skip
    assert seen == [{"positive": pytest.approx(12 / 18), "negative": 2.0}]
    weights = torch.load(tmp_path / "run/best.th")
    assert "class_weights" not in weights


def test_nothing_counts_labels_without_the_callback(vocab: Vocabulary) -> None:
    model = MultiExitClassifier(vocab, [0], model_name=TINY_BERT, class_weights="auto")
    tokens = {"input_ids": torch.ones(1, 3).long(), "attention_mask": torch.ones(1, 3).bool()}
    with pytest.raises(ConfigurationError, match="add 'sledgehammer_objective'"):
        model.train()(tokens, torch.zeros(1).long())
