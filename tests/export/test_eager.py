"""An archive's model behind the engine's interface."""

from pathlib import Path
from typing import List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sledgehammer.dataset_readers.base import Row
from sledgehammer.engine import Engine
from sledgehammer.export.eager import eager_engine
from sledgehammer.model.archives import Opened, open_archive

TEXTS = ["a fine film", "dull", "it is neither good nor bad but it is long", "yes", "not for me ."]


@pytest.fixture(scope="module")
def opened(tiny_archive: Path) -> Opened:
    return open_archive(str(tiny_archive))


@pytest.fixture(scope="module")
def engine(opened: Opened) -> Engine:
    return eager_engine(opened)


@settings(deadline=None, max_examples=25)
@given(texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=9), threshold=st.floats(0, 1))
def test_answers_are_the_models(
    opened: Opened, engine: Engine, texts: List[str], threshold: float
) -> None:
    model, reader = opened
    model.policy.swept = threshold
    expected = model.forward_on_instances(reader.instances([Row([text], None) for text in texts]))
    pooled = engine.stream(iter(texts), threshold=threshold, batch_size=3, pool=True)
    for answers in (engine.predict(texts, threshold=threshold), list(pooled)):
        assert [a["exit_layer"] for a in answers] == [int(e["exit_layer"]) for e in expected]
        assert [a["label"] for a in answers] == [e["label"] for e in expected]
        for answer, other in zip(answers, expected):
            assert answer["confidence"] == pytest.approx(float(other["confidence"]), abs=1e-4)


def test_weights_are_shared(opened: Opened, engine: Engine) -> None:
    weight = opened.model.exits[0].linear.weight  # type: ignore[union-attr, index]
    assert engine.segments._segments[0].head.linear.weight is weight  # type: ignore[attr-defined]
