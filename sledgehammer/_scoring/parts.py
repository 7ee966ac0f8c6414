"""Turn input files into lines for an engine, and its answers into parts: a row for a row."""

import json
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Callable, Deque, Dict, Generator, List, Optional, Sequence, Union

from sledgehammer._scoring.job import Job, Part, Tally, write_tally
from sledgehammer._scoring.places import Folder
from sledgehammer._scoring.readers import Row, Shard, reading
from sledgehammer._scoring.writers import ANSWER, PROBS, ROW, Writer, writer_to
from sledgehammer.engine.lines import IDENTIFIER, TRUNCATED
from sledgehammer.support.jsonl import is_text


@dataclass(frozen=True)
class Begin:
    """Tell that the rows of a part follow."""

    part: Part
    kept: List[str]
    types: Dict[str, Any]


@dataclass(frozen=True)
class Waiting:
    """Hold a row whose answer is not there yet, or that gets an error instead of one."""

    number: int
    kept: Dict[str, Any]
    problem: Optional[str]


class End:
    """Tell that a part has no more rows."""


class PartWriter:
    """Read the rows of some parts, and write them with their answers.

    `lines` is read by whoever answers; it may be ahead of the answers, which go to `take` in
    order. A part that is whole gets its name, and is noted as finished, before the next begins.
    If the `with` block is left early, the part that was being written leaves nothing behind.

    # Parameters

    job : `Job`
    inputs, output : `Folder`
    fields, labels : `Sequence[str]`
        Those of the engine.
    finished : `Callable[[Part, Tally], None]`
        Is called with each part that is whole.
    """

    def __init__(
        self,
        job: Job,
        inputs: Folder,
        output: Folder,
        fields: Sequence[str],
        labels: Sequence[str],
        finished: Callable[[Part, Tally], None],
    ) -> None:
        self._job = job
        self._inputs = inputs
        self._output = output
        self._fields = fields
        self._labels = labels
        self._finished = finished
        self._waiting: Deque[Union[Begin, Waiting, End]] = deque()
        self._unanswered = 0  # of those
        self._open = ExitStack()
        self._part: Optional[Part] = None
        self._writer: Optional[Writer] = None
        self._tally = Tally()

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def lines(self, parts: Sequence[Part]) -> Generator[str, None, None]:
        """Yield a line for each row that can be answered, as `predict` takes it."""
        for part in parts:
            with self._reading(part) as shard:
                names = self._kept(shard)
                self._add(Begin(part, names, shard.types))
                for number, row in enumerate(shard.rows):
                    problem = row.text_problem(self._job.texts)
                    kept = {name: _storable(row.values.get(name)) for name in names}
                    self._add(Waiting(number, kept, problem))
                    if problem is None:
                        yield self._line(row)
            self._add(End())

    def _add(self, waiting: Union[Begin, Waiting, End]) -> None:
        self._waiting.append(waiting)
        self._unanswered += isinstance(waiting, Waiting) and waiting.problem is None
        if not self._unanswered:  # or a file without any good row would be held in memory
            self._settle_all()

    def _reading(self, part: Part) -> Any:
        needed = [*self._job.texts, *self._job.keep]
        return reading(self._inputs, part.source, needed, IDENTIFIER)

    def _kept(self, shard: Shard) -> List[str]:
        has_id = shard.columns is None or IDENTIFIER in shard.columns
        return list(dict.fromkeys([*([IDENTIFIER] if has_id else []), *self._job.keep]))

    def _line(self, row: Row) -> str:
        texts = [row.values[column] for column in self._job.texts]
        return json.dumps(dict(zip(self._fields, texts))) + "\n"

    def take(self, answer: Dict[str, Any]) -> None:
        """Write the row that an answer is to, and those with an error before it."""
        while True:
            waiting = self._waiting.popleft()
            if isinstance(waiting, Waiting) and waiting.problem is None:
                self._unanswered -= 1
                self._write(waiting, answer)
                return
            self._settle(waiting)

    def finish(self) -> None:
        """Write what follows the last answer; all lines have been read."""
        self._settle_all()

    def _settle_all(self) -> None:
        while self._waiting:
            self._settle(self._waiting.popleft())

    def _settle(self, waiting: Union[Begin, Waiting, End]) -> None:
        if isinstance(waiting, Begin):
            path = self._open.enter_context(self._output.writing(waiting.part.name))
            self._part, self._tally = waiting.part, Tally()
            self._writer = writer_to(
                path, self._job.format, waiting.kept, self._labels, waiting.types
            )
            self._open.callback(self._writer.close)
        elif isinstance(waiting, End):
            assert self._part is not None
            self._open.close()
            write_tally(self._output, self._part, self._tally)
            self._finished(self._part, self._tally)
        else:
            if waiting.problem is None:
                raise AssertionError("a row has no answer")
            self._write(waiting, {"error": waiting.problem})

    def _write(self, waiting: Waiting, answer: Dict[str, Any]) -> None:
        assert self._writer is not None
        row: Dict[str, Any] = {ROW: waiting.number, **waiting.kept}
        for name in ANSWER:
            row[name] = answer.get(name)
        if row["error"] is None:
            row[TRUNCATED] = TRUNCATED in answer
        else:
            row[PROBS] = None
        self._tally.saw(row)
        self._writer.write(row)


def _storable(value: Any) -> Any:
    """Return a value to keep; what is not text in a string is replaced, as it can't be written."""
    if isinstance(value, str) and not is_text(value):
        return value.encode("utf-8", "replace").decode("utf-8")
    return value
