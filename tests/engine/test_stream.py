"""Streams: in order, in time, within bounds, and each row as if it were alone."""

import itertools
import random
import threading
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sledgehammer import engine
from sledgehammer.engine import stream
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.schedule import FILL, Schedule
from sledgehammer.engine.source import Ahead, Item, ReadyAnswer
from sledgehammer.engine.stream import answers
from sledgehammer.policies import BudgetPolicy, Exits, exit_shares
from tests.engine.fakes import EXITS, FakeRunner

NEVER = 60.0
"""Seconds after which a test fails that would wait for ever."""


def run(
    entries: Iterable[Any],
    threshold: float = 0.8,
    max_wait: Optional[float] = None,
    runner: Any = None,
    **schedule: Any,
) -> Iterator[Dict[str, Any]]:
    runner = runner or FakeRunner()
    runner.policy.change({"threshold": threshold})
    return answers(runner, entries, runner.policy, Schedule(**schedule), max_wait)


def texts_of_length(*lengths: int) -> List[str]:
    return ["abcdefghijklmnopqrstuvwxyz"[i % 20 :][:length] for i, length in enumerate(lengths)]


def readers() -> List[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == Ahead.THREAD]


entry_lists = st.lists(
    st.tuples(
        st.text("abcdefg", max_size=9), st.sampled_from([None, 0.0, 0.6, 0.75, 0.9, 1.0, "known"])
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=150)
@given(
    entry_lists,
    st.integers(1, 9),
    st.booleans(),
    st.none() | st.integers(0, 40),
    st.sampled_from([None, None, 0.0, NEVER]),
)
def test_any_stream_gives_each_rows_own_answer_in_order(
    given_entries: Any, batch_size: int, pool: bool, max_delay: Any, max_wait: Any
) -> None:
    runner = FakeRunner()
    entries: List[Any] = []
    expected: List[Any] = []
    for text, threshold in given_entries:
        if threshold == "known":
            entries.append(ReadyAnswer({"error": text}))
            expected.append({"error": text})
        else:
            entries.append(text if threshold is None else Item(text, threshold))
            expected.append(runner.alone(text, 0.8 if threshold is None else threshold))
    schedule: Any = dict(batch_size=batch_size, pool=pool, max_delay=max_delay)
    assert list(run(entries, max_wait=max_wait, runner=runner, **schedule)) == expected
    assert all(rows <= batch_size for _, rows in runner.ran)


@settings(deadline=None, max_examples=60)
@given(entry_lists, st.integers(1, 9), st.booleans(), st.integers(0, 40))
def test_what_is_held_is_bounded(
    given_entries: Any, batch_size: int, pool: bool, max_delay: int
) -> None:
    read, got, held = 0, 0, []

    def source() -> Iterator[Any]:
        nonlocal read
        for text, threshold in given_entries:
            read += 1
            held.append(read - got)  # this one included
            yield ReadyAnswer({}) if threshold == "known" else Item(text, threshold)

    in_pools = []

    class Counted(stream.Pool):
        def add(self, batch: Any) -> None:
            super().add(batch)
            in_pools.append(self.rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "Pool", Counted)
        for _ in run(source(), batch_size=batch_size, pool=pool, max_delay=max_delay):
            got += 1
    assert got == len(given_entries)
    assert max(held, default=0) <= max_delay + 1
    assert max(in_pools, default=0) < 2 * batch_size


def test_pools_fill_batches_and_plain_batches_shrink() -> None:
    texts = texts_of_length(*(i % 7 for i in range(400)))
    pooled, plain = FakeRunner(), FakeRunner()
    with_pools = list(run(texts, runner=pooled, batch_size=8, pool=True, max_delay=10_000))
    assert with_pools == list(run(texts, runner=plain, batch_size=8, pool=False))
    for exit in range(1, EXITS):
        sizes = [rows for position, rows in pooled.ran if position == exit]
        assert set(sizes[:-2]) == {8}, "but for the end of the stream"
        assert any(rows < 8 for position, rows in plain.ran if position == exit)


def test_enough_rows_do_not_wait_for_a_full_batch() -> None:
    runner = FakeRunner()
    list(run(texts_of_length(*range(1, 400)), runner=runner, batch_size=100, pool=True))
    later = [rows for position, rows in runner.ran if position]
    assert FILL <= max(later) < 100
    assert sum(rows < FILL for rows in later) < EXITS, "but for the end of the stream"


def test_full_pools_run_deepest_first() -> None:
    runner = FakeRunner()
    list(run(["a"] * 64, threshold=1.0, runner=runner, batch_size=4, pool=True))
    assert runner.ran == [(exit, 4) for _ in range(16) for exit in range(EXITS)]


def test_answers_come_long_before_the_end() -> None:
    endless = (f"text {number % 10}" for number in itertools.count())
    for pool in (True, False):
        got = list(itertools.islice(run(endless, batch_size=4, pool=pool), 500))
        assert len(got) == 500


@pytest.mark.parametrize("pool", [True, False])
def test_a_stalled_stream_is_answered(pool: bool) -> None:
    go_on = threading.Event()

    def source() -> Iterator[str]:
        yield from ["a", "bcd", "ef"]
        assert go_on.wait(NEVER), "the answers did not come while the source stood still"
        yield "g"

    runner = FakeRunner()
    running = run(source(), threshold=1.0, max_wait=0.01, runner=runner, pool=pool)
    first = [next(running) for _ in range(3)]
    go_on.set()
    texts = ["a", "bcd", "ef", "g"]
    assert first + list(running) == [runner.alone(text, 1.0) for text in texts]


def test_a_stream_that_trickles_is_answered() -> None:
    """No pause is as long as `max_wait`, but the first text has waited for so long."""
    now = 0.0

    class Trickle:
        def __init__(self) -> None:
            self.waits: List[Any] = []

        def get(self, seconds: Any) -> Any:
            nonlocal now
            self.waits.append(seconds)
            if seconds is not None and seconds < 0.4:
                now += max(seconds, 0)
                return stream.NothingYet()
            now += 0.4
            return "text"

        def close(self) -> None: ...

    runner = FakeRunner()
    scorer = stream.Scorer(runner, runner.policy, Schedule(), max_wait=1.0)
    source = Trickle()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream.time, "monotonic", lambda: now)
        next(scorer.run(source))
    assert source.waits == [None, *(pytest.approx(wait) for wait in (1.0, 0.6, 0.2))]


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("seconds", [0.01, 0.05])
def test_under_load_no_answer_is_late_by_more_than_a_few_batches(
    pool: bool, seconds: float
) -> None:
    """1,500 texts are at hand, and each segment of a batch takes so many seconds."""
    now, max_wait = 0.0, 0.5
    read_at: List[float] = []

    class Slow(FakeRunner):
        def advance(self, batch: Any) -> np.ndarray:
            nonlocal now
            now += seconds
            return super().advance(batch)

    class AtHand:
        def get(self, wait: Any) -> Any:
            if len(read_at) == len(texts):
                return stream.EndOfInput()
            read_at.append(now)
            return texts[len(read_at) - 1]

        def close(self) -> None: ...

    texts = texts_of_length(*(i * 7 % 20 for i in range(1500)))
    runner = Slow()
    runner.policy.change({"threshold": 0.8})
    schedule = Schedule(32, pool)
    waits, got = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream.time, "monotonic", lambda: now)
        for answer in stream.Scorer(runner, runner.policy, schedule, max_wait).run(AtHand()):
            waits.append(now - read_at[len(got)])
            got.append(answer)
    assert got == [runner.alone(text, 0.8) for text in texts]
    assert max(waits) <= max_wait + 4 * EXITS * seconds


