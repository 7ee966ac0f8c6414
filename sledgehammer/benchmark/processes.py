"""Start a process for each contender, and talk to it."""

import sys
import tempfile
from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterator, List, Sequence

from allennlp.common.checks import ConfigurationError

from sledgehammer.benchmark.contenders import Contender
from sledgehammer.support.child import Child, ChildDied

LAST_LINES = 20
"""How many of the last lines that a process wrote are shown if it dies."""


class Worker:
    """Start the process of a contender (see `worker`) and send it commands.

    Commands and answers are plain data.

    # Parameters

    contender : `Contender`
    threads : `int`

    # Raises

    `ConfigurationError` if the contender cannot be opened.
    """

    def __init__(self, contender: Contender, threads: int) -> None:
        self._name = contender.name
        # A file takes all output; a pipe that nobody reads would block the process.
        self._output = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._child = Child("sledgehammer.benchmark.worker", self._output)
        try:
            self.ask(**contender.as_dict(), threads=threads)
        except BaseException:
            self.close()
            raise

    def ask(self, **command: Any) -> Dict[str, Any]:
        """Send a command and wait for its answer.

        # Raises

        `ConfigurationError` if the contender fails. If its process dies, the last lines that it
        wrote are first shown on standard error.
        """
        try:
            self._child.send(command)
            answer: Dict[str, Any] = self._child.receive()
        except ChildDied as death:
            raise ConfigurationError(f"{self._name}: {self._show_death(death)}") from None
        if "error" in answer:
            raise ConfigurationError(f"{self._name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._child.close()
        self._output.close()

    def _show_death(self, death: ChildDied) -> str:
        """Show what the dead process wrote, and return how it ended."""
        lines = self._last_lines()
        for line in lines:
            print(f"{self._name}: {line}", file=sys.stderr)
        written = "; its last output is above" if lines else " and wrote nothing"
        return f"its process {death}{written}"

    def _last_lines(self) -> List[str]:
        self._output.seek(0)
        return self._output.read().splitlines()[-LAST_LINES:]


@contextmanager
def workers(contenders: Sequence[Contender], threads: int) -> Iterator[Dict[str, Worker]]:
    """Start a process for each contender, and yield them by name; they end with the block."""
    with ExitStack() as stack:
        started = {}
        for contender in contenders:
            worker = Worker(contender, threads)
            stack.callback(worker.close)
            started[contender.name] = worker
        yield started
