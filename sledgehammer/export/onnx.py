"""Write segments as ONNX graphs: traced, fused, quantised."""

import contextlib
import io
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List

import torch
from torch import Tensor

from sledgehammer.engine.runtimes import HEADS
from sledgehammer.export.rowwise import write_rowwise
from sledgehammer.export.segments import TOKEN_ARRAYS, Segment

OPSET = 17


def write_graph(segment: Segment, example: Dict[str, Tensor], target: Path) -> None:
    """Trace a segment into an ONNX file that takes any number of rows and tokens.

    # Parameters

    example : `Dict[str, Tensor]`
        Inputs of several rows of more than one token each, with padding.
    """
    outputs = segment.outputs
    axes = {name: _axes(name) for name in [*segment.inputs, *outputs]}
    # ONNX Runtime fuses the patterns that the tracing exporter writes.
    options: Dict[str, Any] = {} if _is_old_torch() else {"dynamo": False}
    with quietly():
        torch.onnx.export(
            segment,
            tuple(example[name] for name in segment.inputs),
            str(target),
            input_names=segment.inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=min(OPSET, 16) if _is_old_torch() else OPSET,
            **options,
        )


def fuse(graph: Path, target: Path, heads: int, hidden_size: int) -> Dict[str, int]:
    """Merge attention, layer norm and activations into single operators.

    # Returns

    The number of operators of each fused kind.
    """
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    with quietly():
        fused = optimizer.optimize_model(
            str(graph),
            model_type="bert",
            num_heads=heads,
            hidden_size=hidden_size,
            opt_level=0,
            optimization_options=FusionOptions("bert"),
        )
        fused.save_model_to_file(str(target))
    return {name: count for name, count in fused.get_fused_operator_statistics().items() if count}


def head_nodes(graph: Path) -> List[str]:
    """Return the names of the operators of an exit's head; see `HEADS`."""
    import onnx

    nodes = onnx.load(str(graph), load_external_data=False).graph.node
    return [node.name for node in nodes if node.name.startswith(HEADS)]


def quantise(graph: Path, target: Path) -> None:
    """Quantise weights to int8, with a scale for each channel; scale activations for each batch.

    So a text's answer may depend on its neighbours in the batch, unlike with `write_rowwise`.

    The heads stay in float32: they cost next to nothing, and the decisions depend on them.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # The quantiser first turns a Gemm into a MatMul, which has another name.
    heads = head_nodes(graph)
    with quietly():
        quantize_dynamic(
            str(graph),
            str(target),
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[name for head in heads for name in (head, f"{head}_MatMul")],
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )


def write_segment(
    segment: Segment, example: Dict[str, Tensor], target: Path, precision: str
) -> Dict[str, int]:
    """Write a segment for ONNX Runtime.

    # Parameters

    precision : `str`
        `fp32`, `int8` or `int8-dynamic`.

    # Returns

    The number of fused operators of each kind.
    """
    config = segment.encoder.transformer.config
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        traced, fused = Path(folder, "traced.onnx"), Path(folder, "fused.onnx")
        write_graph(segment, example, traced)
        counts = fuse(traced, fused, config.num_attention_heads, config.hidden_size)
        if precision == "int8":
            write_rowwise(fused, target)
        elif precision == "int8-dynamic":
            quantise(fused, target)
        else:
            fused.replace(target)
    return counts


def _axes(name: str) -> Dict[int, str]:
    return {0: "rows", 1: "tokens"} if name.removesuffix("_out") in TOKEN_ARRAYS else {0: "rows"}


def _is_old_torch() -> bool:
    return not hasattr(torch, "export")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what the export libraries print and log off the terminal, within the block."""
    levels: List[Any] = [
        (logging.getLogger(name),) for name in (None, "onnxruntime", "fusion_base")
    ]
    before = [logger.level for (logger,) in levels]
    for (logger,) in levels:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for (logger,), level in zip(levels, before):
            logger.setLevel(level)
