"""Write segments for OpenVINO: converted, quantised."""

import tempfile
from pathlib import Path
from typing import Dict, List, Optional

from torch import Tensor

from sledgehammer.engine.runtimes import HEADS
from sledgehammer.export.onnx import quietly, write_graph
from sledgehammer.export.segments import Segment


def write_segment(
    segment: Segment,
    example: Dict[str, Tensor],
    target: Path,
    calibration: Optional[List[Dict[str, Tensor]]] = None,
) -> None:
    """Write a segment in OpenVINO's intermediate representation: `target`, and a `.bin` beside it.

    # Parameters

    calibration : `List[Dict[str, Tensor]]`, optional
        Inputs on which to measure the ranges of the activations. With them, activations and
        weights (with a scale for each channel) are int8; without, all is float32.
    """
    import openvino

    with tempfile.TemporaryDirectory(dir=target.parent) as folder, quietly():
        graph = Path(folder, "traced.onnx")
        write_graph(segment, example, graph)
        model = openvino.convert_model(str(graph))
        if calibration is not None:
            model = _quantise(model, segment, calibration)
        openvino.save_model(model, str(target), compress_to_fp16=False)


def _quantise(model: object, segment: Segment, calibration: List[Dict[str, Tensor]]) -> object:
    import nncf

    inputs = [{name: batch[name].numpy() for name in segment.inputs} for batch in calibration]
    return nncf.quantize(
        model,
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(inputs),
        # The heads cost next to nothing, and the decisions depend on them.
        ignored_scope=nncf.IgnoredScope(patterns=[f"^{h}.*" for h in HEADS], validate=False),
    )
