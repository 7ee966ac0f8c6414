"""JSON lines in, JSON lines out."""

import gc
import json
import logging
from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from allennlp.common.checks import ConfigurationError

from sledgehammer.dataset_readers import SnliReader, SstReader
from sledgehammer.dataset_readers.base import Row
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.model.predictor import SledgehammerPredictor
from sledgehammer.policies import BudgetPolicy, exit_shares
from tests.conftest import FIXTURES, TINY_BERT

GOOD = {"text": "a good story about bees"}


@pytest.fixture
def predictor(model: MultiExitClassifier, sst_reader: SstReader) -> SledgehammerPredictor:
    return SledgehammerPredictor(model, sst_reader, threshold=1.0)


def predict_lines(predictor: SledgehammerPredictor, lines: List[str]) -> List[Dict[str, Any]]:
    outputs = predictor.predict_batch_json([predictor.load_line(line) for line in lines])
    return [json.loads(predictor.dump_line(output)) for output in outputs]


def test_output_fields(predictor: SledgehammerPredictor) -> None:
    output = predictor.predict_json(GOOD)
    assert list(output) == [
        "label", "probs", "confidence", "exit_layer", "layers_run", "layer_speedup",
    ]  # fmt: skip
    assert set(output["probs"]) == {"negative", "positive"}
    assert sum(output["probs"].values()) == pytest.approx(1.0)
    assert output["label"] == max(output["probs"], key=output["probs"].get)
    assert output["confidence"] == pytest.approx(max(output["probs"].values()))
    assert (output["exit_layer"], output["layers_run"], output["layer_speedup"]) == (3, 4, 1.0)


def test_threshold_of_the_predictor_overrides_the_model(
    model: MultiExitClassifier, sst_reader: SstReader
) -> None:
    first = SledgehammerPredictor(model, sst_reader, threshold=0.0).predict_json(GOOD)
    last = SledgehammerPredictor(model, sst_reader, threshold=1.0).predict_json(GOOD)
    assert (first["exit_layer"], first["layer_speedup"]) == (0, 4.0)
    assert last["exit_layer"] == 3


def test_number_format(model: MultiExitClassifier, sst_reader: SstReader) -> None:
    exact = SledgehammerPredictor(model, sst_reader, threshold=1.0).predict_json(GOOD)
    other = SledgehammerPredictor(model, sst_reader, dtype="bfloat16").predict_json(GOOD)
    assert other["probs"] != exact["probs"]
    assert other["probs"] == pytest.approx(exact["probs"], abs=0.02)
    again = SledgehammerPredictor(model, sst_reader, dtype="float32").predict_json(GOOD)
    assert again == exact
    with pytest.raises(ConfigurationError, match="dtype must be one of float32, bfloat16"):
        SledgehammerPredictor(model, sst_reader, dtype="half")


def test_threshold_of_a_line_holds_for_that_line_only(predictor: SledgehammerPredictor) -> None:
    lines = [json.dumps(GOOD), json.dumps({**GOOD, "threshold": 0.0}), json.dumps(GOOD)]
    assert [output["exit_layer"] for output in predict_lines(predictor, lines)] == [3, 0, 3]


def test_sentence_is_accepted_for_text(predictor: SledgehammerPredictor) -> None:
    assert predictor.predict_json({"sentence": GOOD["text"]}) == predictor.predict_json(GOOD)


def test_pairs(model: MultiExitClassifier, snli_reader: SnliReader) -> None:
    predictor = SledgehammerPredictor(model, snli_reader)
    pair = {"premise": "a boy feeds two geese", "hypothesis": "a boy is asleep"}
    assert predictor.predict_json(pair)["label"] in ("negative", "positive")
    output = predict_lines(predictor, ['{"premise": "a boy"}'])
    assert output == [{"error": "missing field 'hypothesis'", "line": 1}]