@pytest.mark.parametrize("pool", [True, False])
def test_a_budget_is_kept_over_a_stream_of_ever_other_texts(pool: bool) -> None:
    """Calibrated on all texts; then the surest half of them comes first, the others after."""
    texts = ["".join(pair) for pair in itertools.product("abcdefghijklmnopqrstuvwxyz", repeat=2)]
    runner = FakeRunner()
    batch = runner.encode_batch(runner.tokenizer.encode(texts), runner.policy.values)
    for _ in range(EXITS):
        runner.advance(batch)
    runner.policy = BudgetPolicy(2.0)
    runner.policy.bind(Exits(range(EXITS), shares=exit_shares(batch.evidence.probs)))
    sure = batch.evidence.probs[:, :2].max(axis=(1, 2))
    ordered = [texts[i] for i in sure.argsort()[::-1]]
    stream_of = [text for half in (ordered[:338], ordered[338:]) for text in half * 8]
    given = answers(runner, stream_of, runner.policy, Schedule(32, pool), None)
    layers = [answer["exit"] + 1 for answer in given]
    means = list(itertools.accumulate(layers))
    for count in (2000, 3000, 4000, len(layers)):
        assert means[count - 1] / count == pytest.approx(2.0, rel=0.02)


def test_a_budget_of_its_own_is_the_plain_threshold() -> None:
    runner = FakeRunner()
    runner.policy = BudgetPolicy(2.0)
    table = np.linspace(0, 1, 201, dtype=np.float32)[:, None] * [[1, -1, 0, 1]] + [[0, 1, 0, 0]]
    runner.policy.bind(Exits(range(EXITS), shares=table))
    items = [Item("abc", settings={"budget": budget}) for budget in (1.0, 3.0)] * 50
    given = answers(runner, items, runner.policy, Schedule(), None)
    assert [answer["exit"] for answer in given] == [0, 2] * 50


