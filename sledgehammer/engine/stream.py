"""Answer long streams: rows of several batches go on together, answers come in order."""

import time
from collections import deque
from itertools import takewhile
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

from sledgehammer.engine.arguments import seconds
from sledgehammer.engine.batch import Batch, BatchRunner, step
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.schedule import Schedule
from sledgehammer.engine.source import (
    Ahead,
    Direct,
    EndOfInput,
    Entry,
    Item,
    NothingYet,
    ReadyAnswer,
    Source,
)
from sledgehammer.engine.tokenizer import Encoded, Text, Tokenizer
from sledgehammer.policies import ExitPolicy, RowSettings


class Classifier(BatchRunner, Protocol):
    """Turn texts into batches and probabilities into answers, as `Engine` does."""

    tokenizer: Tokenizer

    def encode_batch(self, encoded: Sequence[Encoded], settings: RowSettings) -> Batch: ...

    def answer(self, exit: int, probs: Sequence[float], truncated: bool) -> Dict[str, Any]: ...


def answers(
    classifier: Classifier,
    entries: Iterable[Entry],
    policy: ExitPolicy,
    schedule: Schedule,
    max_wait: Optional[float],
) -> Iterator[Dict[str, Any]]:
    """Return the answers to a stream of texts, in order; see `Engine.stream`.

    # Parameters

    policy : `ExitPolicy`
        With the settings of texts that have none.
    """
    if max_wait is not None:
        max_wait = seconds(max_wait, "max_wait")
    scorer = Scorer(classifier, policy, schedule, max_wait)

    def read() -> Iterator[Dict[str, Any]]:
        direct = max_wait is None
        source: Source = Direct(entries) if direct else Ahead(entries, schedule.batch_size)
        try:
            yield from scorer.run(source)
        finally:
            source.close()

    return read()


class Pool:
    """Hold rows of several batches that are at the same exit, in the order in which they came."""

    def __init__(self) -> None:
        self._batches: List[Batch] = []
        self.rows = 0

    def add(self, batch: Batch) -> None:
        self._batches.append(batch)
        self.rows += len(batch.rows)

    def take(self, rows: int) -> Batch:
        """Remove the first rows, at most so many, and return them as a batch."""
        joined = Batch.join(self._batches) if len(self._batches) > 1 else self._batches[0]
        self._batches, self.rows = [], 0
        count = len(joined.rows)
        if count <= rows:
            return joined
        self.add(joined.keep(np.arange(rows, count)))
        return joined.keep(np.arange(rows))

    def holds_before(self, number: int) -> bool:
        """Return whether a row has a smaller number."""
        return any(int(batch.rows.min()) < number for batch in self._batches)


