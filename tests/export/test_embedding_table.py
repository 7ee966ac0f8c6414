"""The embeddings of word pieces are read out of whatever holds them."""

import json
from pathlib import Path

import numpy as np
import pytest
from allennlp.common.checks import ConfigurationError

from sledgehammer.export.embedding_table import embedding_table
from sledgehammer.model.archives import open_archive
from tests.conftest import FIXTURES


def table_at(path: Path) -> np.ndarray:
    return embedding_table(open_archive(str(path)), str(path))


def test_archive_and_engines_have_the_same(
    tiny_archive: Path, tiny_engine: Path, tiny_openvino: Path
) -> None:
    table = table_at(tiny_archive)
    assert table.shape == (169, 16) and table.dtype == np.float32
    for engine in (tiny_engine, tiny_openvino):
        assert np.array_equal(table_at(engine), table)


def test_int8_is_dequantised() -> None:
    pytest.importorskip("onnx")
    table = table_at(FIXTURES / "version_0.1.0" / "engine")
    assert table.shape == (169, 16) and len(np.unique(table)) <= 256
    assert 0 < np.abs(table).max() < 1 and np.abs(table.mean()) < 0.01, "about 0.02 a weight"


def test_a_graph_without_a_table(tiny_engine: Path) -> None:
    opened = open_archive(str(tiny_engine))
    manifest = json.loads((tiny_engine / "engine.json").read_text())
    from sledgehammer.export import embedding_table as module

    with pytest.raises(LookupError):
        module._of_onnx(tiny_engine / manifest["segments"][1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "NAME", "other")
        with pytest.raises(ConfigurationError, match="exit_0.onnx has no table of other"):
            embedding_table(opened, str(tiny_engine))
