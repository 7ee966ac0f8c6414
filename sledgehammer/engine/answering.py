"""Answer the lines of a file or a pipe with an engine."""

import bz2
import contextlib
import gzip
import json
import lzma
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, Optional, TextIO

from sledgehammer.engine.engine import Engine
from sledgehammer.engine.lines import TRUNCATED, LineFormat, Tally
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.schedule import Schedule
from sledgehammer.engine.source import Entry, Item, ReadyAnswer
from sledgehammer.engine.stream import answers
from sledgehammer.policies import ExitPolicy
from sledgehammer.support.files import replacing


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
    """

    def __init__(self, format: LineFormat, policy: ExitPolicy) -> None:
        self._format = format
        self._policy = policy
        # What each answer takes over. The thread that reads fills it, in the order of the lines.
        self._kept: Deque[Dict[str, Any]] = deque()
        self.tally = Tally()

    def entries(self, lines: Iterable[str]) -> Iterator[Entry]:
        """Yield an entry for each line."""
        for number, line in enumerate(lines, start=1):
            inputs, problem = self._format.parse(line)
            kept: Dict[str, Any] = {}
            try:
                if problem:
                    raise ValueError(problem)
                kept = self._format.kept(inputs)
                texts, settings, _ = self._format.request(inputs, self._policy)
                text = texts[0] if len(texts) == 1 else texts
                entry: Entry = Item(text, settings=settings)
            except ValueError as error:
                self.tally.bad_lines.append(number)
                entry = ReadyAnswer({"error": str(error), "line": number})
            self._kept.append(kept)
            yield entry

    def complete(self, answer: Dict[str, Any]) -> Dict[str, Any]:
        """Return the next answer, with the fields that it takes over from its line."""
        self.tally.lines += 1
        if answer.get(TRUNCATED):
            self.tally.truncated.append(self.tally.lines)
        return {**self._kept.popleft(), **answer}


def answer_lines(
    engine: Engine,
    format: LineFormat,
    source: str,
    destination: Destination,
    policy: ExitPolicy,
    schedule: Schedule,
    max_wait: Optional[float],
) -> int:
    """Answer each line of an input, in order.

    # Parameters

    source : `str`
        A file, which may be compressed, or `-` for standard input.
    policy : `ExitPolicy`
        The engine's, with the settings for lines that have none of their own.
    max_wait : `float`, optional
        See `Engine.stream`.

    # Returns

    The exit code; see `Tally`.
    """
    if problem := engine.choice_problem(policy):
        print(f"warning: {problem}", file=sys.stderr)
    reader = LineReader(format, policy)
    with contextlib.ExitStack() as stack:
        is_file = Path(source).is_file()
        lines = open_lines(source)
        # From a pipe a thread reads ahead, and closing the pipe would wait until a line comes.
        if is_file:
            stack.enter_context(lines)
        write = _writer(stack, destination, flush=not is_file)
        for answer in answers(engine, reader.entries(lines), policy, schedule, max_wait):
            write(json.dumps(reader.complete(answer)) + "\n")
        sys.stdout.flush()
    for summary in reader.tally.summaries(engine.manifest.max_length):
        print(summary, file=sys.stderr)
    return reader.tally.exit_code


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
    """Return a function that writes a line to the file and to standard output, as wanted."""
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
