"""Run several worker processes behind one port: `sledgehammer serve --workers N`.

The workers accept from one listening socket, which this process holds. Sockets of their own with
SO_REUSEPORT would spread connections evenly too, but those that wait for a worker that dies would
be lost, and a busy worker would get as many as an idle one.

This process answers nothing, holds no model and starts no thread. It waits for signals: SIGTERM and
Ctrl-C stop all workers gracefully, SIGHUP has all of them read their models anew, and a worker that
dies is started again.
"""

import dataclasses
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any, Dict, List, Set

from sledgehammer._serving.options import Options
from sledgehammer._serving.server import PATIENCE, address_of

BACKLOG = 2048
"""Connections that may wait until a worker accepts them."""

SHORT_LIFE = 5.0
"""A worker that dies younger, in seconds, is not started again at once."""

LONGEST_PAUSE = 32.0
"""The pause doubles, up to so many seconds."""

READY = b"ready\n"
"""What a worker writes to its standard output when it answers."""

_STOPPING = {signal.SIGTERM, signal.SIGINT}
_WATCHED = {*_STOPPING, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM}


class Supervisor:
    """Start worker processes, and keep as many of them.

    # Parameters

    options : `Options`
        With a `crew`.
    listener : `socket.socket`
        Bound.
    """

    def __init__(self, options: Options, listener: socket.socket) -> None:
        assert options.crew is not None
        self._options = options
        self._crew = options.crew
        self._listener = listener
        self._running: Dict[int, subprocess.Popen[bytes]] = {}
        self._started: Dict[int, float] = {}
        self._pauses: Dict[int, float] = {}
        self._due: Dict[int, float] = {}  # when workers are to be started again
        self._lives = 0

    def run(self) -> bool:
        """Serve until a signal comes; return whether all workers could be started."""
        self._listener.listen(BACKLOG)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        # What has no handler may be dropped even while it is blocked.
        old = {n: signal.signal(n, _ignore) for n in (signal.SIGALRM, signal.SIGCHLD)}
        try:
            # The first alone: what can't be opened is told once.
            for numbers in ([0], list(range(1, self._crew.size))):
                for number in numbers:
                    self._start(number)
                if not self._all_ready(numbers):
                    return self._stop_asked()
            names = ", ".join(self._options.directories)
            address = address_of(self._listener, self._options.address.certificate is not None)
            print(f"serving {names} on {address} with {self._crew.size} workers",
                  file=sys.stderr, flush=True)  # fmt: skip
            self._watch()
            return True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._stop()
            while signal.sigpending() & _WATCHED:
                signal.sigwait(_WATCHED)
            for number, handler in old.items():
                signal.signal(number, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _start(self, number: int) -> None:
        listener = self._listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "sledgehammer._serving.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            pass_fds=[listener],
            start_new_session=True,  # Ctrl-C comes from here, once
        )  # fmt: skip
        crew = dataclasses.replace(self._crew, number=number)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has died; SIGCHLD tells
            # Stays open: its end tells the worker that this process has died.
            pickle.dump((dataclasses.replace(self._options, crew=crew), listener), process.stdin)
            process.stdin.flush()
        self._running[number] = process
        self._started[number] = time.monotonic()

    def _all_ready(self, numbers: List[int]) -> bool:
        """Wait for workers; return `False` if one ends, or a signal to stop comes."""
        pipes = [self._running[number].stdout for number in numbers]
        waiting = [pipe for pipe in pipes if pipe is not None]
        while waiting:
            if self._stop_asked():
                return False
            for pipe in select.select(waiting, [], [], 0.1)[0]:
                if pipe.readline() != READY:
                    return False
                waiting.remove(pipe)
        return True

    @staticmethod
    def _stop_asked() -> bool:
        return bool(signal.sigpending() & _STOPPING)

    def _watch(self) -> None:
        while True:
            number = signal.sigwait(_WATCHED)
            if number in _STOPPING:
                return
            if number == signal.SIGHUP:
                self._send(signal.SIGHUP)
            self._reap()
            self._start_again()

    def _send(self, number: int) -> None:
        for process in self._running.values():
            process.send_signal(number)

    def _reap(self) -> None:
        """Note which workers have died, and when each is to be started again."""
        now = time.monotonic()
        for number, process in list(self._running.items()):
            if process.poll() is None:
                continue
            self._close(number)
            if now - self._started[number] >= SHORT_LIFE:
                self._pauses.pop(number, None)
            pause = self._pauses.get(number, 0.0)
            self._pauses[number] = min(max(2 * pause, 1.0), LONGEST_PAUSE)
            self._due[number] = now + pause
            print(f"worker {number} ended with {_cause(process.returncode)}; starting it again"
                  + (f" in {pause:g} s" if pause else ""), file=sys.stderr, flush=True)  # fmt: skip

    def _start_again(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            self._start(number)
        if self._due:
            signal.setitimer(signal.ITIMER_REAL, max(min(self._due.values()) - now, 0.01))

    def _close(self, number: int) -> None:
        process = self._running.pop(number)
        self._lives += 1
        dataclasses.replace(self._crew, number=number).retire(self._lives)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _stop(self) -> None:
        """End all workers; they answer what they have accepted first."""
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE + 5
        for number, process in list(self._running.items()):
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._close(number)


def _ignore(number: int, frame: Any) -> None:
    """Handle a signal that `sigwait` is to see."""


def _cause(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def unblock(numbers: Set[Any]) -> None:
    """Let signals in that the supervisor blocks, in a worker."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
