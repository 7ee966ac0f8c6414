"""The speed benchmarks run, and compare like with like."""

import json
from pathlib import Path
from typing import Any, Dict

import pytest
import torch

from benchmarks import batching, isolation, overhead
from benchmarks.material import Material, parser, prepare
from sledgehammer.benchmark.plain import PlainClassifier
from sledgehammer.benchmark.timing import Timing
from sledgehammer.model.multi_exit import MultiExitClassifier
from tests.tiny_training import DEV


@pytest.fixture
def material(tiny_archive: Path) -> Material:
    return prepare(parser("x", None, rows=5, rounds=1).parse_args([str(tiny_archive), DEV]))


@torch.no_grad()
def test_plain_models_have_the_models_weights(material: Material) -> None:
    """The mixed state of an exit whose mix has one state is that state."""
    model, rows = material
    (batch,) = material.batches(range(5), 5)
    for position, head in enumerate(model.exits):
        if head.mix is not None:
            head.mix[:-1] = -100.0
        plain = PlainClassifier(model, position)
        for tokens in (batch, rows[0]):
            logits = model.runner.run_all_exits(tokens).logits[:, position]
            torch.testing.assert_close(plain(tokens), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position, layer", [(0, 0), (1, 2), (2, 3), (None, 3)])
@torch.no_grad()
def test_forced_exits(material: Material, position: Any, layer: int) -> None:
    model, rows = material
    before = model.temperatures.clone(), model.policy.threshold
    with overhead.forced_exit(model, position):
        assert {int(model(row)["exit_layer"]) for row in rows} == {layer}
    assert torch.equal(model.temperatures, before[0]) and model.policy.threshold == before[1]


def test_half_of_the_rows_exit_early(material: Material) -> None:
    threshold, exits = batching.half_early(material)
    assert 0 < threshold < 1
    assert sum(place < 2 for place in exits) in (2, 3)
    assert isinstance(material.model, MultiExitClassifier)


def test_overhead(tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    target = tmp_path / "report.json"
    overhead.main([str(tiny_archive), DEV, "--rounds", "2", "--output", str(target)])
    found = json.loads(target.read_text())
    assert [result["exit_layer"] for result in found["exits"]] == [0, 2, 3, 3]
    low, high = found["exits"][0]["ratio"]["quartiles"]
    assert 0 < low <= found["exits"][0]["ratio"]["median"] <= high
    assert "| threshold 1.0" in capsys.readouterr().out


def test_batching(tiny_archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    target = tmp_path / "report.json"
    batching.main(
        [str(tiny_archive), DEV, "--rounds", "2", "--batch-sizes", "2", "--output", str(target)]
    )
    found = json.loads(target.read_text())
    assert [result["order"] for result in found["batches"]] == ["random", "by length"]
    assert found["batches"][0]["throughput_against_ideal"]["median"] > 0
    assert "of the rows exit before the last exit" in capsys.readouterr().out


def test_isolation(
    tiny_archive: Path, tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    target = tmp_path / "report.json"
    models = [str(tiny_engine), str(tiny_archive)]
    isolation.main([DEV, *models, "--batches", "20", "--rounds", "2", "--output", str(target)])
    found = json.loads(target.read_text())["results"]
    assert [(r["runtime"], r["precision"]) for r in found] == [("onnx", "fp32"), ("torch", "fp32")]
    for result in found:
        assert result["batches"] == 20 and result["rows"] > 20
        assert (result["labels"], result["exits"], result["probabilities"]) == (0, 0, 0)
    assert found[0]["time"]["single"]["median"] == 1.0
    assert "20 random batches" in capsys.readouterr().out


def test_isolation_tells_times_as_multiples_of_the_first(
    tiny_archive: Path, tiny_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def times(engines: Dict[str, Any], *_: Any) -> Dict[str, Dict[str, Timing]]:
        return {path: {"single": Timing([seconds])} for path, seconds in zip(engines, (1.0, 3.0))}

    monkeypatch.setattr(isolation, "time_in_turns", times)
    target = tmp_path / "report.json"
    models = [str(tiny_engine), str(tiny_archive)]
    isolation.main([DEV, *models, "--batches", "1", "--output", str(target)])
    results = json.loads(target.read_text())["results"]
    assert [result["time"]["single"]["median"] for result in results] == [1.0, 3.0]
