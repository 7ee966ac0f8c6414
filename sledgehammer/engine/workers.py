"""Answer the lines of a file or a pipe in several processes."""

import sys
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, Deque, Dict, Iterator, List, Optional, Union

from sledgehammer.engine.answering import Destination, Job, reading_and_writing, report
from sledgehammer.engine.lines import Tally
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.source import Ahead, Direct, EndOfInput, NothingYet
from sledgehammer.support.child import Child, ChildDied

BLOCK = 8
"""How many batches of lines a worker gets at a time, to make batches of like length."""

QUEUED = 2
"""How many blocks a worker has at most: one that it runs, and one that waits, so that it never
does."""


class Workers:
    """Run the processes that answer blocks of lines; they end with the `with` block.

    Blocks go to the workers in turn, so that each gets the same lines in every run.

    # Parameters

    job : `Job`
    count : `int`

    # Raises

    `EngineError` if the engine can't be opened, or a worker ends.
    """

    def __init__(self, job: Job, count: int) -> None:
        self.count = count
        self.warning: Optional[str] = None
        self.max_length = 0
        self._job = job
        self._children: List[Child] = []
        self._threads: List[ThreadPoolExecutor] = []
        self._next = 0

    def __enter__(self) -> "Workers":
        try:
            for _ in range(self.count):
                self._children.append(Child("sledgehammer.engine.worker"))
                self._threads.append(ThreadPoolExecutor(1))
            opened = [self._submit(i, asdict(self._job)) for i in range(self.count)]
            for answer in [future.result() for future in opened]:
                if "error" in answer:
                    raise EngineError(answer["error"])
                self.warning, self.max_length = answer["warning"], answer["max_length"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        for child in self._children:
            child.kill()
        for thread in self._threads:  # those that wait for a child have seen its end
            thread.shutdown(cancel_futures=True)
        for child in self._children:
            child.close()

    def answer(self, first: int, lines: List[str]) -> "Future[Dict[str, Any]]":
        """Let the next worker answer some lines; see `worker.answer_block`."""
        worker, self._next = self._next, (self._next + 1) % self.count
        return self._submit(worker, {"first": first, "lines": lines})

    def _submit(self, worker: int, message: Dict[str, Any]) -> "Future[Dict[str, Any]]":
        return self._threads[worker].submit(self._ask, worker, message)

    def _ask(self, worker: int, message: Dict[str, Any]) -> Dict[str, Any]:
        child = self._children[worker]
        began = time.monotonic()
        try:
            child.send(message)
            answer: Dict[str, Any] = child.receive()
        except ChildDied as death:
            raise EngineError(f"worker {worker + 1} of {self.count} {death}") from None
        return {**answer, "seconds": time.monotonic() - began}


class Dispatcher:
    """Divide lines into blocks for the workers, and put the answers in order.

    # Parameters

    workers : `Workers`
    source : `Union[Direct, Ahead]`
        Supplies the lines.
    batch_size : `int`
    max_wait : `float`, optional
        Seconds after which a line may wait for others no more.
    """

    def __init__(
        self,
        workers: Workers,
        source: Union[Direct, Ahead],
        batch_size: int,
        max_wait: Optional[float],
    ) -> None:
        self._workers = workers
        self._source = source
        self._batch_size = batch_size
        self._max_wait = max_wait
        self._lines: List[str] = []  # of the block that is being filled
        self._first = 1  # the number of its first line
        self._due = 0.0  # when its first line has waited for long enough
        self._running: Deque[Future[Dict[str, Any]]] = deque()
        self._answered, self._busy = 0, 0.0  # lines, and the seconds that workers took for them

    def blocks(self) -> Iterator[Dict[str, Any]]:
        """Yield the answers to each block, in order; see `worker.answer_block`."""
        while True:
            entry = self._source.get(self._patience())
            if isinstance(entry, EndOfInput):
                self._dispatch()
                yield from self._finished(most=0)
                if entry.error:
                    raise entry.error
                return
            if not isinstance(entry, NothingYet):
                self._add(entry)
            patience = self._patience()
            if patience is not None and patience <= 0:
                self._dispatch()
            yield from self._finished(most=QUEUED * self._workers.count)

    def _add(self, line: str) -> None:
        if not self._lines and self._max_wait is not None:
            self._due = time.monotonic() + self._max_wait
        self._lines.append(line)
        if len(self._lines) >= self._block_size():
            self._dispatch()

    def _patience(self) -> Optional[float]:
        """Return how many seconds the lines of the unfilled block may still wait for others."""
        if self._max_wait is None or not self._lines:
            return None
        return self._due - time.monotonic()

    def _block_size(self) -> int:
        """Return how many lines make a block.

        The lines of a block are answered together, and after a block that the worker may still
        have. So both take no longer than half of the longest wait.
        """
        block = BLOCK * self._batch_size
        if self._max_wait is None:
            return block
        rate = self._answered / self._busy if self._busy else 0.0
        return int(min(block, max(self._batch_size, rate * self._max_wait / (2 * QUEUED))))

    def _dispatch(self) -> None:
        if not self._lines:
            return
        future = self._workers.answer(self._first, self._lines)
        if isinstance(self._source, Ahead):
            wake = self._source.wake
            future.add_done_callback(lambda _: wake())
        self._running.append(future)
        self._first += len(self._lines)
        self._lines = []

    def _finished(self, most: int) -> Iterator[Dict[str, Any]]:
        """Yield the blocks that are answered next; wait until at most so many are left."""
        while self._running and (len(self._running) > most or self._running[0].done()):
            block = self._running.popleft().result()
            self._answered += len(block["answers"])
            self._busy += block["seconds"]
            yield block


def answer_lines_with_workers(
    job: Job, count: int, source: str, destination: Destination, max_wait: Optional[float]
) -> int:
    """Answer each line of an input, in order, in several processes; see `answer_lines`.

    # Parameters

    count : `int`
        The number of processes.

    # Raises

    `EngineError` if one of the processes ends: then nothing is written to a file.
    """
    tally = Tally()
    with ExitStack() as stack:
        workers = stack.enter_context(Workers(job, count))
        if workers.warning:
            print(f"warning: {workers.warning}", file=sys.stderr)
        lines, write = stack.enter_context(reading_and_writing(source, destination))
        limit = BLOCK * job.batch_size
        entries = Direct(lines) if max_wait is None else Ahead(lines, limit)
        stack.callback(entries.close)
        for block in Dispatcher(workers, entries, job.batch_size, max_wait).blocks():
            write("".join(block["answers"]))
            tally.add(Tally(**block["tally"]))
            if block["error"]:
                raise EngineError(block["error"])
    return report(tally, workers.max_length)
