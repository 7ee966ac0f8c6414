"""Answer the lines of a file or a pipe with an engine, in this process."""

import bz2
import contextlib
import gzip
import json
import lzma
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, Optional, Sequence, TextIO, Tuple

from sledgehammer.engine.lines import TRUNCATED, LineFormat, Tally
from sledgehammer.engine.loading import load
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.schedule import BATCH_SIZE
from sledgehammer.engine.source import Entry, Item, ReadyAnswer
from sledgehammer.engine.stream import answers
from sledgehammer.policies import ExitPolicy
from sledgehammer.support.files import replacing
from sledgehammer.support.jsonl import text_or_pair


@dataclass(frozen=True)
class Destination:
    """Say where answers go: to a file, which appears when it is whole, and to standard output."""

    file: Optional[Path] = None
    shown: bool = True


class LineReader:
    """Turn lines into the entries of a stream, and add to each answer what it takes over.

    # Parameters

    format : `LineFormat`
    policy : `ExitPolicy`
        The policy that says which settings a line may have.
    first : `int`, optional (default = `1`)
        The number of the first line.
    """

    def __init__(self, format: LineFormat, policy: ExitPolicy, first: int = 1) -> None:
        self._first = first
        self._format = format
        self._policy = policy
        # What each answer takes over. The thread that reads fills it, in the order of the lines.
        self._kept: Deque[Dict[str, Any]] = deque()
        self.tally = Tally()

    def entries(self, lines: Iterable[str]) -> Iterator[Entry]:
        """Yield an entry for each line."""
        for number, line in enumerate(lines, start=self._first):
            inputs, problem = self._format.parse(line)
            kept: Dict[str, Any] = {}
            try:
                if problem:
                    raise ValueError(problem)
                kept = self._format.kept(inputs)
                texts, settings, _ = self._format.request(inputs, self._policy)
                entry: Entry = Item(text_or_pair(texts), settings=settings)
            except ValueError as error:
                self.tally.bad_lines.append(number)
                entry = ReadyAnswer({"error": str(error), "line": number})
            self._kept.append(kept)
            yield entry

    def complete(self, answer: Dict[str, Any]) -> Dict[str, Any]:
        """Return the next answer, with the fields that it takes over from its line."""
        self.tally.lines += 1
        if answer.get(TRUNCATED):
            self.tally.truncated.append(self._first + self.tally.lines - 1)
        return {**self._kept.popleft(), **answer}


@dataclass(frozen=True)
class Job:
    """Say how lines are to be answered, in plain data that another process can be sent.

    # Parameters

    directory : `str`
        An exported model.
    settings : `Dict[str, Any]`
        The policy's settings, for lines that have none of their own.
    keep, plain
        See `LineFormat`.
    threads : `int`, optional
        See `load`.
    batch_size, pool
        See `Engine.schedule`.
    """

    directory: str
    settings: Dict[str, Any]
    keep: Sequence[str] = ()
    plain: bool = False
    threads: Optional[int] = None
    batch_size: int = BATCH_SIZE
    pool: Optional[bool] = None


class LineAnswerer:
    """Answer lines with an engine, as a job says.

    # Parameters

    job : `Job`

    # Raises

    `EngineError` if the engine can't be opened, or can't do the job.
    """

    def __init__(self, job: Job) -> None:
        self.engine = load(job.directory, job.threads)
        try:
            self.format = LineFormat(self.engine.manifest.fields, job.keep, job.plain)
        except ValueError as error:
            raise EngineError(str(error)) from error
        policy = self.engine.with_settings(job.settings)
        self.warning = self.engine.choice_problem(policy)
        # One for all that is answered, in however many parts.
        self._policy = policy.in_stream()
        self._schedule = self.engine.schedule(job.batch_size, job.pool)

    def answers(
        self, lines: Iterable[str], tally: Tally, first: int = 1, max_wait: Optional[float] = None
    ) -> Iterator[str]:
        """Yield the answer to each line, in order, as a line of JSON.

        # Parameters

        tally : `Tally`
            Counts the lines.
        first : `int`, optional (default = `1`)
            The number of the first line.
        max_wait : `float`, optional
            See `Engine.stream`.
        """
        reader = LineReader(self.format, self._policy, first)
        reader.tally = tally
        entries = reader.entries(lines)
        for answer in answers(self.engine, entries, self._policy, self._schedule, max_wait):
            yield json.dumps(reader.complete(answer)) + "\n"


def answer_lines(job: Job, source: str, destination: Destination, max_wait: Optional[float]) -> int:
    """Answer each line of an input, in order.

    # Parameters

    source : `str`
        A file, which may be compressed, or `-` for standard input.
    max_wait : `float`, optional
        See `Engine.stream`.

    # Returns

    The exit code; see `Tally`.
    """
    answerer = LineAnswerer(job)
    if answerer.warning:
        print(f"warning: {answerer.warning}", file=sys.stderr)
    tally = Tally()
    with reading_and_writing(source, destination) as (lines, write):
        for answer in answerer.answers(lines, tally, max_wait=max_wait):
            write(answer)
    return report(tally, answerer.engine.manifest.max_length)


@contextlib.contextmanager
def reading_and_writing(
    source: str, destination: Destination
) -> Iterator[Tuple[TextIO, Callable[[str], None]]]:
    """Yield the lines of an input, and a function that writes answers."""
    with contextlib.ExitStack() as stack:
        is_file = Path(source).is_file()
        lines = open_lines(source)
        # From a pipe a thread reads ahead, and closing the pipe would wait until a line comes.
        if is_file:
            stack.enter_context(lines)
        yield lines, _writer(stack, destination, flush=not is_file)
        sys.stdout.flush()


def report(tally: Tally, max_length: int) -> int:
    """Print what is to be said about the lines, and return the exit code."""
    for summary in tally.summaries(max_length):
        print(summary, file=sys.stderr)
    return tally.exit_code


def open_lines(path: str) -> TextIO:
    """Open text so that bytes that are not UTF-8 become lone surrogates, which mark bad lines.

    A byte order mark at the start is skipped.

    # Raises

    `OSError` if there is no such file, `EngineError` if no file can have that name.
    """
    options: Dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape"}
    if path == "-":
        # Not `sys.stdin`: the thread that reads holds its lock, and Python could not exit.
        return open(sys.stdin.fileno(), closefd=False, **options)
    openers: Dict[str, Callable[..., Any]] = {
        ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".lzma": lzma.open
    }  # fmt: skip
    if "\0" in path:
        raise EngineError(f"no file can have the name {path!r}")
    return openers.get(Path(path).suffix, open)(path, "rt", **options)


def _writer(
    stack: contextlib.ExitStack, destination: Destination, flush: bool
) -> Callable[[str], None]:
    """Return a function that writes lines to the file and to standard output, as wanted."""
    file: Optional[TextIO] = None
    if destination.file:
        partial = stack.enter_context(replacing(destination.file))
        file = stack.enter_context(partial.open("w", encoding="utf-8"))
    shown = sys.stdout if destination.shown else None

    def write(line: str) -> None:
        if file:
            file.write(line)
        if shown:
            shown.write(line)
            if flush:
                shown.flush()

    return write
