"""Run a module in a process of its own, and exchange messages with it."""

import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any


class ChildDied(Exception):
    """Tell that a process ended before it answered, and how."""


class Child:
    """Start `python -m MODULE HANDLE`, a fresh Python, and send it messages.

    `multiprocessing` would import the main module again, and with it libraries that the process
    does without. In the process, `connection_of` opens the other end of the connection.

    # Parameters

    module : `str`
    output : `Any`, optional
        Where the process writes; what it writes to standard output is dropped, and its errors are
        shown, by default.
    """

    def __init__(self, module: str, output: Any = None) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if output is None else output,
                stderr=None if output is None else subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
            )

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    def send(self, message: Any) -> None:
        """Send plain data.

        # Raises

        `ChildDied` if the process has ended.
        """
        try:
            self._connection.send(message)
        except OSError:
            raise ChildDied(self._how_it_ended()) from None

    def receive(self) -> Any:
        """Return the next message from the process.

        # Raises

        `ChildDied` if the process ends before it sends one.
        """
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            raise ChildDied(self._how_it_ended()) from None

    def kill(self) -> None:
        """End the process, whatever it is doing; somebody who waits for it gets a `ChildDied`."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and the connection; nobody may be waiting for it any more."""
        self.kill()
        self._connection.close()

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"


def connection_of(handle: str) -> Connection:
    """Return a child's end of the connection, from the argument of its command line."""
    return Connection(int(handle))
