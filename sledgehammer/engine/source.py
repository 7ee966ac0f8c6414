"""Supply the entries of a stream, from an iterator or from a thread that reads ahead."""

import contextlib
import queue
import threading
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Mapping, Optional, Protocol, Union

from sledgehammer.engine.tokenizer import Text


@dataclass(frozen=True)
class Item:
    """Hold a text of a stream that has settings of its own.

    # Parameters

    text : `Text`
    threshold : `float`, optional
        The threshold, in [0, 1], if the policy has one, or thresholds by label.
    settings : `Mapping[str, Any]`, optional
        Other settings of the policy, by name; or all of them as `RowSettings`, which have been
        checked.
    """

    text: Text
    threshold: Union[float, Mapping[str, float], None] = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def all_settings(self) -> Mapping[str, Any]:
        """Return the settings, the threshold among them."""
        if self.threshold is None:
            return self.settings
        return {**self.settings, "threshold": self.threshold}


@dataclass(frozen=True)
class ReadyAnswer:
    """Take the place of a text whose answer is known without the model, such as an error."""

    answer: Dict[str, Any]


Entry = Union[Text, Item, ReadyAnswer]
"""What a stream is given."""


@dataclass(frozen=True)
class EndOfInput:
    """Tell that there are no more entries: all have been read, or reading raised an error."""

    error: Optional[BaseException] = None


class NothingYet:
    """Tell that no entry came in time."""


class Source(Protocol):
    """Supply entries, one at a time."""

    def get(self, seconds: Optional[float]) -> Any:
        """Return the next entry, `NothingYet()` if none came in time, or `EndOfInput()`.

        # Parameters

        seconds : `float`, optional
            How long to wait for an entry; for ever if `None`.
        """

    def close(self) -> None:
        """Stop reading: nobody will ask for another entry."""


class Direct:
    """Read an entry when it is asked for, however long that takes."""

    def __init__(self, entries: Iterable[Any]) -> None:
        self._entries = iter(entries)

    def get(self, seconds: Optional[float]) -> Any:
        try:
            return next(self._entries)
        except StopIteration:
            return EndOfInput()
        except Exception as error:
            return EndOfInput(error)

    def close(self) -> None:
        pass


class Ahead:
    """Read ahead in a thread, which ends once the next entry after `close` has come.

    # Parameters

    entries : `Iterable[Any]`
    limit : `int`
        The most entries that are read before somebody asks for them.
    """

    THREAD = "sledgehammer-reader"

    def __init__(self, entries: Iterable[Any], limit: int) -> None:
        # When the queue is full, the thread holds one more entry.
        self._entries: queue.Queue[Any] = queue.Queue(max(1, limit - 1))
        self._closed = threading.Event()
        # A daemon, so that the process can end even if its input does not.
        threading.Thread(target=self._read, args=(entries,), name=self.THREAD, daemon=True).start()

    def get(self, seconds: Optional[float]) -> Any:
        try:
            if seconds is not None and seconds <= 0:
                return self._entries.get_nowait()
            # Locks refuse to wait for longer than this, a few hundred years.
            longest = None if seconds is None else min(seconds, threading.TIMEOUT_MAX)
            return self._entries.get(timeout=longest)
        except queue.Empty:
            return NothingYet()

    def wake(self) -> None:
        """Let somebody who waits for an entry get `NothingYet`, unless there are entries anyway."""
        with contextlib.suppress(queue.Full):
            self._entries.put_nowait(NothingYet())

    def close(self) -> None:
        self._closed.set()
        # A thread that waits for room in the queue now gets it, and then sees the flag.
        try:
            while True:
                self._entries.get_nowait()
        except queue.Empty:
            pass

    def _read(self, entries: Iterable[Any]) -> None:
        end = EndOfInput()
        try:
            for entry in entries:
                if self._closed.is_set():
                    return
                self._entries.put(entry)
        except BaseException as error:
            end = EndOfInput(error)
        if not self._closed.is_set():
            self._entries.put(end)
