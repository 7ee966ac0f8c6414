"""Archives and engines of earlier versions load, and give the answers that they gave then."""

import json
from typing import Any, Dict, List

import pytest

from sledgehammer.model.archives import open_archive
from sledgehammer.model.predictor import SledgehammerPredictor
from tests.conftest import FIXTURES

OLD = FIXTURES / "version_0.1.0"
EXPECTED: Dict[str, Any] = json.loads((OLD / "answers.json").read_text(encoding="utf-8"))


def test_an_old_archive_answers_as_it_did() -> None:
    opened = open_archive(str(OLD / "model.tar.gz"))
    predictor = SledgehammerPredictor(opened.model, opened.reader)
    for threshold, expected in zip(EXPECTED["thresholds"], EXPECTED["archive"]):
        lines = [{"text": text, "threshold": threshold} for text in EXPECTED["texts"]]
        assert_same(predictor.predict_batch_json(lines), expected)


def test_an_old_engine_answers_as_it_did() -> None:
    pytest.importorskip("onnxruntime", reason="runs an exported model")
    from sledgehammer import engine

    classifier = engine.load(OLD / "engine")
    assert classifier.manifest.precision == "int8-dynamic"
    for threshold, expected in zip(EXPECTED["thresholds"], EXPECTED["engine"]):
        # One text a batch: the activations of this format are scaled over the batch.
        answers = classifier.predict(EXPECTED["texts"], threshold=threshold, batch_size=1)
        # Processors round the products of 8-bit numbers differently.
        assert_same(answers, expected, tolerance=0.02)


def assert_same(
    answers: List[Dict[str, Any]], expected: List[Dict[str, Any]], tolerance: float = 1e-4
) -> None:
    for answer, old in zip(answers, expected):
        assert answer.items() >= {k: old[k] for k in ("label", "exit_layer", "layers_run")}.items()
        assert answer["probs"] == pytest.approx(old["probs"], abs=tolerance)
    assert len(answers) == len(expected)
