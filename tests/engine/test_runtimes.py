"""How many threads run a model."""

import subprocess
import sys
from pathlib import Path

import pytest

from sledgehammer import engine
from sledgehammer.engine import EngineError
from sledgehammer.engine.runtimes import usable_cores
from tests.conftest import ROOT


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def test_threads_of_onnx_runtime(tiny_engine: Path) -> None:
    """In a process of its own, since the first answer holds for all that comes after."""
    code = f"""
from sledgehammer import engine
one = engine.load({str(tiny_engine)!r}, threads=1)
two = engine.load({str(tiny_engine)!r}, threads=2)
again = engine.load({str(tiny_engine)!r})
assert one.predict(["a"])[0]["label"] == two.predict(["a"])[0]["label"]
try:
    engine.load({str(tiny_engine)!r}, threads=3)
except engine.EngineError as error:
    print(error)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert "has 2 threads in this process since the first model was loaded" in done.stdout


@pytest.mark.skipif(usable_cores() < 2, reason="one thread needs no pool")
def test_a_pool_stays(tiny_engine: Path) -> None:
    engine.load(tiny_engine)
    with pytest.raises(EngineError, match="load with threads="):
        engine.load(tiny_engine, threads=usable_cores() + 1)


def test_threads_of_openvino(tiny_openvino: Path) -> None:
    for threads in (1, 2, None):
        assert engine.load(tiny_openvino, threads).predict(["a"], 0.0)[0]["exit_layer"] == 0
