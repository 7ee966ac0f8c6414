"""The three commands, each in a process of its own, as the README shows them."""

import json
import re
from pathlib import Path
from typing import Any, Dict, List

import pytest

from sledgehammer.calibration import fit_temperature
from sledgehammer.dataset_readers import SstReader
from tests.cli import allennlp
from tests.conftest import TINY_BERT
from tests.tiny_training import DEV, dev_logits, load


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cli") / "run"
    done = allennlp("train", "fixtures/tiny.jsonnet", "-s", str(directory))
    assert done.returncode == 0, done.stderr
    return directory / "model.tar.gz"


def evaluate(archive: Path, output: Path, *arguments: str) -> Dict[str, Any]:
    done = allennlp("evaluate", str(archive), DEV, "--output-file", str(output), *arguments)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(output.read_text())
    table = dict(re.findall(r"^\| +(\w+) \| +(\S+) \|$", done.stdout, re.MULTILINE))
    assert table.keys() - {"metric"} == metrics.keys(), "the metrics are printed too"
    assert float(table["accuracy"]) == pytest.approx(metrics["accuracy"], abs=1e-4)
    return metrics


def read_lines(path: Path) -> List[Dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_evaluate_at_the_ends_of_the_curve(archive: Path, tmp_path: Path) -> None:
    full = evaluate(
        archive, tmp_path / "full.json", "-o", '{"model.policy.threshold": 1.0}',
        "--predictions-output-file", str(tmp_path / "full.jsonl"), "--batch-size", "2",
    )  # fmt: skip
    assert (full["layer_speedup"], full["mean_exit_layer"], full["share_at_exit_3"]) == (1, 3, 1)
    assert full["accuracy"] == full["accuracy_at_exit_3"]
    batches = read_lines(tmp_path / "full.jsonl")
    assert sum(len(batch["label"]) for batch in batches) == 5
    first = evaluate(archive, tmp_path / "first.json", "-o", '{"model.policy.threshold": 0.0}')
    assert (first["layer_speedup"], first["mean_exit_layer"], first["share_at_exit_0"]) == (4, 0, 1)
    assert {"accuracy", "calibration_error", "loss"} <= set(first)


def test_predict_gives_one_line_for_each_line(archive: Path, tmp_path: Path) -> None:
    lines = [
        b'{"text": "I loved it"}', b"", b"{", b'{"text": "\xff"}',
        b'{"sentence": "boring", "threshold": 1.0}',
    ]  # fmt: skip
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    done = allennlp(
        "predict", str(archive), str(tmp_path / "in.jsonl"), "--silent", "--batch-size", "2",
        "--output-file", str(tmp_path / "out.jsonl"), "--predictor-args", '{"threshold": 0.0}',
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    outputs = read_lines(tmp_path / "out.jsonl")
    assert [output.get("line") for output in outputs] == [None, 2, 3, 4, None]
    assert [outputs[0]["exit_layer"], outputs[-1]["exit_layer"]] == [0, 3]
    assert "3 bad lines were answered with an error: lines 2, 3, 4" in done.stderr + done.stdout


def test_predict_with_the_dataset_reader(archive: Path, tmp_path: Path) -> None:
    done = allennlp(
        "predict", str(archive), DEV, "--use-dataset-reader", "--silent", "--batch-size", "3",
        "--output-file", str(tmp_path / "out.jsonl"), "--predictor-args", '{"threshold": 1.0}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [output["exit_layer"] for output in read_lines(tmp_path / "out.jsonl")] == [3] * 5


def test_predict_from_standard_input(archive: Path) -> None:
    done = allennlp("predict", str(archive), "-", stdin=b'{"text": "fun"}\n\n')
    assert done.returncode == 3, done.stderr
    assert '"exit_layer"' in done.stdout and '"blank line"' in done.stdout


def test_bad_threshold_is_a_clear_error(archive: Path) -> None:
    done = allennlp("evaluate", str(archive), DEV, "-o", '{"model.policy.threshold": 1.5}')
    assert done.returncode != 0
    assert "threshold must be a number between 0 and 1, got 1.5" in done.stderr


def test_two_gloo_workers_train_and_calibrate(tmp_path: Path) -> None:
    """Every worker's validation rows count, in the metrics and in the temperatures."""
    # As many batches for each worker: AllenNLP's schedulers go by a worker's own number.
    overrides = {
        "distributed": {"cuda_devices": [-1, -1]},
        "dataset_reader.max_instances": 8,
        "trainer.num_epochs": 1,
    }
    done = allennlp(
        "train", "fixtures/tiny.jsonnet", "-s", str(tmp_path / "run"), "-o", json.dumps(overrides)
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    model = load(tmp_path / "run")
    found = dev_logits(model, SstReader(model_name=TINY_BERT))
    for position, layer in enumerate(model.exit_layers):
        logits = found["logits"][:, position]
        accuracy = float((logits.argmax(-1) == found["label"]).double().mean())
        assert metrics[f"validation_exit_{layer}_accuracy"] == pytest.approx(accuracy)
        fitted = fit_temperature(logits, found["label"])
        assert float(model.temperatures[position]) == pytest.approx(fitted, rel=1e-2)
    assert sum(metrics[f"validation_share_at_exit_{layer}"] for layer in (0, 2, 3)) == 1
