"""Graphs of every supported family, against the model that they were made of."""

from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Sequence, Set, Tuple

import numpy as np
import pytest
import torch
from allennlp.data import Vocabulary

from sledgehammer.engine.runtimes import OnnxSegments, OpenVinoSegments
from sledgehammer.export.formats import NOT_EXPORTED
from sledgehammer.export.onnx import write_segment
from sledgehammer.export.segments import Segment, segments_of, walk
from sledgehammer.model.multi_exit import MultiExitClassifier
from sledgehammer.policies import ExitPolicy
from tests.network.test_encoder import CONFIGS, build, padded_batch

pytest.importorskip("onnx", reason="exports are not installed with the stock stack")
pytest.importorskip("onnxruntime")


def model_of(
    name: str, vocab: Vocabulary, folder: Path, pooling: str, **more: Any
) -> MultiExitClassifier:
    build(name).save_pretrained(folder)
    torch.manual_seed(1)
    return MultiExitClassifier(
        vocab, [0, 2, 3], model_name=str(folder), pooling=pooling, **more
    ).eval()


def with_queries(model: MultiExitClassifier) -> None:
    """Let queries, if there are any, look at more than the mean."""
    for name, weight in model.named_parameters():
        if name.endswith("pool.query"):
            torch.nn.init.normal_(weight, std=0.3)


def run_chain(segments: Any, tokens: Dict[str, torch.Tensor]) -> torch.Tensor:
    state = {name: tensor.numpy() for name, tensor in tokens.items()}
    logits = []
    for position in range(3):
        outputs = segments.run(position, state)
        logits.append(outputs.pop("logits"))
        state = {**outputs, "attention_mask": state["attention_mask"]}
    return torch.from_numpy(np.stack(logits, axis=1))


def batches(
    model: MultiExitClassifier,
    shapes: Sequence[List[int]] = ([12, 7, 3, 9], [5, 17], [1, 1, 1]),
) -> List[Dict[str, torch.Tensor]]:
    """To trace with, and others to judge by: of another shape, and without padding."""
    transformer = model.encoder.transformer
    found = []
    for lengths in shapes:
        tokens = padded_batch(transformer, lengths)
        found.append({name: tensor.long() for name, tensor in tokens.items()})
        if model.encoder.takes_token_types:
            found[-1]["token_type_ids"] = torch.zeros_like(found[-1]["input_ids"])
    return found