class Scorer:
    """Answer a stream: number its entries, run them in batches, yield answers in order.

    All methods that run something yield the answers that are then due.

    # Parameters

    classifier : `Classifier`
    policy : `ExitPolicy`
        With the settings of texts that have none.
    schedule : `Schedule`
    max_wait : `float`, optional
        Seconds after which an entry without an answer is overdue.
    """

    def __init__(
        self,
        classifier: Classifier,
        policy: ExitPolicy,
        schedule: Schedule,
        max_wait: Optional[float] = None,
    ) -> None:
        self._classifier = classifier
        self._policy = policy.in_stream()
        self._schedule = schedule
        self._max_wait = max_wait
        self._started, self._busy = 0, 0.0  # rows that have begun, and the seconds that all took
        self._pools = [Pool() for _ in classifier.manifest.exit_layers[1:]]
        self._block: List[Tuple[int, Text]] = []
        self._block_start = 0
        self._longest_first = True
        self._settings: Dict[int, RowSettings] = {}  # of texts that have not begun
        self._truncated: Dict[int, bool] = {}  # of texts that run
        self._answers: Dict[int, Dict[str, Any]] = {}
        self._read = 0
        self._read_at: Deque[float] = deque()  # of each entry that has not been answered

    def run(self, source: Source) -> Iterator[Dict[str, Any]]:
        """Yield the answers to all entries of a source."""
        while True:
            entry = source.get(self._patience())
            if not isinstance(entry, (EndOfInput, NothingYet)):
                try:
                    self._add(entry)
                except EngineError as error:
                    entry = EndOfInput(error)
            if isinstance(entry, (EndOfInput, NothingYet)):
                yield from self._run_block()
                yield from self._run_held(before=self._read)
                if isinstance(entry, NothingYet):
                    continue
                if entry.error:
                    raise entry.error
                return
            yield from self._due()
            if self._read - self._block_start >= self._block_size():
                yield from self._run_block()
                # When the last entry of the next block has come, those before this are overdue.
                last = self._read + self._schedule.block - 1
                yield from self._run_held(before=last - self._schedule.delay)
                yield from self._run_held(before=self._overdue())

    def _patience(self) -> Optional[float]:
        """Return how many seconds the oldest entry without an answer may wait for others."""
        if self._max_wait is None or not self._read_at:
            return None
        return self._read_at[0] + self._max_wait - time.monotonic()

    def _overdue(self) -> int:
        """Return the number of the first entry that is not overdue."""
        first = self._read - len(self._read_at)
        if self._max_wait is None:
            return first
        latest = time.monotonic() - self._max_wait
        return first + sum(1 for _ in takewhile(lambda at: at <= latest, self._read_at))

    def _block_size(self) -> int:
        """Return how many entries are read before any of them runs.

        Entries of a large block wait for one another while it runs, so it is no larger than what
        has run in half of the longest wait so far.
        """
        block, size = self._schedule.block, self._schedule.batch_size
        if self._max_wait is None or block <= size:
            return block
        rate = self._started / self._busy if self._busy else 0.0
        return int(min(block, max(size, rate * self._max_wait / 2)))

    def _add(self, entry: Entry) -> None:
        number = self._read
        if isinstance(entry, ReadyAnswer):
            self._answers[number] = entry.answer
        else:
            item = entry if isinstance(entry, Item) else Item(entry)
            try:
                settings = self._policy.settings_for(item.all_settings)
            except ValueError as error:
                raise EngineError(str(error)) from error
            self._block.append((number, self._classifier.tokenizer.checked(item.text, number)))
            self._settings[number] = settings
        self._read += 1
        self._read_at.append(time.monotonic())

    def _run_block(self) -> Iterator[Dict[str, Any]]:
        """Start all texts that have been read."""
        block, self._block, self._block_start = self._block, [], self._read
        if not block:
            return
        encoded = self._classifier.tokenizer.encode([text for _, text in block])
        self._truncated.update({row: e.truncated for (row, _), e in zip(block, encoded)})
        order = sorted(
            range(len(block)), key=lambda i: len(encoded[i].ids), reverse=self._longest_first
        )
        # In turns, so that what waits from one block is about as long as what starts the next.
        self._longest_first = not self._longest_first
        size = self._schedule.batch_size
        chunks = [order[first : first + size] for first in range(0, len(order), size)]
        while chunks:
            chosen = chunks.pop(self._next_chunk([[block[i][0] for i in c] for c in chunks]))
            rows = [block[i][0] for i in chosen]
            settings = RowSettings.join([self._settings.pop(row) for row in rows])
            batch = self._classifier.encode_batch([encoded[i] for i in chosen], settings)
            batch.rows = np.asarray(rows)
            self._started += len(chosen)
            yield from self._run(batch)
            yield from self._run_held(before=self._overdue())

    def _next_chunk(self, numbers: List[List[int]]) -> int:
        """Return which of some batches runs next.

        # Parameters

        numbers : `List[List[int]]`
            The numbers of the rows of each batch.
        """
        oldest = min(range(len(numbers)), key=lambda i: min(numbers[i]))
        return oldest if min(numbers[oldest]) < self._overdue() else 0

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
        """Run a batch up to its next exit, and return the rows that go on."""
        began = time.monotonic()
        stopped, rest = step(self._classifier, batch, self._policy)
        self._busy += time.monotonic() - began
        if stopped is not None:
            for row, probs in zip(stopped.rows.tolist(), stopped.probs.tolist()):
                truncated = self._truncated.pop(row)
                self._answers[row] = self._classifier.answer(stopped.exit, probs, truncated)
        return rest

    def _due(self) -> Iterator[Dict[str, Any]]:
        """Yield the next answers, up to the first that is missing."""
        while self._read_at:
            number = self._read - len(self._read_at)
            if number not in self._answers:
                return
            self._read_at.popleft()
            yield self._answers.pop(number)
