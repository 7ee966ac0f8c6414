"""Read and write the tensors of the Open Inference Protocol, in JSON and in its binary form."""

import math
import struct
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy import ndarray

from sledgehammer._serving.problems import Problem

BINARY_HEADER = "inference-header-content-length"
"""The header that says how many bytes of a body are JSON; tensors in binary form follow."""

_TYPES = {"FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_}

_LENGTH = struct.Struct("<I")


def texts_of_tensor(tensor: Dict[str, Any], binary: memoryview, field: str) -> Tuple[Any, int]:
    """Return the texts of an input, and how many bytes of the binary part it took.

    # Raises

    `Problem` 422 if it is not a tensor of texts, or its shape is not that of its data.
    """
    if tensor.get("datatype") != "BYTES":
        raise Problem(422, "the datatype of texts is BYTES", f"{field}.datatype")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise Problem(422, "shape must be a list of whole numbers", f"{field}.shape")
    size = _parameters(tensor, field).get("binary_data_size")
    if size is None:
        data, size = _flat(tensor.get("data")), 0
    elif isinstance(size, int) and 0 <= size <= len(binary):
        data = _split(binary[:size], field)
    else:
        raise Problem(400, "binary_data_size goes beyond the body", field)
    if not isinstance(data, list) or len(data) != math.prod(shape):
        raise Problem(422, f"data must have as many texts as shape says: {shape}", f"{field}.data")
    return data, size


def _parameters(tensor: Dict[str, Any], field: str) -> Dict[str, Any]:
    parameters = tensor.get("parameters", {})
    if not isinstance(parameters, dict):
        raise Problem(422, "parameters must be an object", f"{field}.parameters")
    return parameters


def _flat(data: Any) -> Any:
    """Return the elements of a list that may have inner lists, as far as one level deep."""
    if not isinstance(data, list):
        return data
    return [e for element in data for e in (element if isinstance(element, list) else [element])]


def _split(data: memoryview, field: str) -> List[Any]:
    """Return the texts of a binary tensor: each is preceded by its length, 4 bytes."""
    texts: List[Any] = []
    place = 0
    while place < len(data):
        start = place + _LENGTH.size
        length = _LENGTH.unpack(data[place:start])[0] if start <= len(data) else len(data)
        place = start + length
        if place > len(data):
            raise Problem(400, "a text goes beyond the binary data", field)
        # What is not UTF-8 becomes lone surrogates, which are refused for this text alone.
        texts.append(bytes(data[start:place]).decode("utf-8", "surrogateescape"))
    return texts


def output(name: str, datatype: str, shape: Sequence[int], values: List[Any]) -> Dict[str, Any]:
    """Return an output tensor in JSON form."""
    return {"name": name, "datatype": datatype, "shape": list(shape), "data": values}


def to_binary(tensor: Dict[str, Any]) -> Tuple[Dict[str, Any], bytes]:
    """Return the JSON and the binary part of an output tensor in binary form."""
    if tensor["datatype"] == "BYTES":
        encoded = [text.encode() for text in tensor["data"]]
        data = b"".join(_LENGTH.pack(len(text)) + text for text in encoded)
    else:
        array: ndarray = np.asarray(tensor["data"], _TYPES[tensor["datatype"]])
        data = array.tobytes()
    header = {name: value for name, value in tensor.items() if name != "data"}
    return {**header, "parameters": {"binary_data_size": len(data)}}, data


def header_length(value: Optional[str], body: bytes) -> int:
    """Return how many bytes of a body are JSON, or raise a `Problem` 400."""
    if value is None:
        return len(body)
    if not value.isdigit() or int(value) > len(body):
        raise Problem(400, f"{BINARY_HEADER} must be a number of bytes of the body", BINARY_HEADER)
    return int(value)
