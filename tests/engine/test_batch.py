"""The step that engines and streams share: up to the next exit, where some rows stop."""

from typing import List, Optional

import numpy as np
import pytest

from sledgehammer.engine.batch import Batch, step
from tests.engine.fakes import FakeRunner

TEXTS = ["a", "bcd", "ef", "ghijk", "l", "mnop", "q", "rs", "tuv"]
THRESHOLDS = [0.0, 1.0, 0.9, 0.95, 1.0, 0.7, 0.9, 0.9, 0.9]


def started(texts: List[str], thresholds: List[float], runner: FakeRunner) -> Batch:
    settings = runner.policy.settings_for({"threshold": thresholds}, len(texts))
    return runner.encode_batch(runner.tokenizer.encode(texts), settings)


def run(runner: FakeRunner, batch: Optional[Batch]) -> List[float]:
    """Return what each row is answered with: its exit, and a confidence."""
    exits = {}
    while batch is not None:
        before = batch.rows.tolist()
        stopped, batch = step(runner, batch, runner.policy)
        gone = [] if stopped is None else stopped.rows.tolist()
        assert sorted(gone + ([] if batch is None else batch.rows.tolist())) == before
        if stopped is not None:
            assert gone and len(stopped.probs) == len(gone), "there is none if no row stops"
            exits.update(dict.fromkeys(gone, stopped.exit))
    return [exits[row] for row in range(len(exits))]


def test_rows_that_go_on_keep_their_settings() -> None:
    runner = FakeRunner()
    found = run(runner, started(TEXTS, THRESHOLDS, runner))
    assert found == [runner.alone(text, t)["exit"] for text, t in zip(TEXTS, THRESHOLDS)]
    assert len(set(found)) == 3


@pytest.mark.parametrize("threshold", [0.0, 0.7, 1.0])
def test_alone_and_with_one_value_for_all(threshold: float) -> None:
    runner = FakeRunner()
    expected = [runner.alone(text, threshold)["exit"] for text in TEXTS]
    assert run(runner, started(TEXTS, [threshold] * len(TEXTS), runner)) == expected
    for text, exit in zip(TEXTS, expected):
        assert run(runner, started([text], [threshold], runner)) == [exit]


def test_joined_batches_have_the_settings_of_their_rows() -> None:
    runner = FakeRunner()
    first, second = (
        started(TEXTS[:2], THRESHOLDS[:2], runner),
        started(TEXTS[2:], [0.9] * 7, runner),
    )
    second.rows = np.arange(2, 9)
    found = run(runner, Batch.join([first, second]))
    thresholds = [*THRESHOLDS[:2], *[0.9] * 7]
    assert found == [runner.alone(text, t)["exit"] for text, t in zip(TEXTS, thresholds)]
