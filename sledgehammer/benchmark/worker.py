"""Run one contender in a process of its own, as the commands on its connection say.

If several libraries run in one process, the idle threads of one spin while another runs, and take
its cores. So every contender has a process of its own, and all but one of them sleep.
"""

import sys
import time
from typing import Any, Dict, List, Optional

from sledgehammer.benchmark.contenders import Contender, OpenContender, open_contender
from sledgehammer.support.child import connection_of


class Session:
    """Carry out commands with a contender; each command has a method of its name."""

    def __init__(self, contender: OpenContender, threads: int) -> None:
        self._contender = contender
        self._threads = threads
        self._rows: List[List[str]] = []
        self._exits: Optional[List[int]] = None
        self._by_length: List[int] = []

    def rows(self, rows: List[List[str]], exits: Optional[List[int]]) -> Dict[str, Any]:
        """Keep the rows to classify, and the exits at which they have to stop, if any."""
        self._rows, self._exits = rows, exits
        lengths = self._contender.lengths(rows)
        self._by_length = sorted(range(len(rows)), key=lambda i: -lengths[i])
        return {}

    def round(self, batch_size: int) -> Dict[str, Any]:
        """Classify all rows, in batches of similar length.

        # Returns

        Seconds of tokenising and of the model, a figure for each batch.
        """
        order = self._by_length if batch_size > 1 else list(range(len(self._rows)))
        tokenise, model = [], []
        for first in range(0, len(order), batch_size):
            positions = order[first : first + batch_size]
            exits = None if self._exits is None else [self._exits[i] for i in positions]
            texts = [self._rows[i] for i in positions]
            began = time.perf_counter()
            inputs = self._contender.tokenise(texts)
            tokenised = time.perf_counter()
            self._contender.run(inputs, exits)
            model.append(time.perf_counter() - tokenised)
            tokenise.append(tokenised - began)
        return {"tokenise": tokenise, "model": model}

    def profile(self, batch_size: int) -> Dict[str, Any]:
        """Return where the time of an engine goes, or nothing for another contender."""
        from sledgehammer.benchmark.profile import profile

        engine = getattr(self._contender, "engine", None)
        if engine is None:
            return {}
        return profile(engine, self._contender, self._rows, batch_size, self._threads)


def main(handle: str) -> None:
    """Open the contender that the first message describes, then answer commands until the end.

    # Parameters

    handle : `str`
        The file descriptor of this process's end of the connection.
    """
    connection = connection_of(handle)
    try:
        description = connection.recv()
        threads = description.pop("threads")
        session = Session(open_contender(Contender(**description), threads), threads)
        connection.send({"ready": True})
        while True:
            command = connection.recv()
            connection.send(getattr(session, command.pop("do"))(**command))
    except EOFError:
        pass  # there will be no more commands
    except Exception as error:
        connection.send({"error": f"{type(error).__name__}: {error}"})
        raise


if __name__ == "__main__":
    main(sys.argv[1])
