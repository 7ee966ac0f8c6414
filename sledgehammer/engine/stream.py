"""Long streams: survivors of several batches go on together, answers come in order."""

import time
from collections import deque
from dataclasses import dataclass
from typing import (
    Any,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

import numpy as np
from numpy import ndarray

from sledgehammer.engine.batch import Batch
from sledgehammer.engine.manifest import EngineError, Manifest
from sledgehammer.engine.source import Ahead, Direct, End, Entry, Item, Known, Source, Stalled
from sledgehammer.engine.tokenizer import Encoded, Text, Tokenizer
from sledgehammer.policies import ExitPolicy, comparable

BATCH_SIZE = 32
"""Rows that run at a time, unless told otherwise."""

FILL = 16
"""So many rows (or `batch_size`, if that is less) wait for no others after an exit: larger batches
gain less than they lose by the padding of texts of different lengths."""

BLOCK = 16
"""So many batches of texts are read and tokenised at a time, to make batches of like length."""

POOLED_RUNTIMES = {"openvino", "torch"}
"""Where pools are the default. `benchmarks/streaming.py` measures it: OpenVINO is up to 1.3 times as
fast with them in small batches and nowhere slower, eager PyTorch up to 1.2 times; ONNX Runtime gains
little or loses."""

DELAY = 64
"""`max_delay`, in batches, unless told otherwise."""


class Runner(Protocol):
    """What a stream needs of a classifier; `Engine` has it."""

    manifest: Manifest
    tokenizer: Tokenizer

    def encode_batch(self, encoded: Sequence[Encoded]) -> Batch: ...

    def advance(self, batch: Batch) -> ndarray: ...

    def answer(self, exit: int, probs: Sequence[float]) -> Dict[str, Any]: ...


@dataclass(frozen=True)
class Schedule:
    """When the rows of a stream run.

    # Parameters

    batch_size : `int`
        Rows that run at a time.
    pool : `bool`, optional (default = `False`)
        Whether the rows that go on after an exit wait for others, until there are `FILL`; else
        those of a batch go on at once, by themselves.
    max_delay : `int`, optional
        An answer comes before the text that is so many and one after its own is asked for. This
        bounds what is held: so many answers and texts, and less than two batches an exit.
        `DELAY` batches if `None`.

    # Raises

    `EngineError` for what can't be.
    """

    batch_size: int = BATCH_SIZE
    pool: bool = False
    max_delay: Optional[int] = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise EngineError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.max_delay is not None and self.max_delay < 0:
            raise EngineError(f"max_delay must be at least 0, got {self.max_delay}")

    @property
    def fill(self) -> int:
        """Rows after an exit that are enough to go on."""
        return min(FILL, self.batch_size)

    @property
    def delay(self) -> int:
        return DELAY * self.batch_size if self.max_delay is None else self.max_delay

    @property
    def block(self) -> int:
        """Entries that are read before any of them runs."""
        # Within half of the delay, so that rows can wait for those of the next block.
        return max(1, min(BLOCK * self.batch_size, (self.delay + 1) // 2))


def answers(
    runner: Runner,
    entries: Iterable[Entry],
    policy: ExitPolicy,
    schedule: Schedule,
    max_wait: Optional[float],
) -> Iterator[Dict[str, Any]]:
    """The answers to a stream; `Engine.stream` describes it."""
    if max_wait is not None and not max_wait >= 0:
        raise EngineError(f"max_wait must be at least 0 seconds, got {max_wait}")
    scorer = Scorer(runner, policy, schedule)

    def read() -> Iterator[Dict[str, Any]]:
        direct = max_wait is None
        source: Source = Direct(entries) if direct else Ahead(entries, schedule.batch_size)
        try:
            yield from scorer.run(source, max_wait)
        finally:
            source.close()

    return read()


class Pool:
    """Rows of several batches that are at the same exit, in the order in which they came."""

    def __init__(self) -> None:
        self._batches: List[Batch] = []
        self.rows = 0

    def add(self, batch: Batch) -> None:
        self._batches.append(batch)
        self.rows += len(batch.rows)

    def take(self, rows: int) -> Batch:
        """A batch of the first rows, at most so many."""
        joined = Batch.join(self._batches) if len(self._batches) > 1 else self._batches[0]
        self._batches, self.rows = [], 0
        count = len(joined.rows)
        if count <= rows:
            return joined
        self.add(joined.keep(np.arange(rows, count)))
        return joined.keep(np.arange(rows))

    def holds_before(self, number: int) -> bool:
        """Whether a row has a smaller number."""
        return any(int(batch.rows.min()) < number for batch in self._batches)


class Scorer:
    """Runs a stream: each entry gets a number, and its answer is given when it is the next one.

    All methods that run something yield the answers that are then due.

    # Parameters

    runner : `Runner`
    policy : `ExitPolicy`
        With the settings of texts that have none.
    schedule : `Schedule`
    """

    def __init__(self, runner: Runner, policy: ExitPolicy, schedule: Schedule) -> None:
        self._runner = runner
        self._policy = policy
        self._controller = policy.controller()
        self._schedule = schedule
        self._exits = len(runner.manifest.exit_layers)
        self._pools = [Pool() for _ in range(1, self._exits)]
        self._block: List[Tuple[int, Text]] = []
        self._block_start = 0
        self._longest_first = True
        self._given: Dict[int, Dict[str, Optional[float]]] = {}  # of texts that have not begun
        self._settings: Dict[int, List[float]] = {}  # of those that run
        self._answers: Dict[int, Dict[str, Any]] = {}
        self._read = 0
        self._read_at: Deque[float] = deque()  # of each entry that has not been answered

    def run(self, source: Source, max_wait: Optional[float]) -> Iterator[Dict[str, Any]]:
        """Answer all that comes."""
        while True:
            entry = source.get(self._patience(max_wait))
            if not isinstance(entry, (End, Stalled)):
                try:
                    self._add(entry)
                except EngineError as error:
                    entry = End(error)
            if isinstance(entry, (End, Stalled)):
                yield from self._run_block()
                yield from self._run_held(before=self._read)
                if isinstance(entry, Stalled):
                    continue
                if entry.error:
                    raise entry.error
                return
            yield from self._due()
            if self._read - self._block_start >= self._schedule.block:
                yield from self._run_block()
                # When the last entry of the next block has come, those before this are overdue.
                last = self._read + self._schedule.block - 1
                yield from self._run_held(before=last - self._schedule.delay)

    def _patience(self, max_wait: Optional[float]) -> Optional[float]:
        """How many seconds the oldest entry without an answer may still wait for others."""
        if max_wait is None or not self._read_at:
            return None
        return self._read_at[0] + max_wait - time.monotonic()

    def _add(self, entry: Entry) -> None:
        number = self._read
        if isinstance(entry, Known):
            self._answers[number] = entry.answer
        else:
            item = entry if isinstance(entry, Item) else Item(entry)
            try:
                given = self._policy.checked(item.given)
            except ValueError as error:
                raise EngineError(str(error)) from error
            self._block.append((number, self._runner.tokenizer.checked(item.text, number)))
            self._given[number] = given
        self._read += 1
        self._read_at.append(time.monotonic())

    def _run_block(self) -> Iterator[Dict[str, Any]]:
        """Start all texts that have been read."""
        block, self._block, self._block_start = self._block, [], self._read
        if not block:
            return
        encoded = self._runner.tokenizer.encode([text for _, text in block])
        order = sorted(
            range(len(block)), key=lambda i: len(encoded[i].ids), reverse=self._longest_first
        )
        # In turns, so that what waits from one block is about as long as what starts the next.
        self._longest_first = not self._longest_first
        size = self._schedule.batch_size
        for chosen in (order[first : first + size] for first in range(0, len(order), size)):
            batch = self._runner.encode_batch([encoded[i] for i in chosen])
            batch.rows = np.asarray([block[i][0] for i in chosen])
            common = self._controller.given() if self._controller else {}
            for row in batch.rows.tolist():
                self._settings[row] = self._policy.row({**common, **self._given.pop(row)})
            yield from self._run(batch)

    def _run_held(self, before: int) -> Iterator[Dict[str, Any]]:
        """Run on all pools with a row of a smaller number; those rows then have an answer."""
        for pool in self._pools:
            if pool.holds_before(before):
                while pool.rows:
                    yield from self._run(pool.take(self._schedule.batch_size))

    def _run(self, batch: Batch) -> Iterator[Dict[str, Any]]:
        """Run a batch; then all pools that are full, the deepest first."""
        rest: Optional[Batch] = batch
        while rest is not None:
            rest = self._advance(rest)
            yield from self._due()
            if rest is not None and self._schedule.pool:
                self._pools[rest.position - 1].add(rest)
                rest = None
            if rest is None:
                full = (p for p in reversed(self._pools) if p.rows >= self._schedule.fill)
                if (pool := next(full, None)) is not None:
                    rest = pool.take(self._schedule.batch_size)

    def _advance(self, batch: Batch) -> Optional[Batch]:
        """Run a batch up to its next exit: the rows that go on."""
        probs = self._runner.advance(batch)
        rows = batch.rows.tolist()
        if batch.position == self._exits:
            stopped = np.ones(len(rows), bool)
        else:
            own = comparable(self._policy.columns([self._settings[row] for row in rows]))
            decision = self._policy.decide(batch.evidence, own)
            stopped = decision if isinstance(decision, ndarray) else np.full(len(rows), decision)
        for i in np.flatnonzero(stopped).tolist():
            answer = self._runner.answer(batch.position - 1, probs[i].tolist())
            self._answers[rows[i]] = answer
            del self._settings[rows[i]]
        if self._controller:
            self._controller.note([batch.position - 1] * int(stopped.sum()))
        if not stopped.any():
            return batch
        return None if stopped.all() else batch.keep(np.flatnonzero(~stopped))

    def _due(self) -> Iterator[Dict[str, Any]]:
        """The answers before which nothing is missing."""
        while self._read_at:
            number = self._read - len(self._read_at)
            if number not in self._answers:
                return
            self._read_at.popleft()
            yield self._answers.pop(number)
