"""Where the time of an exported model goes: tokenising, each segment, the heads."""

import json
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from sledgehammer.engine import Engine
from sledgehammer.engine.manifest import Manifest
from sledgehammer.engine.runtimes import HEADS, Arrays, compile_settings, session_options
from sledgehammer.support.owned import scratch_folder

Operator = Tuple[str, float]
"""What the runtime calls an operator, and how long one run of it took."""


def profile(
    engine: Engine,
    contender: Any,
    rows: Sequence[List[str]],
    batch_size: int,
    threads: int,
    batches: int = 20,
) -> Dict[str, Any]:
    """Medians over some batches that run through all segments.

    # Returns

    `tokenise` and `segments` (one figure an exit): milliseconds a batch; `heads`: the share of
    the time within the graphs that is the heads', one figure an exit.
    """
    tokenise: List[float] = []
    segments: List[List[float]] = []
    given: List[List[Arrays]] = [[] for _ in engine.manifest.exit_layers]
    starts = range(0, min(len(rows), batches * batch_size), batch_size)
    chunks = [rows[first : first + batch_size] for first in starts]
    for chunk in chunks:  # OpenVINO prepares kernels when a shape is new
        engine.run_all_exits(contender.tokenise(chunk))
    for chunk in chunks:
        began = time.perf_counter()
        inputs = contender.tokenise(chunk)
        tokenise.append(time.perf_counter() - began)
        batch = engine.start(inputs)
        times = []
        for seen in given:
            seen.append(batch.inputs)
            began = time.perf_counter()
            engine.advance(batch)
            times.append(time.perf_counter() - began)
        segments.append(times)
    return {
        "tokenise": 1000 * float(np.median(tokenise)),
        "segments": (1000 * np.median(np.array(segments), axis=0)).tolist(),
        "heads": _head_shares(contender.directory, engine.manifest, threads, given),
    }


def _head_shares(
    directory: Path, manifest: Manifest, threads: int, given: Sequence[List[Arrays]]
) -> List[float]:
    """Each segment once more, with the runtime's own clock on every operator.

    # Parameters

    given : `Sequence[List[Arrays]]`
        The inputs of each segment.
    """
    time_operators: Callable[[Path, Sequence[Arrays]], Iterator[Operator]]
    if manifest.runtime == "onnx":
        time_operators = partial(_onnx_operators, threads)
    else:
        time_operators = partial(_openvino_operators, threads, manifest.precision)
    shares = []
    for file, inputs in zip(manifest.segments, given):
        times = list(time_operators(directory / file, inputs))
        total = sum(taken for _, taken in times)
        heads = sum(taken for name, taken in times if _of_head(name))
        shares.append(heads / total if total else 0.0)
    return shares


def _of_head(operator: str) -> bool:
    # Runtimes rename what they merge: after the module it came from, or the output that it gives.
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
