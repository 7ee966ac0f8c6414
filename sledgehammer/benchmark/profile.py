"""Measure where the time of an exported model goes: tokenising, each segment, the heads."""

import json
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from sledgehammer.engine import Engine
from sledgehammer.engine.batch import Batch
from sledgehammer.engine.manifest import Manifest
from sledgehammer.engine.runtimes import HEADS, Arrays, compile_settings, session_options
from sledgehammer.support.owned import scratch_folder

Operator = Tuple[str, float]
"""The runtime's name of an operator, and how long one run of it took."""


def profile(
    engine: Engine,
    contender: Any,
    rows: Sequence[List[str]],
    batch_size: int,
    threads: int,
    batches: int = 20,
) -> Dict[str, Any]:
    """Return medians over some batches that run through all segments.

    # Returns

    `tokenise` and `segments` (a figure for each exit): milliseconds for a batch; `heads` (a figure
    for each exit): the heads' share of the time within the graphs.
    """
    tokenise: List[float] = []
    segments: List[List[float]] = []
    inputs_of_segments: List[List[Arrays]] = [[] for _ in engine.manifest.segments]
    starts = range(0, min(len(rows), batches * batch_size), batch_size)
    chunks = [rows[first : first + batch_size] for first in starts]
    for chunk in chunks:  # OpenVINO prepares its kernels when it first sees a shape
        engine.run_all_exits(contender.start(contender.tokenise(chunk)).inputs)
    for chunk in chunks:
        began = time.perf_counter()
        inputs = contender.tokenise(chunk)
        tokenise.append(time.perf_counter() - began)
        segments.append(_time_segments(engine, contender.start(inputs), inputs_of_segments))
    return {
        "tokenise": 1000 * float(np.median(tokenise)),
        "segments": (1000 * np.median(np.array(segments), axis=0)).tolist(),
        "heads": _head_shares(contender.directory, engine.manifest, threads, inputs_of_segments),
    }


def _time_segments(
    engine: Engine, batch: Batch, inputs_of_segments: Sequence[List[Arrays]]
) -> List[float]:
    """Run a batch through all segments; return each one's seconds, and append its input."""
    if engine.lexical is not None:
        engine.advance(batch)
    times = []
    for segment_inputs in inputs_of_segments:
        segment_inputs.append(batch.inputs)
        began = time.perf_counter()
        engine.advance(batch)
        times.append(time.perf_counter() - began)
    return times


def _head_shares(
    directory: Path,
    manifest: Manifest,
    threads: int,
    inputs_of_segments: Sequence[List[Arrays]],
) -> List[float]:
    """Run each segment again, and let the runtime time every operator of it.

    # Parameters

    inputs_of_segments : `Sequence[List[Arrays]]`
        The inputs of each segment, one for each batch.
    """
    time_operators: Callable[[Path, Sequence[Arrays]], Iterator[Operator]]
    if manifest.runtime == "onnx":
        time_operators = partial(_onnx_operators, threads)
    else:
        time_operators = partial(_openvino_operators, threads, manifest.precision)
    shares = []
    for file, inputs in zip(manifest.segments, inputs_of_segments):
        times = list(time_operators(directory / file, inputs))
        total = sum(seconds for _, seconds in times)
        heads = sum(seconds for name, seconds in times if _belongs_to_head(name))
        shares.append(heads / total if total else 0.0)
    return shares


def _belongs_to_head(operator: str) -> bool:
    # Runtimes rename merged operators after the module they came from, or after their output.
    return any(head in operator for head in HEADS) or operator in ("logits", "certainty", "depth")


def _onnx_operators(threads: int, file: Path, inputs: Sequence[Arrays]) -> Iterator[Operator]:
    import onnxruntime

    with scratch_folder() as folder:
        options = session_options(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "trace")
        session = onnxruntime.InferenceSession(str(file), options)
        for batch in inputs:
            session.run(None, batch)
        for event in json.loads(Path(session.end_profiling()).read_text()):
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                yield event["name"].removesuffix("_kernel_time"), event["dur"]


def _openvino_operators(
    threads: int, precision: str, file: Path, inputs: Sequence[Arrays]
) -> Iterator[Operator]:
    import openvino

    settings = {**compile_settings(threads, precision), "PERF_COUNT": True}
    request = openvino.Core().compile_model(str(file), "CPU", settings).create_infer_request()
    request.infer(inputs[0])  # the first run prepares the kernels
    for batch in inputs:
        request.infer(batch)
        for operator in request.profiling_info:
            yield operator.node_name, operator.real_time / timedelta(milliseconds=1)
