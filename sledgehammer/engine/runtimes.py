"""Run the graphs of an exported model, with ONNX Runtime or OpenVINO."""

import os
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional, Protocol, Sequence

from numpy import ndarray

from sledgehammer.engine.batch import Arrays
from sledgehammer.engine.manifest import EngineError, Manifest

GRAPH_OUTPUTS = ("logits", "hidden_out", "pooled_out", "certainty", "depth")
"""The names of the outputs in the graphs."""

HEADS = ("/head/", "/pool/", "/certainty/", "/depth/")
"""The prefixes of operators that compute an exit's queries, logits or certainty, or the depth."""


class Segments(Protocol):
    """Run the graphs of a model, one for each exit."""

    def run(self, position: int, inputs: Arrays) -> Arrays:
        """Run the segment of the exit at `position`; several threads may call this at once.

        # Returns

        `logits` (rows, labels) and the signals that the policy needs. All segments but the last
        one also return `hidden` (rows, tokens, hidden size) and `pooled` (rows, layers so far,
        hidden size), which the next segment takes.
        """


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_segments(directory: Path, manifest: Manifest, threads: Optional[int] = None) -> Segments:
    """Load the graphs of an exported model.

    # Parameters

    threads : `int`, optional
        The threads that share the work of a segment; one for each usable core if `None`.

    # Raises

    `EngineError` if the runtime is unknown or not installed, or can't load a graph.
    """
    runtimes: Dict[str, Any] = {"onnx": OnnxSegments, "openvino": OpenVinoSegments}
    if manifest.runtime not in runtimes:
        raise EngineError(f"unknown runtime {manifest.runtime!r} in {directory}")
    files = [directory / name for name in manifest.segments]
    try:
        return runtimes[manifest.runtime](files, threads or usable_cores(), manifest.precision)
    except ImportError as error:
        package = {"onnx": "onnxruntime", "openvino": "openvino"}[manifest.runtime]
        raise EngineError(
            f"{directory} needs {package}, which is not installed: pip install {package}"
        ) from error
    except RuntimeError as error:
        raise EngineError(f"{manifest.runtime} cannot load {directory}: {error}") from error


class OnnxSegments:
    """Run segments with ONNX Runtime.

    # Parameters

    files : `Sequence[Path]`
    threads : `int`
    precision : `str`
        Not used: the graphs have it built in.

    # Raises

    `EngineError` if ONNX Runtime can't load a graph.
    """

    def __init__(self, files: Sequence[Path], threads: int, precision: str) -> None:
        import onnxruntime

        options = session_options(threads)
        try:
            self._sessions = [
                onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
                for file in files
            ]
        except Exception as error:  # the only common base of its own exceptions
            raise EngineError(f"ONNX Runtime cannot load {files[0].parent}: {error}") from error
        self._outputs = [[o.name for o in session.get_outputs()] for session in self._sessions]

    def run(self, position: int, inputs: Arrays) -> Arrays:
        """See `Segments.run`."""
        names = self._outputs[position]
        return named(names, self._sessions[position].run(names, inputs))


def named(names: Sequence[str], arrays: Sequence[ndarray]) -> Arrays:
    """Return the outputs of a graph by the names that the next graph's inputs have.

    In a graph an output can't have the name of an input: `hidden_out` becomes the next `hidden`.
    """
    return {name.removesuffix("_out"): array for name, array in zip(names, arrays)}


def _exported_name(output: Any) -> str:
    """Return the name that the export gave an output; conversions may have added others."""
    names = output.get_names()
    return next((name for name in GRAPH_OUTPUTS if name in names), output.get_any_name())


def session_options(threads: int) -> Any:
    """Return the options of an ONNX Runtime session that is one of several in a chain."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Each session has its own threads, which spin for a while after a run. They would take the
    # cores away from the next segment: on two cores that halves the speed.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def compile_settings(threads: int, precision: str) -> Dict[str, Any]:
    """Return the settings with which OpenVINO compiles a segment."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
    }


class OpenVinoSegments:
    """Run segments with OpenVINO, on the CPU.

    # Parameters

    files : `Sequence[Path]`
    threads : `int`
    precision : `str`
        With `bf16`, OpenVINO computes in bfloat16 if the CPU can; the graphs have int8 built in.
    """

    def __init__(self, files: Sequence[Path], threads: int, precision: str) -> None:
        import openvino

        settings = compile_settings(threads, precision)
        core = openvino.Core()
        self._compiled = [core.compile_model(str(file), "CPU", settings) for file in files]
        self._outputs = [[_exported_name(o) for o in model.outputs] for model in self._compiled]
        self._local = threading.local()

    def run(self, position: int, inputs: Arrays) -> Arrays:
        """See `Segments.run`."""
        # The results must outlive the next call: OpenVINO copies them out of the request.
        result = self._requests()[position].infer(inputs, share_inputs=True)
        names = self._outputs[position]
        return named(names, [result[i] for i in range(len(names))])

    def _requests(self) -> List[Any]:
        """Return this thread's own requests: a request may run in only one thread at a time."""
        if not hasattr(self._local, "requests"):
            self._local.requests = [model.create_infer_request() for model in self._compiled]
        return self._local.requests