BAD_LINES = {
    "": "blank line",
    "{": "not JSON",
    "[1, 2]": "expected a JSON object, got list",
    "{}": "missing field 'text'",
    '{"text": 3}': "field 'text' must be a string, got 3",
    '{"text": null}': "field 'text' must be a string, got null",
    '{"text": "a", "threshold": 1.5}': "threshold must be a number between 0 and 1, got 1.5",
    '{"text": "a", "threshold": "0.5"}': "threshold must be a number between 0 and 1, got '0.5'",
    '{"text": "a", "threshold": NaN}': "threshold must be a number between 0 and 1, got nan",
    '{"text": "a", "threshold": true}': "threshold must be a number between 0 and 1, got True",
    '{"text": "\\ud800"}': "lone surrogate",
    b'{"text": "\xff"}'.decode("utf-8", "surrogateescape"): "not UTF-8 text",
    "[" * 100_000: "not JSON",
    f'{{"text": {"[" * 985}{"]" * 985}}}': "nested deeper than 64 levels",
    '{"text": {"a": {}}}': "field 'text' must be a string, got an object",
    '{"text": "a", "treshold": 0.5}': "unknown field \"treshold\": did you mean 'threshold'?",
    '{"text": "a", "stars": null}': 'unknown field "stars": name it with --keep',
    '{"text": "a", "sentence": "b"}': 'unknown field "sentence"',
    '{"text": "a", "id": Infinity}': "field 'id' has a number that JSON does not have",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_line_gets_an_error_in_its_place(predictor: SledgehammerPredictor, line: str) -> None:
    outputs = predict_lines(predictor, [json.dumps(GOOD), line, json.dumps(GOOD)])
    assert BAD_LINES[line] in outputs[1]["error"]
    assert outputs[1]["line"] == 2
    alone = predictor.predict_json(GOOD)
    for output in (outputs[0], outputs[2]):
        assert output["probs"] == pytest.approx(alone["probs"])
        assert (output["label"], output["exit_layer"]) == (alone["label"], alone["exit_layer"])


def test_fields_that_outputs_carry_over(model: MultiExitClassifier, sst_reader: SstReader) -> None:
    predictor = SledgehammerPredictor(model, sst_reader, keep=["stars"])
    line = {**GOOD, "id": 7, "stars": 5, "label": "positive"}
    good, bad = predict_lines(predictor, [json.dumps(line), '{"id": 8}'])
    assert (good["id"], good["stars"]) == (7, 5) and good["probs"]
    assert bad == {"id": 8, "error": "missing field 'text'", "line": 2}
    assert predictor.finish() == 3
    assert predictor.predict_json({**GOOD, "id": [1]})["id"] == [1]
    for keep in (["label"], ["error"], "stars"):
        with pytest.raises(ConfigurationError, match="keep"):
            SledgehammerPredictor(model, sst_reader, keep=keep)  # type: ignore[arg-type]


def test_lines_of_plain_text(
    model: MultiExitClassifier, sst_reader: SstReader, snli_reader: SnliReader
) -> None:
    predictor = SledgehammerPredictor(model, sst_reader, text_lines=True, keep=["text"])
    outputs = predict_lines(predictor, ["\ufeffI loved it\n", "\n", "{"])
    assert [output.get("text") for output in outputs] == ["I loved it", None, "{"]
    assert outputs[1] == {"error": "blank line", "line": 2}
    with pytest.raises(ConfigurationError, match="for models of single texts"):
        SledgehammerPredictor(model, snli_reader, text_lines=True)


def test_long_texts_say_so_and_are_counted_once(
    model: MultiExitClassifier, caplog: pytest.LogCaptureFixture
) -> None:
    reader = SstReader(model_name=TINY_BERT, max_length=12)
    predictor = SledgehammerPredictor(model, reader)
    lines = [json.dumps({"text": "bee " * n}) for n in (2, 40, 1)]
    assert [out.get("truncated") for out in predict_lines(predictor, lines)] == [None, True, None]
    instances = reader.instances([Row(["bee " * 40], None)])
    assert predictor.predict_batch_instance(instances)[0]["truncated"] is True
    assert predictor.finish() == 0 and predictor.finish() == 0
    assert caplog.text.count("2 texts were longer than 12 word pieces") == 1


def test_batch_of_bad_lines_only(predictor: SledgehammerPredictor) -> None:
    assert [output["line"] for output in predict_lines(predictor, ["{", "{"])] == [1, 2]


def test_bad_lines_are_counted_at_the_end(
    model: MultiExitClassifier, sst_reader: SstReader, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = SledgehammerPredictor(model, sst_reader)
    predict_lines(predictor, ["{", json.dumps(GOOD), "{}"])
    del predictor
    with caplog.at_level(logging.WARNING):
        gc.collect()
    assert "2 bad lines were answered with an error: lines 1, 3" in caplog.text


def test_bad_input_that_is_no_line_raises(predictor: SledgehammerPredictor) -> None:
    with pytest.raises(ValueError, match="missing field 'text'"):
        predictor.predict_json({})


def test_instances_of_a_dataset_reader(
    predictor: SledgehammerPredictor, sst_reader: SstReader
) -> None:
    instances = list(sst_reader.read(str(FIXTURES / "sst/dev.txt")))
    together = predictor.predict_batch_instance(instances)
    alone = [predictor.predict_instance(instance) for instance in instances]
    assert [output["label"] for output in together] == [output["label"] for output in alone]
    assert {output["exit_layer"] for output in together} == {3}


@pytest.mark.parametrize("as_lines", [True, False])
def test_a_budget_is_kept_from_batch_to_batch(
    model: MultiExitClassifier, sst_reader: SstReader, as_lines: bool
) -> None:
    """The calibration data were all sure at once; of these rows none ever is."""
    sure = np.tile(np.array([[[0.9, 0.1], [0.8, 0.2], [0.9, 0.1]]], np.float32), (10, 1, 1))
    model.store_shares(exit_shares(sure))
    model.policy = BudgetPolicy(2.5)
    model.temperatures.fill_(1e6)
    predictor = SledgehammerPredictor(model, sst_reader, budget=2.0)
    layers = []
    for _ in range(60):
        if as_lines:
            outputs = predict_lines(predictor, [json.dumps(GOOD)] * 4)
        else:
            outputs = predictor.predict_batch_instance(sst_reader.instances([Row(["a"], None)] * 4))
        layers += [output["layers_run"] for output in outputs]
    assert len(set(layers)) > 1, "rows that are alike are divided"
    assert np.mean(layers) == pytest.approx(2.0, rel=0.005)
    (own,) = predict_lines(predictor, [json.dumps({**GOOD, "budget": 1.0})])
    assert own["layers_run"] == 1


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "0.5"])
def test_bad_threshold(model: MultiExitClassifier, sst_reader: SstReader, threshold: Any) -> None:
    with pytest.raises(ConfigurationError, match="threshold must be a number between 0 and 1"):
        SledgehammerPredictor(model, sst_reader, threshold=threshold)


def test_foreign_model(sst_reader: SstReader) -> None:
    class Foreign(torch.nn.Linear):
        pass

    with pytest.raises(ConfigurationError, match="not a sledgehammer model: Foreign"):
        SledgehammerPredictor(Foreign(1, 1), sst_reader)  # type: ignore[arg-type]
