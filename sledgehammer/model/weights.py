"""Read weights without running code that a pickle may hold."""

import collections
import io
import os
import pickle
import types
import zipfile
from pathlib import Path
from typing import IO, Any, Dict, Union

import torch
from torch import Tensor

_VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
_HAS_SAFE_MODE = _VERSION >= (2, 6)
"""Whether `torch.load` by default reads nothing but tensors."""

_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}
"""All that the pickle of a state dict may name; torch itself looks up storages."""


class WeightsError(ValueError):
    """Tell that a file holds no weights, or more than weights."""


def read_weights(source: Union[Path, IO[bytes]]) -> Dict[str, Tensor]:
    """Read a state dict onto the CPU, and make nothing but tensors of what the file holds.

    # Raises

    `WeightsError` if the file is damaged or holds anything else.
    """
    try:
        if _HAS_SAFE_MODE:
            state = torch.load(source, map_location="cpu", weights_only=True)
        else:
            _check_is_zip_of_tensors(source)
            state = torch.load(source, map_location="cpu", pickle_module=_tensors_only())
    except WeightsError:
        raise
    # A damaged file can make torch and pickle raise nearly anything.
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError(f"no weights, or damaged: {reason}") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise WeightsError("no weights: something other than named tensors")
    return state


def check_weights(file: Path) -> None:
    """Raise a `WeightsError` if a weights file holds code that AllenNLP would run.

    AllenNLP reads weights with `torch.load`, which is safe from torch 2.6 on. For older versions
    this function reads the file first, safely.
    """
    forced = os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0").lower() in (
        "1", "y", "yes", "true",
    )  # fmt: skip
    if forced or not _HAS_SAFE_MODE:
        read_weights(file)


def write_weights(state: Dict[str, Tensor]) -> bytes:
    """Return the content of a file that `read_weights` reads."""
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise WeightsError(f"more than weights: it names {module}.{name}") from None


def _tensors_only() -> types.ModuleType:
    """Return a stand-in for the module `pickle`, for `torch.load`."""
    module = types.ModuleType("tensors_only")
    module.Unpickler = _Unpickler  # type: ignore[attr-defined]
    module.load = lambda file, **options: _Unpickler(file, **options).load()  # type: ignore[attr-defined]
    return module


def _check_is_zip_of_tensors(source: Union[Path, IO[bytes]]) -> None:
    """Refuse TorchScript, which old versions of `torch.load` run, and formats before zip files."""
    with zipfile.ZipFile(source) as archive:
        names = [name.rsplit("/", 1)[-1].lower() for name in archive.namelist()]
    if names.count("data.pkl") != 1 or "constants.pkl" in names:
        raise WeightsError("no weights: a TorchScript program, or an old file format")
    if not isinstance(source, Path):
        source.seek(0)