@pytest.mark.parametrize("pooling", ["first", "mean", "attention"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_family(name: str, pooling: str, vocab: Vocabulary, tmp_path: Path) -> None:
    model = model_of(name, vocab, tmp_path, pooling)
    with_queries(model)
    traced, *others = batches(model)
    files = []
    for segment, inputs in walk(segments_of(model, list(traced)), [traced]):
        files.append(tmp_path / f"{segment.head.layer}.onnx")
        write_segment(segment, inputs[0], files[-1], "fp32")
    assert_same_logits(model, OnnxSegments(files, 1, "fp32"), [traced, *others])


def assert_same_logits(
    model: MultiExitClassifier, segments: Any, some: List[Dict[str, torch.Tensor]]
) -> None:
    for tokens in some:
        with torch.no_grad():
            expected = model.runner.run_all_exits(tokens).logits
        torch.testing.assert_close(run_chain(segments, tokens), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_in_openvino(name: str, vocab: Vocabulary, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from sledgehammer.export import openvino as ours

    model = model_of(name, vocab, tmp_path, "mean")
    if ("openvino", model.encoder.transformer.config.model_type) in NOT_EXPORTED:
        pytest.skip("is refused, see test_what_a_runtime_cannot_run_is_refused")
    traced, *others = batches(model)
    files = []
    for segment, inputs in walk(segments_of(model, list(traced)), [traced]):
        files.append(tmp_path / f"{segment.head.layer}.xml")
        ours.write_segment(segment, inputs[0], files[-1])
    assert_same_logits(model, OpenVinoSegments(files, 1, "fp32"), [traced, *others])


@pytest.mark.parametrize("name", ["deberta", "deberta-v3", "modernbert"])
def test_texts_far_longer_than_the_traced_ones(
    name: str, vocab: Vocabulary, tmp_path: Path
) -> None:
    """Distances beyond all buckets, and windows: nothing of the traced shape stays in the graph."""
    model = model_of(name, vocab, tmp_path, "mean")
    traced, longer = batches(model, ([4, 2], [100, 57, 9]))
    files = []
    for segment, inputs in walk(segments_of(model, list(traced)), [traced]):
        files.append(tmp_path / f"{segment.head.layer}.onnx")
        write_segment(segment, inputs[0], files[-1], "fp32")
    assert_same_logits(model, OnnxSegments(files, 1, "fp32"), [longer])


MIX = {"/head/MatMul", "/head/linear/Gemm"}
QUERIES = {"/pool/MatMul", "/pool/MatMul_1"}


@pytest.mark.parametrize(
    "policy, first, second",
    [
        ("confidence", {"/head/linear/Gemm"}, MIX),
        ("learned_halting", {"/head/linear/Gemm", "/certainty/halting/Gemm"},
         # What head and certainty have in common is computed once.
         {"/certainty/MatMul", "/certainty/halting/Gemm", "/head/linear/Gemm"}),
        ("predicted_depth", {"/head/linear/Gemm", "/depth/linear/Gemm"}, MIX),
        ("attention", QUERIES | {"/head/linear/Gemm"}, QUERIES | MIX),
    ],
)  # fmt: skip
@pytest.mark.parametrize("runtime", ["onnx", "onnx int8-dynamic", "openvino"])
def test_what_decides_is_not_quantised(
    runtime: str, policy: str, first: Set[str], second: Set[str], vocab: Vocabulary, tmp_path: Path
) -> None:
    pooling = policy if policy == "attention" else "mean"
    model = model_of("bert", vocab, tmp_path, pooling, signals=["certainty", "depth"])
    model.policy = ExitPolicy.by_name("confidence" if policy == "attention" else policy)()
    traced = batches(model)[:1]
    walked = walk(segments_of(model, list(traced[0])), traced)
    products = {
        "onnx": onnx_products,
        "onnx int8-dynamic": partial(onnx_products, precision="int8-dynamic"),
        "openvino": openvino_products,
    }[runtime]
    for (segment, inputs), deciding in zip(walked, (first, second)):
        whole, quantised = products(segment, inputs, tmp_path)
        assert {name for name in whole if "/layer." not in name} == deciding
        assert quantised and all("/layer." in name for name in quantised)


Products = Tuple[Set[str], Set[str]]
"""The names of the matrix products in floats, and of those in int8."""


def onnx_products(
    segment: Segment, inputs: List[Dict[str, torch.Tensor]], to: Path, precision: str = "int8"
) -> Products:
    import onnx

    write_segment(segment, inputs[0], to / "int8.onnx", precision)
    nodes = onnx.load(str(to / "int8.onnx")).graph.node
    attention = "QAttention" if precision == "int8-dynamic" else "MultiHeadAttention"
    assert attention in {node.op_type for node in nodes}
    whole = {n.name.removesuffix("_MatMul") for n in nodes if n.op_type in ("Gemm", "MatMul")}
    quantised = {"MatMulInteger", "MatMulIntegerToFloat"}
    # The projections of an attention are named after it, not after a layer.
    return whole, {
        node.name for node in nodes if node.op_type in quantised and "Attention_" not in node.name
    }


def openvino_products(
    segment: Segment, inputs: List[Dict[str, torch.Tensor]], to: Path
) -> Products:
    openvino, _ = pytest.importorskip("openvino"), pytest.importorskip("nncf")
    from sledgehammer.export import openvino as ours

    ours.write_segment(segment, inputs[0], to / "int8.xml", calibration=inputs)
    found: Products = (set(), set())
    for operator in openvino.Core().read_model(str(to / "int8.xml")).get_ops():
        if operator.get_type_name() == "MatMul":
            feeds = [value.get_node() for value in operator.input_values()]
            int8 = any(node.get_type_name() == "FakeQuantize" for node in feeds)
            name = operator.get_friendly_name().split("/WithoutBiases")[0]
            found[int8].add(name)
    return found
