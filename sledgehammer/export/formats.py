"""Know the runtimes and number formats that models are exported to."""

import importlib.util
from dataclasses import dataclass

from allennlp.common.checks import ConfigurationError

RUNTIMES = {"onnx": ["fp32", "int8", "int8-dynamic"], "openvino": ["fp32", "bf16", "int8"]}
"""The precisions that each runtime has on a CPU."""

PRECISIONS = ["fp32", "bf16", "int8", "int8-dynamic"]
"""All precisions that some runtime has."""

ACTIVATION_SCALES = {
    ("onnx", "int8"): "token",
    ("onnx", "int8-dynamic"): "batch",
    ("openvino", "int8"): "model",
}
"""What each scale of int8 activations is for; see `Manifest`."""

_BRANCHES = "transformers writes its attention with branches, which OpenVINO cannot run on a CPU"
NOT_EXPORTED = {("openvino", "deberta"): _BRANCHES, ("openvino", "deberta-v2"): _BRANCHES}
"""Why a runtime does not run a type of transformer."""


@dataclass(frozen=True)
class Format:
    """Say in which format the segments are written.

    # Parameters

    runtime : `str`
        A key of `RUNTIMES`.
    precision : `str`
        One of the precisions of that runtime.

    # Raises

    `ConfigurationError` if the runtime does not have the precision.
    """

    runtime: str
    precision: str

    def __post_init__(self) -> None:
        if self.precision not in RUNTIMES[self.runtime]:
            raise ConfigurationError(
                f"{self.runtime} has no {self.precision} on a CPU: it has "
                + ", ".join(RUNTIMES[self.runtime])
                + ("; bf16 needs --format openvino" if self.precision == "bf16" else "")
            )

    def require_runnable(self, model_type: str) -> None:
        """Raise a `ConfigurationError` if the runtime cannot run this type of transformer."""
        reason = NOT_EXPORTED.get((self.runtime, model_type))
        if reason is not None:
            others = [name for name in RUNTIMES if (name, model_type) not in NOT_EXPORTED]
            raise ConfigurationError(
                f"{model_type} is not exported to {self.runtime}: {reason}; "
                f"give --format {' or '.join(others)}"
            )

    def require_libraries(self) -> None:
        """Raise a `ConfigurationError` that names what to install, if something is missing."""
        needed = ["onnx", "onnxruntime"] if self.runtime == "onnx" else ["onnx", "openvino"]
        needed += ["nncf"] if self.needs_calibration else []
        missing = [name for name in needed if importlib.util.find_spec(name) is None]
        if missing:
            raise ConfigurationError(
                f"exporting to {self.runtime} {self.precision} needs {', '.join(missing)}: "
                f"pip install {' '.join(missing)}"
            )

    @property
    def needs_calibration(self) -> bool:
        """Return whether the ranges of the activations must be measured on data."""
        return self.activation_scales == "model"

    @property
    def activation_scales(self) -> str:
        """Return what each scale of the activations is for; empty if they are not int8."""
        return ACTIVATION_SCALES.get((self.runtime, self.precision), "")
