"""Describe the machine on which times were taken."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Dict

from sledgehammer import __version__
from sledgehammer.engine.runtimes import usable_cores

LIBRARIES = ["torch", "transformers", "tokenizers", "onnxruntime", "openvino", "numpy"]
INSTRUCTIONS = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"]
"""Instruction sets that the kernels of these libraries choose by."""


def describe_machine() -> Dict[str, Any]:
    """Return the processor, its cores, and the versions of what runs on it."""
    libraries = {"sledgehammer": __version__}
    for library in LIBRARIES:
        try:
            libraries[library] = version(library)
        except PackageNotFoundError:
            libraries[library] = "not installed"
    processor, flags = _processor()
    return {
        "processor": processor,
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": libraries,
    }


def _processor() -> "tuple[str, set[str]]":
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), set()
    entries = dict(line.split(":", 1) for line in lines if ":" in line)
    stripped = {key.strip(): value.strip() for key, value in entries.items()}
    return stripped.get("model name", platform.machine()), set(stripped.get("flags", "").split())
