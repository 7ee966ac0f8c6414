"""Exports of every precision, against the model that they were made of."""

import json
import tarfile
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from allennlp.common.checks import ConfigurationError

from sledgehammer.dataset_readers.json_lines import read_rows
from sledgehammer.export import directory
from sledgehammer.export.directory import Format, export, random_tokens, range_batches
from sledgehammer.model.archives import Opened, open_archive
from tests.conftest import FIXTURES
from tests.tiny_training import train

pytest.importorskip("onnx", reason="exports are not installed with the stock stack")
pytest.importorskip("onnxruntime")
DEV = str(FIXTURES / "sst/dev.txt")
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def logits_of(engine: Any, model: Any, rows: int = 16) -> "tuple[torch.Tensor, torch.Tensor]":
    tokens = random_tokens(model, engine.manifest.inputs, rows)
    with torch.no_grad():
        expected = model.runner.run_all_exits(tokens).logits
    got, _ = engine.run_all_exits({name: tensor.numpy() for name, tensor in tokens.items()})
    return expected, torch.from_numpy(got)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_float32_is_the_model(tiny_archive: Path, tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(runtime)
    opened = open_archive(str(tiny_archive))
    engine = export(str(tiny_archive), opened, Format(runtime, "fp32"), tmp_path)
    expected, got = logits_of(engine, opened.model)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_an_archive_without_tokenizer_is_refused_before_graphs_are_written(
    tiny_archive: Path, tmp_path: Path
) -> None:
    bare, folder = tmp_path / "bare.tar.gz", tmp_path / "engine"
    folder.mkdir()
    with tarfile.open(tiny_archive) as old, tarfile.open(bare, "w:gz") as new:
        for member in old.getmembers():
            if not member.name.startswith(("transformer", "checksums")):
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with pytest.raises(ConfigurationError, match="include_in_archive"):
        export(str(bare), open_archive(str(bare)), Format("onnx", "fp32"), folder)
    assert not list(folder.rglob("*.onnx"))


@pytest.fixture(scope="module", params=[1, 4])
def attentive(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "tuple[str, Opened]":
    """An archive whose exits have queries; those of the opened model look at some tokens more."""
    run = tmp_path_factory.mktemp("attentive") / "run"
    train(run, model__pooling="attention", model__queries=request.param)
    opened = open_archive(str(run / "model.tar.gz"))
    for head in opened.model.exits:  # type: ignore[union-attr]
        torch.nn.init.normal_(head.pool.query)
    return str(run / "model.tar.gz"), opened


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_float32_has_the_queries_too(
    attentive: "tuple[str, Opened]", tmp_path: Path, runtime: str
) -> None:
    pytest.importorskip(runtime)
    archive, opened = attentive
    engine = export(archive, opened, Format(runtime, "fp32"), tmp_path)
    expected, got = logits_of(engine, opened.model)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "runtime, precision", [("onnx", "int8"), ("onnx", "int8-dynamic"), ("openvino", "int8")]
)
def test_int8_is_near_the_model(
    tiny_archive: Path, tmp_path: Path, runtime: str, precision: str
) -> None:
    pytest.importorskip("nncf" if runtime == "openvino" else runtime)
    opened = open_archive(str(tiny_archive))
    format = Format(runtime, precision)
    rows = read_rows(opened.reader, DEV)
    engine = export(
        str(tiny_archive), opened, format, tmp_path,
        range_batches(opened, rows) if format.needs_calibration else None,
    )  # fmt: skip
    expected, got = logits_of(engine, opened.model)
    assert 0 < float((expected - got).abs().max()) < 0.3 * float(expected.abs().max())


@pytest.mark.parametrize("pooled_by", ["mean", "queries"])
def test_attention_and_layer_norm_are_fused(
    pooled_by: str,
    tiny_archive: Path,
    attentive: "tuple[str, Opened]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = str(tiny_archive) if pooled_by == "mean" else attentive[0]
    fused = []
    write: Callable[..., Any] = directory.onnx.write_segment
    monkeypatch.setattr(directory.onnx, "write_segment", lambda *given: fused.append(write(*given)))
    export(archive, open_archive(archive), Format("onnx", "fp32"), tmp_path)
    layers = [1, 2, 1]  # of the segments up to the exits at 0, 2 and 3
    assert [counts["Attention"] for counts in fused] == layers
    assert [counts["SkipLayerNormalization"] for counts in fused] == [2 * n for n in layers]


def test_a_graph_that_computes_something_else_is_refused(
    tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_archive(str(tiny_archive))
    other = directory.segments_of

    def wrong(*given: Any) -> Any:
        segments = other(*given)
        torch.nn.init.normal_(segments[1].head.linear.bias)
        return segments

    monkeypatch.setattr(directory, "segments_of", wrong)
    with pytest.raises(ConfigurationError, match="do not compute what the model does"):
        export(str(tiny_archive), opened, Format("onnx", "fp32"), tmp_path)


def test_what_there_is_not_is_told() -> None:
    with pytest.raises(ConfigurationError, match="onnx has no bf16 on a CPU.*openvino"):
        Format("onnx", "bf16")


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install onnx openvino nncf"):
        Format("openvino", "int8").require_libraries()


def test_the_directory_holds_no_weights_in_pickles(tiny_archive: Path, tmp_path: Path) -> None:
    opened = open_archive(str(tiny_archive))
    export(str(tiny_archive), opened, Format("onnx", "fp32"), tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"engine.json", "config.json", "seen.json", "segments/exit_0.onnx"} <= names
    assert not [name for name in names if name.endswith((".th", ".pt", ".bin", ".pkl"))]
    manifest = json.loads((tmp_path / "engine.json").read_text())
    assert manifest["temperatures"] == opened.model.temperatures.tolist()
    assert manifest["labels"] == opened.model.labels


@pytest.mark.parametrize("model_type", ["deberta", "deberta-v2"])
def test_what_a_runtime_cannot_run_is_refused(
    model_type: str, tiny_archive: Path, tmp_path: Path
) -> None:
    opened = open_archive(str(tiny_archive))
    opened.model.encoder.transformer.config.model_type = model_type
    message = f"^{model_type} is not exported to openvino: .*branches.*; give --format onnx$"
    with pytest.raises(ConfigurationError, match=message):
        export(str(tiny_archive), opened, Format("openvino", "fp32"), tmp_path)
    assert not list(tmp_path.iterdir())
    Format("onnx", "fp32").require_runnable(model_type)
