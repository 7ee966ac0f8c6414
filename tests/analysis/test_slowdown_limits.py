"""What caps, a budget and a deadline leave of a slow-down, on a tiny engine."""

from dataclasses import replace
from typing import Any, Dict, List

import pytest

from sledgehammer.analysis.slowdown import held_by_cap
from sledgehammer.analysis.slowdown_limits import Pace, stream_at_budget, time_alone, times
from sledgehammer.engine import Engine, load
from tests.conftest import FIXTURES

TEXTS = [f"a {word} story about {other}" for word in ("good", "dull", "odd") for other in "abcd"]


def alone(engine: Engine, **settings: float) -> List[Dict[str, Any]]:
    return engine.predict(TEXTS, batch_size=1, **settings)


@pytest.fixture
def engine() -> Engine:
    """An engine whose threshold lets about half of the texts leave at the first exit.

    It was written by version 0.1.0, whose int8 depends on the batch: texts are compared alone.
    """
    pytest.importorskip("onnxruntime")
    engine = load(FIXTURES / "version_0.1.0" / "engine", threads=1)
    confidences = sorted(answer["confidence"] for answer in alone(engine, max_exit_layer=0))
    engine.policy.change({"threshold": confidences[len(confidences) // 2]})
    return engine


def test_a_cap_holds_what_it_is_said_to_hold(engine: Engine) -> None:
    layers = [answer["layers_run"] for answer in alone(engine)]
    assert set(layers) > {1}, "the texts must leave at different exits"
    before, after = layers[::2], layers[1::2]
    for cap in (0, 2, 3):
        capped = [a["layers_run"] for a in alone(engine, max_exit_layer=cap)]
        old, new = capped[::2], capped[1::2]
        held = held_by_cap(before, after, cap)
        assert held.mean_layers_before == sum(old) / len(old)
        assert held.mean_layers_after == sum(new) / len(new)
        assert held.worst_slowdown == max(b / a for a, b in zip(old, new))


def test_a_stream_keeps_its_budget(engine: Engine) -> None:
    labels = [answer["label"] for answer in engine.predict(TEXTS * 20)]
    held = stream_at_budget(engine, TEXTS * 20, 2.0, labels)
    assert held is not None and held.mean_layers == pytest.approx(2.0, abs=0.1)
    assert held.accuracy is not None and 0 < held.accuracy <= 1
    for asked, kept in ((0.0, 1.0), (99.0, 4.0)):
        cut = stream_at_budget(engine, TEXTS, asked)
        assert cut is not None and cut == (kept, None)
    assert engine.policy.sweeps == "threshold", "the engine's own policy stays"


def test_no_budget_without_shares(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "exits", replace(engine.exits, shares=None))
    assert stream_at_budget(engine, TEXTS, 2.0) is None


def test_a_deadline_stops_after_an_exit(engine: Engine) -> None:
    for text, answer in zip(TEXTS, alone(engine)):
        seconds, layers = time_alone(engine, text, Pace(), deadline=1000.0)
        assert layers == answer["layers_run"] and 0 < seconds < 1000
        assert time_alone(engine, text, Pace(), deadline=0.0)[1] == 1
    slow_above = Pace({0: 0.001, 1: 1e6, 2: 1e6}, {0: 10, 1: 10, 2: 10})
    engine.policy.change({"threshold": 1.0})
    assert time_alone(engine, TEXTS[0], slow_above, deadline=1000.0)[1] == 1


def test_times(engine: Engine) -> None:
    engine.policy.change({"threshold": 1.0})
    free = times(engine, TEXTS, TEXTS, rounds=1)
    assert free.mean_layers_after == 4 and free.deadline_ms is None
    assert free.mean_ms_before > 0 and free.p95_ms_before <= free.p99_ms_before
    assert free.worst_slowdown >= free.mean_slowdown > 0
    held = times(engine, TEXTS, TEXTS, deadline=0.0, rounds=1)
    assert (held.mean_layers_after, held.deadline_ms) == (1, 0)
