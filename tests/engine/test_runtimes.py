"""How many threads run a model."""

from pathlib import Path

import pytest

from sledgehammer import engine


@pytest.mark.parametrize("fixture", ["tiny_engine", "tiny_openvino"])
def test_engines_of_one_process_have_threads_of_their_own(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    directory: Path = request.getfixturevalue(fixture)
    answers = [
        engine.load(directory, threads).predict(["a"], 0.0)[0]["label"]
        for threads in (1, 2, 3, None)
    ]
    assert len(set(answers)) == 1


def test_other_models_of_the_process_are_left_alone(tiny_engine: Path) -> None:
    """A pool that all sessions share would be forced upon everybody's."""
    import onnxruntime

    loaded = engine.load(tiny_engine, threads=2)
    file = next((tiny_engine / "segments").iterdir())
    onnxruntime.InferenceSession(str(file), onnxruntime.SessionOptions())
    assert loaded.predict(["a"])
