"""Read the embeddings of the word pieces out of archives and exported models."""

from pathlib import Path

import numpy as np
from allennlp.common.checks import ConfigurationError
from numpy import ndarray

from sledgehammer.engine.manifest import read
from sledgehammer.model.archives import Opened
from sledgehammer.model.exported import ExportedClassifier
from sledgehammer.model.multi_exit import MultiExitClassifier

NAME = "word_embeddings"
"""What every supported transformer calls the table, in the names that graphs have, too."""


def embedding_table(opened: Opened, path: str) -> ndarray:
    """Return the embedding of each word piece: (pieces, size), float32.

    # Parameters

    opened : `Opened`
        An archive, or an exported model in any runtime and precision: its first segment has the
        table, in int8 perhaps, and then what is returned is rounded.
    path : `str`
        Where it was opened from.

    # Raises

    `ConfigurationError` if the table can't be read.
    """
    model = opened.model
    if isinstance(model, MultiExitClassifier):
        weight = model.encoder.transformer.get_input_embeddings().weight
        return np.asarray(weight.detach().float().cpu().numpy())
    assert isinstance(model, ExportedClassifier)
    manifest = read(Path(path))
    first = Path(path, manifest.segments[0])
    try:
        return _of_onnx(first) if manifest.runtime == "onnx" else _of_openvino(first)
    except ImportError as error:
        raise ConfigurationError(
            f"reading the embeddings of {path} needs {error.name}: pip install {error.name}"
        ) from error
    except LookupError as error:
        raise ConfigurationError(f"{first} has no table of {NAME}") from error


def _of_onnx(graph: Path) -> ndarray:
    import onnx
    from onnx import numpy_helper

    constants = {
        constant.name: constant
        for constant in onnx.load(str(graph)).graph.initializer
        if NAME in constant.name
    }
    for name, constant in constants.items():
        if len(constant.dims) != 2:
            continue
        table = numpy_helper.to_array(constant).astype(np.float32)
        base = name.removesuffix("_quantized")
        if base != name:
            zero, scale = (
                numpy_helper.to_array(constants[base + suffix]).astype(np.float32)
                for suffix in ("_zero_point", "_scale")
            )
            table = (table - _along(zero, table)) * _along(scale, table)
        return table
    raise LookupError(NAME)


def _along(values: ndarray, table: ndarray) -> ndarray:
    """Return one value for all, or one for each row or column, in a shape that fits the table."""
    is_per_row = values.ndim == 1 and len(values) == len(table)
    return values[:, None] if is_per_row else values


def _of_openvino(graph: Path) -> ndarray:
    import openvino

    core = openvino.Core()
    for operator in core.read_model(str(graph)).get_ops():
        if operator.get_type_name() == "Gather" and NAME in operator.get_friendly_name():
            # The table itself, or what dequantises it: either depends on no input.
            table = openvino.Model([operator.input(0).get_source_output()], [], "table")
            precise = {"INFERENCE_PRECISION_HINT": "f32"}
            result = core.compile_model(table, "CPU", precise).create_infer_request().infer({})
            return np.asarray(result[0], np.float32)
    raise LookupError(NAME)
