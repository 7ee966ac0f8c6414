"""The entries of a stream, and where they come from: an iterator, or a thread that reads ahead."""

import queue
import threading
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, Mapping, Optional, Protocol, Union

from sledgehammer.engine.tokenizer import Text


@dataclass(frozen=True)
class Item:
    """A text of a stream that has settings of its own.

    # Parameters

    text : `Text`
    threshold : `float`, optional
        In [0, 1], if the policy has one.
    settings : `Mapping[str, Any]`, optional
        The policy's others, by name; or all of them as `RowSettings`, which have been checked.
    """

    text: Text
    threshold: Optional[float] = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def given(self) -> Mapping[str, Any]:
        """All settings that it has."""
        if self.threshold is None:
            return self.settings
        return {**self.settings, "threshold": self.threshold}


@dataclass(frozen=True)
class Known:
    """In the place of a text: an answer that is known without the model, such as an error."""

    answer: Dict[str, Any]


Entry = Union[Text, Item, Known]


@dataclass(frozen=True)
class End:
    """There is nothing more, because of an error or because that was all."""

    error: Optional[BaseException] = None


class Stalled:
    """There is nothing yet."""


class Source(Protocol):
    """Something to read entries from."""

    def get(self, seconds: Optional[float]) -> Any:
        """The next entry; `End()` after the last; `Stalled()` if there is none for so long."""

    def close(self) -> None:
        """Nothing more will be read."""


class Direct:
    """Reads when asked to, however long it takes."""

    def __init__(self, entries: Iterable[Any]) -> None:
        self._entries = iter(entries)

    def get(self, seconds: Optional[float]) -> Any:
        try:
            return next(self._entries)
        except StopIteration:
            return End()
        except Exception as error:
            return End(error)

    def close(self) -> None:
        pass


class Ahead:
    """Reads in a thread of its own, which ends after `close` when the next entry has come.

    # Parameters

    entries : `Iterable[Any]`
    limit : `int`
        At most so many entries are read and not asked for yet.
    """

    THREAD = "sledgehammer-reader"

    def __init__(self, entries: Iterable[Any], limit: int) -> None:
        # One entry more is in the hands of the thread when the queue is full.
        self._entries: queue.Queue[Any] = queue.Queue(max(1, limit - 1))
        self._closed = threading.Event()
        # A daemon: a process can end though its input does not.
        threading.Thread(target=self._read, args=(entries,), name=self.THREAD, daemon=True).start()

    def get(self, seconds: Optional[float]) -> Any:
        try:
            if seconds is not None and seconds <= 0:
                return self._entries.get_nowait()
            # Longer than a century, say, is no number of seconds for a lock.
            longest = None if seconds is None else min(seconds, threading.TIMEOUT_MAX)
            return self._entries.get(timeout=longest)
        except queue.Empty:
            return Stalled()

    def close(self) -> None:
        self._closed.set()
        # A thread that waits for room in the queue gets it, and then sees that it is closed.
        try:
            while True:
                self._entries.get_nowait()
        except queue.Empty:
            pass

    def _read(self, entries: Iterable[Any]) -> None:
        end = End()
        try:
            for entry in entries:
                if self._closed.is_set():
                    return
                self._entries.put(entry)
        except BaseException as error:
            end = End(error)
        if not self._closed.is_set():
            self._entries.put(end)
