"""Hold texts that wait for their answers, and tell the request when all are there."""

import asyncio
import time
from contextlib import suppress
from typing import Any, Callable, Dict, List, Optional

from sledgehammer.engine.tokenizer import Encoded, Text
from sledgehammer.policies import RowSettings

DEADLINE = "deadline"
"""The field, `true`, of an answer that was cut short by its deadline."""

HURRIED = "hurried"
"""The field, `true`, of an answer for which the policy's setting was lowered to meet a deadline."""

EXITS = "exits"
"""The field with what each exit said, of answers to requests that ask for it."""

Answer = Dict[str, Any]


def call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., Any], *values: Any) -> None:
    """Call a function in the thread of an event loop; if the loop has ended, nobody waits for it."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *values)


class Job:
    """Hold a text on its way through a model.

    # Parameters

    text : `Text`
        As the tokenizer takes it.
    settings : `RowSettings`
    deadline : `float`, optional
        When it must be answered, in `time.monotonic()`.
    done : `Callable[[Job], None]`
        Called in a worker's thread once `answer` is there.
    """

    __slots__ = (
        "answer", "arrived", "deadline", "done", "encoded", "hurried", "index", "number", "settings", "text",
        "traced",
    )  # fmt: skip

    def __init__(
        self,
        text: Text,
        settings: RowSettings,
        deadline: Optional[float],
        done: "Callable[[Job], None]",
        index: int = 0,
    ) -> None:
        self.text = text
        self.settings = settings
        self.deadline = deadline
        self.done = done
        self.index = index
        self.arrived = time.monotonic()
        self.encoded: Encoded = Encoded([], [])
        self.number = -1  # among the texts of the model, in order of arrival
        self.hurried = False
        self.traced = False
        self.answer: Answer = {}


class Gathering:
    """Collect the answers to the texts of a request, and wake the request once all are there.

    # Parameters

    count : `int`
        The texts of the request.
    """

    def __init__(self, count: int) -> None:
        self.answers: List[Answer] = [{} for _ in range(count)]
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()
        # Several workers may finish at once; removing an element is atomic.
        self._missing = list(range(count))

    def known(self, index: int, answer: Answer) -> None:
        """Take an answer that needs no model, such as an error."""
        self.answers[index] = answer
        self._one_less()

    def done(self, job: Job) -> None:
        """Take the answer of a job; called in a worker's thread."""
        self.answers[job.index] = job.answer
        self._one_less()

    def _one_less(self) -> None:
        # Only the one who takes the last element, which is 0, ends the waiting.
        if self._missing.pop() == 0:
            call_in(self._loop, self._wake)

    def _wake(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> List[Answer]:
        """Return all answers, in order, once they are there."""
        if self.answers:
            await self._future
        return self.answers
