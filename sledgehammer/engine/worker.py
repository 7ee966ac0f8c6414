"""Answer blocks of lines in a process of its own, as the messages on its connection say.

The first message is a `Job`; the answer to it tells that the engine is open. Each other message has
the number of the first line of a block, and the block's lines.
"""

import signal
import sys
from typing import Any, Dict, List

from sledgehammer.engine.answering import Job, LineAnswerer
from sledgehammer.engine.lines import Tally
from sledgehammer.engine.manifest import EngineError
from sledgehammer.support.child import connection_of


def main(handle: str) -> None:
    """Answer messages until the other end of the connection is closed.

    # Parameters

    handle : `str`
        The file descriptor of this end.
    """
    # Ctrl-C reaches all processes of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = connection_of(handle)
    try:
        try:
            answerer = LineAnswerer(Job(**connection.recv()))
        except EngineError as error:
            connection.send({"error": str(error)})
            return
        max_length = answerer.engine.manifest.max_length
        connection.send({"warning": answerer.warning, "max_length": max_length})
        while True:
            connection.send(answer_block(answerer, **connection.recv()))
    except (EOFError, ConnectionError):
        pass  # the parent has ended


def answer_block(answerer: LineAnswerer, first: int, lines: List[str]) -> Dict[str, Any]:
    """Return the answers to some lines, their tally, and what went wrong after them, if anything."""
    answers: List[str] = []
    tally = Tally()
    error = None
    try:
        for answer in answerer.answers(lines, tally, first):
            answers.append(answer)
    except EngineError as problem:
        error = str(problem)
    return {"answers": answers, "tally": vars(tally), "error": error}


if __name__ == "__main__":
    main(sys.argv[1])
