"""What runs the graphs of an exported model: ONNX Runtime or OpenVINO."""

import os
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional, Protocol, Sequence

from numpy import ndarray

from sledgehammer.engine.batch import Arrays
from sledgehammer.engine.manifest import EngineError, Manifest

OUTPUTS = ("logits", "hidden_out", "pooled_out", "certainty", "depth")
"""What the graphs call their outputs."""

HEADS = ("/head/", "/pool/", "/certainty/", "/depth/")
"""How the names of operators begin that belong to an exit's head, its queries, its certainty or the
depth."""


class Segments(Protocol):
    """The graphs of a model, one an exit."""

    def run(self, position: int, inputs: Arrays) -> Arrays:
        """Run the segment of the exit at `position`; may be called by several threads at once.

        # Returns

        `logits` (rows, labels); the signals that the policy needs; but for the last segment also `hidden` (rows, tokens, hidden
        size) and `pooled` (rows, layers so far, hidden size), which the next segment takes.
        """


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_segments(directory: Path, manifest: Manifest, threads: Optional[int] = None) -> Segments:
    """Load the graphs of an exported model.

    # Parameters

    threads : `int`, optional
        For the work within a segment; all usable cores if `None`.

    # Raises

    `EngineError` if the runtime is not installed or does not take a graph.
    """
    kinds: Dict[str, Any] = {"onnx": OnnxSegments, "openvino": OpenVinoSegments}
    if manifest.runtime not in kinds:
        raise EngineError(f"unknown runtime {manifest.runtime!r} in {directory}")
    files = [directory / name for name in manifest.segments]
    try:
        return kinds[manifest.runtime](files, threads or usable_cores(), manifest.precision)
    except ImportError as error:
        package = {"onnx": "onnxruntime", "openvino": "openvino"}[manifest.runtime]
        raise EngineError(
            f"{directory} needs {package}, which is not installed: pip install {package}"
        ) from error
    except RuntimeError as error:
        raise EngineError(f"{manifest.runtime} cannot load {directory}: {error}") from error


class OnnxSegments:
    """Segments in ONNX Runtime.

    # Parameters

    files : `Sequence[Path]`
    threads : `int`
    precision : `str`
        Is in the graphs already.

    # Raises

    `EngineError` if it does not take a graph.
    """

    def __init__(self, files: Sequence[Path], threads: int, precision: str) -> None:
        import onnxruntime

        options = session_options(threads)
        try:
            self._sessions = [
                onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
                for file in files
            ]
        except Exception as error:  # its own exceptions have no common base but this
            raise EngineError(f"ONNX Runtime cannot load {files[0].parent}: {error}") from error
        self._outputs = [[o.name for o in session.get_outputs()] for session in self._sessions]

    def run(self, position: int, inputs: Arrays) -> Arrays:
        names = self._outputs[position]
        return named(names, self._sessions[position].run(names, inputs))


def named(names: Sequence[str], arrays: Sequence[ndarray]) -> Arrays:
    """In a graph an output can't have the name of an input: `hidden_out` is the next `hidden`."""
    return {name.removesuffix("_out"): array for name, array in zip(names, arrays)}


def _own_name(output: Any) -> str:
    """The name that the export gave an output; conversions may have left others beside it."""
    names = output.get_names()
    return next((name for name in OUTPUTS if name in names), output.get_any_name())


def session_options(threads: int) -> Any:
    """The settings of an ONNX Runtime session that is one of several in a chain."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Each session has its own threads, which go on spinning for a while after a run. Those of one
    # segment would take the cores of the next: half the speed on two cores.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def compile_settings(threads: int, precision: str) -> Dict[str, Any]:
    """The settings with which OpenVINO compiles a segment."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
    }


class OpenVinoSegments:
    """Segments in OpenVINO, on the CPU.

    # Parameters

    files : `Sequence[Path]`
    threads : `int`
    precision : `str`
        `bf16` computes in bfloat16 where the CPU can; int8 is in the graphs already.
    """

    def __init__(self, files: Sequence[Path], threads: int, precision: str) -> None:
        import openvino

        settings = compile_settings(threads, precision)
        core = openvino.Core()
        self._compiled = [core.compile_model(str(file), "CPU", settings) for file in files]
        self._outputs = [[_own_name(o) for o in model.outputs] for model in self._compiled]
        self._local = threading.local()

    def run(self, position: int, inputs: Arrays) -> Arrays:
        # The results must outlive the next call, so they are copied out of the request.
        result = self._requests()[position].infer(inputs, share_inputs=True)
        names = self._outputs[position]
        return named(names, [result[i] for i in range(len(names))])

    def _requests(self) -> List[Any]:
        """A request may run in one thread at a time."""
        if not hasattr(self._local, "requests"):
            self._local.requests = [model.create_infer_request() for model in self._compiled]
        return self._local.requests
