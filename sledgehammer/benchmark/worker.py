"""The process of one contender: JSON lines in, JSON lines out.

Libraries that share a process share its cores too: the idle threads of one spin while another
runs. So every contender has a process of its own, and all but one of them sleep.
"""

import json
import sys
import time
from typing import Any, Dict, List, Optional, TextIO

from sledgehammer.benchmark.contenders import Contender, Loaded, load


class Session:
    """What a contender is asked to do, one command a line."""

    def __init__(self, contender: Loaded, threads: int) -> None:
        self._contender = contender
        self._threads = threads
        self._rows: List[List[str]] = []
        self._exits: Optional[List[int]] = None
        self._by_length: List[int] = []

    def rows(self, rows: List[List[str]], exits: Optional[List[int]]) -> Dict[str, Any]:
        """Remember what to classify."""
        self._rows, self._exits = rows, exits
        lengths = self._contender.lengths(rows)
        self._by_length = sorted(range(len(rows)), key=lambda i: -lengths[i])
        return {}

    def round(self, batch_size: int) -> Dict[str, Any]:
        """Classify all rows, in batches of similar length.

        # Returns

        Seconds of tokenising and of the model, one figure a batch.
        """
        order = self._by_length if batch_size > 1 else list(range(len(self._rows)))
        tokenise, model = [], []
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            exits = None if self._exits is None else [self._exits[i] for i in chosen]
            texts = [self._rows[i] for i in chosen]
            began = time.perf_counter()
            inputs = self._contender.tokenise(texts)
            tokenised = time.perf_counter()
            self._contender.run(inputs, exits)
            model.append(time.perf_counter() - tokenised)
            tokenise.append(tokenised - began)
        return {"tokenise": tokenise, "model": model}

    def profile(self, batch_size: int) -> Dict[str, Any]:
        """Where the time of an engine goes; empty for what is none."""
        from sledgehammer.benchmark.profile import profile

        engine = getattr(self._contender, "engine", None)
        if engine is None:
            return {}
        return profile(engine, self._contender, self._rows, batch_size, self._threads)


def main() -> None:
    # What libraries print must not come between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        given = json.loads(sys.stdin.readline())
        threads = given.pop("threads")
        contender = Contender(**given)
        session = Session(load(contender, threads), threads)
        _answer(answers, {"ready": True})
        for line in sys.stdin:
            command = json.loads(line)
            _answer(answers, getattr(session, command.pop("do"))(**command))
    except Exception as error:
        _answer(answers, {"error": f"{type(error).__name__}: {error}"})
        raise


def _answer(answers: TextIO, content: Dict[str, Any]) -> None:
    print(json.dumps(content), file=answers, flush=True)


if __name__ == "__main__":
    main()
