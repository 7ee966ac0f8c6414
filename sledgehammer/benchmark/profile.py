"""Where the time of an exported model goes: tokenising, each segment, the heads."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from sledgehammer.engine import Engine
from sledgehammer.engine.runtimes import Arrays, session_options


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
    the time within the graphs that is the heads', one figure an exit, where the runtime tells.
    """
    tokenise: List[float] = []
    segments: List[List[float]] = []
    given: List[List[Arrays]] = [[] for _ in engine.manifest.exit_layers]
    for first in range(0, min(len(rows), batches * batch_size), batch_size):
        began = time.perf_counter()
        inputs = contender.tokenise(rows[first : first + batch_size])
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
        "heads": _head_shares(engine, threads, given),
    }


def _head_shares(engine: Engine, threads: int, given: Sequence[List[Arrays]]) -> List[float]:
    """ONNX Runtime tells the time of each operator; elsewhere there is no answer.

    # Parameters

    given : `Sequence[List[Arrays]]`
        The inputs of each segment.
    """
    if engine.manifest.runtime != "onnx":
        return []
    import onnxruntime

    files = getattr(engine.segments, "files", [])
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        for position, (file, inputs) in enumerate(zip(files, given)):
            options = session_options(threads)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder, f"exit{position}"))
            session = onnxruntime.InferenceSession(str(file), options)
            for batch in inputs:
                session.run(None, batch)
            shares.append(_head_share(Path(session.end_profiling())))
    return shares


def _head_share(trace: Path) -> float:
    events = json.loads(trace.read_text())
    nodes = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    total = sum(event["dur"] for event in nodes)
    heads = sum(event["dur"] for event in nodes if event["name"].startswith("/head/"))
    return heads / total if total else 0.0
