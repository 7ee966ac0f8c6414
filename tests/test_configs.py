"""The training configs: what they say, and that overrides reach it."""

import json
from typing import Any

import pytest
from allennlp.common import Params
from allennlp.data import DatasetReader, Vocabulary
from allennlp.training.optimizers import Optimizer

from sledgehammer.model.multi_exit import MultiExitClassifier, check_exit_layers
from sledgehammer.model.policy_config import RegisteredPolicy
from sledgehammer.objectives import ExitObjective
from sledgehammer.policies import ConfidencePolicy
from tests.conftest import ROOT, TINY_BERT
from tests.tiny_training import dotted

PAPER = ("ag_news", "imdb", "sst", "snli", "multinli")
ALL = (*PAPER, "quickstart")


def config(name: str, **overrides: Any) -> Params:
    path = str(ROOT / f"training_config/{name}.jsonnet")
    return Params.from_file(path, json.dumps(dotted(overrides)))


@pytest.mark.parametrize("name", PAPER)
def test_hyper_parameters_of_the_paper(name: str) -> None:
    params = config(name).as_dict(quiet=True)
    assert params["dataset_reader"]["model_name"] == "bert-large-uncased"
    assert params["dataset_reader"]["max_length"] == 512
    assert params["model"]["exit_layers"] == [0, 4, 12, 23]
    assert params["model"]["pooling"] == "first"
    assert params["model"]["dropout"] == 0.1
    trainer = params["trainer"]
    assert trainer["num_epochs"] == 2
    assert trainer["optimizer"]["lr"] in (2e-5, 3e-5, 5e-5)
    batch = params["data_loader"]["batch_sampler"]["batch_size"]
    assert batch * trainer["num_gradient_accumulation_steps"] == 72
    for path in (params["train_data_path"], params["validation_data_path"]):
        assert path.startswith("https://")


@pytest.mark.parametrize("name", ALL)
def test_every_config_spells_out_what_its_parts_are(name: str) -> None:
    params = config(name)
    reader = DatasetReader.by_name(params["dataset_reader"]["type"])
    assert reader.__module__.startswith("sledgehammer.")
    assert isinstance(RegisteredPolicy.from_params(params["model"].pop("policy")), ConfidencePolicy)
    assert isinstance(ExitObjective.from_params(params["model"].pop("objective")), ExitObjective)
    check_exit_layers(params["model"]["exit_layers"], 24)
    assert params["trainer"]["callbacks"] == ["sledgehammer_calibration", "sledgehammer_objective"]
    assert params["include_in_archive"] == ["transformer"]


OWN = {"DATA": "reviews.csv", "TEXT": "title,body", "LABEL": "stars"}


def test_own_data_by_three_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    params = config("own").as_dict(quiet=True)
    reader = params["dataset_reader"]
    assert (reader["type"], reader["text"], reader["label"]) == (
        "sledgehammer_csv", ["title", "body"], "stars",
    )  # fmt: skip
    assert params["train_data_path"] == "reviews.csv#train"
    assert params["validation_data_path"] == "reviews.csv#validation"
    assert params["validation_dataset_reader"] == reader
    assert "class_weights" not in params["model"]
    overridden = config("own", model__class_weights="auto", trainer__num_epochs=1)
    assert overridden["model"]["class_weights"] == "auto"
    monkeypatch.delenv("LABEL")
    with pytest.raises(RuntimeError, match="LABEL"):
        config("own")


@pytest.mark.parametrize("name", ALL)
def test_overrides_reach_the_values_that_people_change(name: str) -> None:
    params = config(
        name,
        dataset_reader__model_name="other",
        model__exit_layers=[1],
        model__policy__threshold=0.25,
        trainer__optimizer__lr=1.0,
        data_loader__batch_sampler__batch_size=3,
    ).as_dict(quiet=True)
    assert params["dataset_reader"]["model_name"] == "other"
    assert "model_name" not in params["model"]
    assert params["model"]["exit_layers"] == [1]
    assert params["model"]["policy"] == {"type": "confidence", "threshold": 0.25}
    assert params["trainer"]["optimizer"]["lr"] == 1.0


@pytest.mark.parametrize("name", ("ag_news", "imdb"))
def test_datasets_without_a_validation_set_hold_one_out(name: str) -> None:
    params = config(name)
    assert params["train_data_path"].endswith("#train")
    assert params["validation_data_path"] == params["train_data_path"][:-5] + "validation"
    assert params["dataset_reader"]["validation_size"] > 0


def test_all_that_is_an_exits_own_learns_at_the_exits_rate(vocab: Vocabulary) -> None:
    model = MultiExitClassifier(vocab, [0, 2], model_name=TINY_BERT, pooling="attention", queries=4)
    named = list(model.named_parameters())
    params = config("quickstart")["trainer"]["optimizer"]
    optimizer = Optimizer.from_params(params, model_parameters=named)
    rates = {
        id(weight): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    assert "exits.1.pool.query" in dict(named)
    for name, weight in named:
        assert rates[id(weight)][0] == (1e-2 if name.startswith("exits.") else 5e-5), name
        assert not name.startswith("exits.") or rates[id(weight)][1] == 0.0
