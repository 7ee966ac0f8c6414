"""Int8 in which a text's answer is its own, for every supported family."""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
import torch
from allennlp.data import Vocabulary

from sledgehammer.engine.runtimes import OnnxSegments
from sledgehammer.export.onnx import write_segment
from sledgehammer.export.rowwise import LARGEST_WEIGHT, quantised_weights
from sledgehammer.export.segments import segments_of, walk
from tests.export.test_onnx import batches, model_of, run_chain, with_queries
from tests.network.test_encoder import CONFIGS

pytest.importorskip("onnx", reason="exports are not installed with the stock stack")
pytest.importorskip("onnxruntime")

LAYERS = 4
PRODUCTS_OF_A_LAYER = 6
"""Query, key, value, what follows attention, and the two of the feed-forward part."""
PRODUCTS_OF_A_FUSED_LAYER = 4
"""Those of a family that has query, key and value in one matrix."""
FUSED = {"deberta", "deberta-types", "modernbert", "modernbert-wide"}


def files_of(model: Any, tokens: Dict[str, torch.Tensor], folder: Path, kind: str) -> List[Path]:
    files = []
    for segment, inputs in walk(segments_of(model, list(tokens)), [tokens]):
        files.append(folder / f"{kind}_{segment.head.layer}.onnx")
        write_segment(segment, inputs[0], files[-1], kind)
    return files


def one_row(tokens: Dict[str, torch.Tensor], row: int) -> Dict[str, torch.Tensor]:
    """A row of a batch without its padding."""
    length = int(tokens["attention_mask"][row].sum())
    return {name: tensor[row : row + 1, :length] for name, tensor in tokens.items()}


@pytest.mark.parametrize("name, pooling", [*((n, "mean") for n in CONFIGS), ("bert", "attention")])
def test_a_row_is_alone_what_it_is_in_a_batch(
    name: str, pooling: str, vocab: Vocabulary, tmp_path: Path
) -> None:
    model = model_of(name, vocab, tmp_path, pooling)
    with_queries(model)
    traced, *_ = batches(model)
    files = files_of(model, traced, tmp_path, "int8")
    # ALBERT and ELECTRA have one more between the embeddings and the layers.
    more = int(name.startswith(("albert", "electra")))
    layers = 2 * LAYERS if name == "albert-2-inner" else LAYERS
    each = PRODUCTS_OF_A_FUSED_LAYER if name in FUSED else PRODUCTS_OF_A_LAYER
    assert products(files)["MatMulIntegerToFloat"] == layers * each + more
    segments = OnnxSegments(files, 1, "int8")
    together = run_chain(segments, traced)
    with torch.no_grad():
        expected = model.runner.run_all_exits(traced).logits
    torch.testing.assert_close(together, expected, atol=0.03, rtol=0.03)
    assert not torch.equal(together, expected)
    for row in range(len(together)):
        alone = run_chain(segments, one_row(traced, row))
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)


def test_scales_of_a_batch_do_not_keep_rows_apart(vocab: Vocabulary, tmp_path: Path) -> None:
    """What the other kind of int8 is named for: else the test above shows nothing."""
    model = model_of("bert", vocab, tmp_path, "mean")
    traced, *_ = batches(model)
    segments = OnnxSegments(files_of(model, traced, tmp_path, "int8-dynamic"), 1, "int8-dynamic")
    together = run_chain(segments, traced)
    alone = torch.cat([run_chain(segments, one_row(traced, row)) for row in range(4)])
    assert float((alone - together).abs().max()) > 1e-4


def test_the_pooler_stays_in_floats(vocab: Vocabulary, tmp_path: Path) -> None:
    model = model_of("bert", vocab, tmp_path, "first")
    traced, *others = batches(model)
    files = files_of(model, traced, tmp_path, "int8")
    assert products(files)["MatMulIntegerToFloat"] == LAYERS * PRODUCTS_OF_A_LAYER
    segments = OnnxSegments(files, 1, "int8")
    for tokens in others:
        with torch.no_grad():
            expected = model.runner.run_all_exits(tokens).logits
        torch.testing.assert_close(run_chain(segments, tokens), expected, atol=0.02, rtol=0.02)


def products(files: List[Path]) -> "Counter[str]":
    import onnx

    return Counter(node.op_type for file in files for node in onnx.load(str(file)).graph.node)


def test_weights_are_scaled_by_output() -> None:
    weights = np.array([[1.0, 0.0, -0.02], [-2.0, 0.0, 0.01]], np.float32)
    values, scales = quantised_weights(weights)
    assert values.dtype == np.int8 and np.abs(values).max() == LARGEST_WEIGHT
    assert values[:, 1].tolist() == [0, 0]  # and no division by zero
    np.testing.assert_allclose(values * scales, weights, atol=2.0 / LARGEST_WEIGHT / 2)
    assert np.abs(values[:, 2]).max() == LARGEST_WEIGHT


def test_the_largest_products_are_exact_on_this_processor() -> None:
    """Without VNNI two products are added in 16 bits, which larger weights would overflow."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    tokens = np.full((1, 64, 384), 255, np.uint8)
    weights = np.full((384, 32), LARGEST_WEIGHT, np.int8)
    weights[:, 1::2] = -LARGEST_WEIGHT
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["tokens", "weights"], ["product"])], "largest",
        [helper.make_tensor_value_info("tokens", TensorProto.UINT8, tokens.shape)],
        [helper.make_tensor_value_info("product", TensorProto.INT32, None)],
        [numpy_helper.from_array(weights, "weights")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (product,) = session.run(None, {"tokens": tokens})
    np.testing.assert_array_equal(product, tokens.astype(int) @ weights.astype(int))