@pytest.mark.parametrize("max_wait", [None, NEVER])
def test_an_error_of_the_source_comes_after_the_answers_before_it(max_wait: Any) -> None:
    def source() -> Iterator[str]:
        yield from ["a", "bc", "d"]
        raise OSError("unplugged")

    got = []
    with pytest.raises(OSError, match="unplugged"):
        for answer in run(source(), max_wait=max_wait):
            got.append(answer)
    assert len(got) == 3


@pytest.mark.parametrize(
    "bad", [3, Item("a", 1.5), Item(None), Item("a", settings={"patience": 2})]
)  # type: ignore[arg-type]
def test_a_bad_entry_comes_after_the_answers_before_it(bad: Any) -> None:
    got = []
    with pytest.raises(EngineError):
        for answer in run(["a", bad, "b"]):
            got.append(answer)
    assert len(got) == 1


def test_the_reader_ends_when_the_consumer_closes() -> None:
    before = set(readers())
    read = []

    def source() -> Iterator[str]:
        for number in itertools.count():
            read.append(number)
            yield "text"

    running = run(source(), max_wait=NEVER, batch_size=4, max_delay=8)
    next(running)
    (thread,) = set(readers()) - before
    running.close()
    thread.join(NEVER)
    assert not thread.is_alive()


def test_no_more_than_a_batch_is_read_ahead() -> None:
    taken = threading.Event()
    count = 0

    def source() -> Iterator[int]:
        nonlocal count
        while True:
            count += 1
            if count == 5:
                taken.set()
            yield count

    ahead = Ahead(source(), limit=4)
    assert ahead.get(None) == 1
    assert taken.wait(NEVER), "there is room for the fifth"
    assert count == 5
    ahead.close()


def test_a_stream_that_never_started_has_no_thread() -> None:
    before = readers()  # those of other tests may end meanwhile
    run(["a"], max_wait=NEVER).close()
    assert not set(readers()) - set(before)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"max_delay": -1}, "max_delay must be at least 0"),
        ({"max_wait": -0.5}, "max_wait must be at least 0"),
        ({"threshold": 1.5}, "threshold must be a number between 0 and 1"),
    ],
)
def test_bad_arguments_are_told_at_once(tiny_engine: Path, arguments: Any, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        engine.load(tiny_engine).stream(["a"], **arguments)


def test_one_text_is_no_stream(tiny_engine: Path) -> None:
    with pytest.raises(EngineError, match="not one text"):
        engine.load(tiny_engine).stream("a")


@pytest.mark.parametrize("pool", [True, False, None])
def test_an_engine_streams_what_it_predicts(tiny_engine: Path, pool: Optional[bool]) -> None:
    classifier = engine.load(tiny_engine)
    generator = random.Random(0)
    words = "a good bad dull story film about bees and geese".split()
    texts = [" ".join(generator.choices(words, k=generator.randint(1, 20))) for _ in range(150)]
    at_first = sorted(a["confidence"] for a in classifier.predict(texts, 0.0))
    # Between two confidences, so that no rounding can decide.
    middle = (at_first[70] + at_first[71]) / 2
    thresholds = [generator.choice([0.0, middle, 1.0]) for _ in texts]
    expected = classifier.predict(texts, thresholds)
    assert len({answer["exit_layer"] for answer in expected}) > 1
    entries = [Item(text, threshold) for text, threshold in zip(texts, thresholds)]
    for max_delay in (0, 20, None):
        got = list(classifier.stream(entries, batch_size=4, pool=pool, max_delay=max_delay))
        for answer, wanted in zip(got, expected):
            assert answer["probs"] == pytest.approx(wanted["probs"], abs=1e-5)
            assert (answer["label"], answer["exit_layer"]) == (
                wanted["label"], wanted["exit_layer"]
            )  # fmt: skip
        assert len(got) == len(expected)
