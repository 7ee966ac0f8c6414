"""A training run with a lexical exit."""

import json
from pathlib import Path
from typing import Any, Dict

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from sledgehammer.calibration import fit_scalings
from sledgehammer.dataset_readers import SstReader
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.archives import open_archive
from sledgehammer.model.predictor import SledgehammerPredictor
from sledgehammer.training.lexical import LabelledRows, fit
from tests.conftest import FIXTURES, TINY_BERT
from tests.tiny_training import DEV, load, train

TRAIN = str(FIXTURES / "sst/train.txt")
LEXICAL: Dict[str, Any] = {
    "model__lexical": {"bits": 10, "min_rows": 1},
    "dataset_reader__lexical": True,
    "trainer__num_epochs": 1,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lexical") / "run"
    train(directory, **LEXICAL)
    return directory


def test_it_is_fitted_to_the_training_rows_before_the_first_step(run: Path) -> None:
    reader = SstReader(model_name=TINY_BERT)
    model = load(run)
    known = model.vocab.get_token_to_index_vocabulary("labels")
    parts = []
    for path in (TRAIN, DEV):
        rows = read_rows(reader, path)
        parts.append(
            LabelledRows(reader.pieces([r.texts for r in rows]), [known[r.label] for r in rows])
        )
    expected = fit(model.lexical.space_for(1), *parts, labels=2, min_rows=1).model
    assert (model.lexical.linear.table == expected.table).all()
    assert (model.lexical.linear.bias == expected.bias).all()


def test_temperatures_and_mixing_are_fitted_together(run: Path) -> None:
    opened = open_archive(str(run / "model.tar.gz"))
    from sledgehammer.analysis.all_exits import run_all_exits

    outputs = run_all_exits(*opened, read_rows(opened.reader, DEV))
    model = opened.model
    assert outputs.logits.shape[1] == len(model.exit_layers) == 4
    for own, expected in zip(model.scalings, fit_scalings(outputs.logits, outputs.label)):
        assert own == pytest.approx(expected, rel=1e-2, abs=1e-3)
    assert any(scaling.mixing > 0 for scaling in model.scalings)
    metrics = json.loads((run / "metrics.json").read_text())
    for layer, (temperature, mixing) in zip(model.exit_layers, model.scalings):
        assert metrics[f"best_validation_exit_{layer}_temperature"] == pytest.approx(temperature)
        assert metrics[f"best_validation_exit_{layer}_mixing"] == pytest.approx(mixing)
    right = outputs.logits.argmax(dim=-1) == outputs.label[:, None]
    accuracies = right.double().mean(dim=0).tolist()
    for layer, accuracy in zip(model.exit_layers, accuracies):
        assert metrics[f"best_validation_exit_{layer}_accuracy"] == pytest.approx(accuracy)


def test_an_archives_predictor_uses_it(run: Path) -> None:
    opened = open_archive(str(run / "model.tar.gz"))
    assert opened.reader.lexical
    predictor = SledgehammerPredictor(opened.model, opened.reader)
    lines = [{"text": "a warm film", "threshold": t} for t in (0.0, 1.0)]
    first, last = predictor.predict_batch_json(lines)
    assert (first["exit_layer"], first["layers_run"], first["layer_speedup"]) == (-1, 0, None)
    assert (last["exit_layer"], last["layers_run"], last["layer_speedup"]) == (3, 4, 1.0)
    json.dumps(first, allow_nan=False)


def test_mixing_can_be_switched_off(tmp_path: Path) -> None:
    train(tmp_path / "run", **{**LEXICAL, "model__lexical": {"bits": 8, "mix": False}})
    model = load(tmp_path / "run")
    assert model.lexical.is_fitted and not model.mixing.any()
    assert (model.temperatures != 1.0).any()


def test_a_run_can_be_recovered(tmp_path: Path, run: Path) -> None:
    directory = tmp_path / "run"
    train(directory, **{**LEXICAL, "trainer__num_epochs": 2})
    (directory / "model.tar.gz").unlink()
    (directory / "metrics.json").unlink()
    train(directory, recover=True, **{**LEXICAL, "trainer__num_epochs": 2})
    assert torch.equal(load(directory).lexical.table, load(run).lexical.table)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"dataset_reader__lexical": False}, 'give every dataset reader "lexical": true'),
        ({"validation_data_path": None}, "give a validation_data_path"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, overrides: Dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        train(tmp_path / "run", **{**LEXICAL, **overrides})


def test_it_distills_and_is_distilled(tmp_path: Path, run: Path) -> None:
    """The teacher's network exits answer with what they mix in; the student's alone learn."""
    from sledgehammer.analysis.all_exits import run_all_exits
    from sledgehammer.objectives.teacher import TeacherOutputs

    objective = {"type": "distillation", "teacher": str(run / "model.tar.gz")}
    train(tmp_path / "run", **{**LEXICAL, "model__objective": objective})
    assert load(tmp_path / "run").exit_layers == [-1, 0, 2, 3]
    (stored,) = (tmp_path / "run").glob("teacher_outputs.npz")
    teacher = open_archive(str(run / "model.tar.gz"))
    outputs = run_all_exits(*teacher, read_rows(teacher.reader, DEV))
    found = TeacherOutputs.load(stored)
    assert found.exit_layers == [0, 2, 3]
    expected = teacher.model.calibrated(outputs.logits)[:, 1:]
    for fingerprint, probs in zip(outputs.hashes.tolist(), expected):
        position = found.fingerprints.tolist().index(fingerprint)
        torch.testing.assert_close(found.log_probs[position].exp(), probs, atol=1e-4, rtol=0)
