"""Texts of several requests run together, and each gets its own answer."""

import asyncio
import threading
import time
from typing import Any, Callable, Dict, List

import pytest

from sledgehammer import engine
from tests.serving.servers import ENGINE, TEXT, Local

# Only now: without what serves, the module before has these tests skipped.
from sledgehammer._serving.dispatcher import FAILED  # isort: skip
from sledgehammer._serving.options import Batching, Limits  # isort: skip
from sledgehammer._serving.problems import Problem  # isort: skip

TEXTS = [
    TEXT,
    "boring",
    "a tale of two bees " * 30,
    "x",
    "the plot is dull and the end is good",
] * 8


def ask(local: Local, texts: List[Any], seconds: Any = None, **settings: Any) -> Any:
    model = local.server.models.get(None)
    deadline = None if seconds is None else time.monotonic() + seconds
    return local.server.service.answers(model, texts, settings, deadline, "input")


def without_tokens(answer: Dict[str, Any]) -> Dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "tokens"}


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("workers", [1, 3])
def test_answers_are_those_of_the_engine(
    local: Callable[..., Local], workers: int, pool: bool
) -> None:
    started = local(batching=Batching(tokens=256, workers=workers, threads=1, pool=pool))
    thresholds = [[0.0, 1.0][n % 2] for n in range(len(TEXTS))]
    caps = [[None, 2, None][n % 3] for n in range(len(TEXTS))]

    rows = list(zip(TEXTS, thresholds, caps))

    async def all_at_once() -> List[List[Dict[str, Any]]]:
        return await asyncio.gather(
            *(ask(started, [text], threshold=t, max_exit_layer=cap) for text, t, cap in rows),
            ask(started, TEXTS, threshold=thresholds, max_exit_layer=caps),
        )

    *singles, together = asyncio.run(all_at_once())
    # The fixture has int8 with scales of whole batches: alone, each text is what it is.
    classifier = engine.load(ENGINE, 1)
    for n, (text, threshold, cap) in enumerate(rows):
        expected = classifier.predict([text], threshold=threshold, max_exit_layer=cap)[0]
        for answer in (singles[n][0], together[n]):
            assert set(without_tokens(answer)) == set(expected)
            assert answer["exit_layer"] == expected["exit_layer"]
            assert answer["confidence"] == pytest.approx(expected["confidence"], abs=0.05)
    assert {a["exit_layer"] for a in together} == {0, 2, 3}
    assert started.server.dispatcher.unanswered == 0


def test_a_lone_text_is_taken_at_once_and_gathered_ones_together(
    local: Callable[..., Local],
) -> None:
    started = local()

    async def run() -> None:
        started.segments.gate.clear()
        first = asyncio.ensure_future(ask(started, [TEXT], threshold=0.0))
        while not started.segments.ran:
            await asyncio.sleep(0.001)
        assert [ran[:2] for ran in started.segments.ran] == [(0, 1)], "it did not wait for others"
        others = [asyncio.ensure_future(ask(started, ["boring"], threshold=0.0)) for _ in range(6)]
        await asyncio.sleep(0.01)
        started.segments.gate.set()
        await asyncio.gather(first, *others)
        assert [ran[:2] for ran in started.segments.ran] == [(0, 1), (0, 6)]

    asyncio.run(run())


def test_a_full_queue_refuses_the_whole_request(local: Callable[..., Local]) -> None:
    started = local(limits=Limits(queue=4))

    async def run() -> None:
        started.segments.gate.clear()
        first = asyncio.ensure_future(ask(started, [TEXT] * 3))
        await asyncio.sleep(0.05)
        with pytest.raises(Problem, match="3 texts wait, and at most 4 may") as refused:
            await ask(started, [TEXT] * 2)
        assert refused.value.status == 429
        assert int(refused.value.headers["Retry-After"]) >= 1
        fits = asyncio.ensure_future(ask(started, [TEXT]))
        started.segments.gate.set()
        assert len(await first) == 3 and len(await fits) == 1
        assert "label" in (await ask(started, [TEXT] * 4))[3], "there is room again"

    asyncio.run(run())


def test_a_deadline_gets_what_the_last_exit_said(local: Callable[..., Local]) -> None:
    started = local()
    started.segments.seconds = 0.15

    async def run() -> List[Any]:
        return await asyncio.gather(
            ask(started, [TEXT], seconds=0.1, threshold=1.0),
            ask(started, ["boring"], threshold=1.0),
        )

    (cut,), (whole,) = asyncio.run(run())
    assert cut["deadline"] is True and cut["exit_layer"] == 0 and 0 < cut["confidence"] < 1
    assert "deadline" not in whole and whole["exit_layer"] == 3
    assert started.server.models.get(None).tally.events["deadline"] == 1


def test_a_tight_deadline_lowers_the_threshold(local: Callable[..., Local]) -> None:
    started = local()
    started.segments.seconds = 0.04

    async def run() -> Any:
        for _ in range(3):  # so that the server knows how long a text takes
            await ask(started, [TEXT], threshold=1.0)
        relaxed = await ask(started, [TEXT], seconds=10, threshold=1.0)
        tight = await ask(started, [TEXT], seconds=0.06, threshold=1.0)
        return relaxed[0], tight[0]

    relaxed, tight = asyncio.run(run())
    assert "hurried" not in relaxed and relaxed["exit_layer"] == 3
    assert tight["hurried"] is True and tight["exit_layer"] == 0


def test_a_failing_runtime_fails_its_batch_alone(
    local: Callable[..., Local], caplog: pytest.LogCaptureFixture
) -> None:
    started = local()

    async def run() -> None:
        started.segments.error = RuntimeError(f"cannot run {TEXT}")
        assert await ask(started, [TEXT]) == [{"error": FAILED}]
        started.segments.error = None
        assert "label" in (await ask(started, [TEXT]))[0]

    asyncio.run(run())
    assert started.server.dispatcher.unanswered == 0
    assert "RuntimeError" in caplog.text and TEXT not in caplog.text, "texts are not logged"


def test_closing_answers_what_was_accepted(local: Callable[..., Local]) -> None:
    started = local()
    started.segments.seconds = 0.01

    async def run() -> None:
        asked = [asyncio.ensure_future(ask(started, [TEXT] * 5)) for _ in range(4)]
        await asyncio.sleep(0.005)
        closing = threading.Thread(target=started.server.dispatcher.close)
        closing.start()
        answers = await asyncio.gather(*asked)
        assert all("label" in a for part in answers for a in part)
        closing.join(10)
        with pytest.raises(Problem, match="shutting down"):
            await ask(started, [TEXT])

    asyncio.run(run())


def test_short_texts_do_not_wait_for_long_ones(local: Callable[..., Local]) -> None:
    """Between two exits of a long text the worker turns to short ones."""
    started = local(batching=Batching(tokens=512, threads=1))
    started.segments.seconds = 0.05

    async def run() -> None:
        long = asyncio.ensure_future(ask(started, ["bees and " * 300], threshold=1.0))
        while not started.segments.ran:
            await asyncio.sleep(0.001)
        short = asyncio.ensure_future(ask(started, [TEXT], threshold=0.0))
        await short
        assert not long.done()
        await long

    asyncio.run(run())
