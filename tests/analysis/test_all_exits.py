"""Test one pass with all exits over rows from a reader or from JSON lines."""

import json
from pathlib import Path

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from sledgehammer.analysis.all_exits import run_all_exits
from sledgehammer.dataset_readers import SnliReader, SstReader
from sledgehammer.dataset_readers.base import Row
from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.model.multi_exit import MultiExitClassifier
from tests.conftest import FIXTURES
from tests.tiny_training import DEV, dev_logits

TRAIN = str(FIXTURES / "sst/train.txt")


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_rows_keep_their_order_whatever_their_lengths(
    model: MultiExitClassifier, sst_reader: SstReader, batch_size: int
) -> None:
    outputs = run_all_exits(model, sst_reader, read_rows(sst_reader, DEV), batch_size)
    expected = dev_logits(model, sst_reader)
    torch.testing.assert_close(outputs.logits, expected["logits"], rtol=1e-4, atol=1e-5)
    assert outputs.label is not None and outputs.label.equal(expected["label"])
    lengths = [len(i["tokens"].input_ids) for i in sst_reader.read(DEV)]  # type: ignore[attr-defined]
    assert outputs.tokens.tolist() == lengths


def test_the_model_is_as_before(model: MultiExitClassifier, sst_reader: SstReader) -> None:
    run_all_exits(model, sst_reader, read_rows(sst_reader, DEV))
    assert not model.always_run_all_exits and not model.training
    assert model.get_metrics() == {}


def test_max_instances_of_the_reader_holds(sst_reader: SstReader) -> None:
    sst_reader.max_instances = 3
    assert len(read_rows(sst_reader, TRAIN)) == 3


def json_lines(path: Path, *lines: object) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_json_lines(sst_reader: SstReader, snli_reader: SnliReader, tmp_path: Path) -> None:
    single = json_lines(
        tmp_path / "a", {"text": "good", "label": "positive"}, {"sentence": "bad", "label": "x"}
    )
    assert read_rows(sst_reader, single, json_lines=True) == [
        Row(["good"], "positive"), Row(["bad"], "x"),
    ]  # fmt: skip
    pair = json_lines(tmp_path / "b", {"premise": "p", "hypothesis": "h", "label": "neutral"})
    assert read_rows(snli_reader, pair, json_lines=True) == [Row(["p", "h"], "neutral")]


def test_bad_data_is_named(
    model: MultiExitClassifier, sst_reader: SstReader, tmp_path: Path
) -> None:
    def problem(*lines: object) -> str:
        with pytest.raises(ConfigurationError) as caught:
            rows = read_rows(sst_reader, json_lines(tmp_path / "x", *lines), json_lines=True)
            run_all_exits(model, sst_reader, rows)
        return caught.value.message

    assert "no rows in" in problem()
    good = {"text": "good", "label": "positive"}
    assert "1 of 2 rows have no label" in problem(good, {"text": "bad"})
    assert "x, line 2: missing field 'text'" in problem(good, {"label": "positive"})
    assert "field 'label' must be a string, got 1" in problem({"text": "good", "label": 1})
    message = problem(good, {"text": "good", "label": "splendid"})
    assert "row 2 has the label 'splendid'" in message and "negative, positive" in message


def test_labels_may_be_left_out_where_none_are_needed(
    model: MultiExitClassifier, sst_reader: SstReader, tmp_path: Path
) -> None:
    file = json_lines(tmp_path / "x", {"text": "good", "label": "positive"}, {"text": "bad"})
    rows = read_rows(sst_reader, file, json_lines=True, labelled=False)
    assert run_all_exits(model, sst_reader, rows).label is None
