"""Score on processes of this machine."""

import json
import sys
from contextlib import closing
from typing import Sequence

from sledgehammer._scoring.job import Part
from sledgehammer._scoring.parts import PartWriter
from sledgehammer.engine.answering import Job as Work
from sledgehammer.engine.manifest import EngineError
from sledgehammer.engine.source import Direct
from sledgehammer.engine.workers import Dispatcher, Workers


def score_here(work: Work, workers: int, parts: Sequence[Part], writer: PartWriter) -> None:
    """Score parts, one after another; the processes share the rows and never wait between parts.

    # Parameters

    work : `Work`
        How lines are answered.
    workers : `int`
        Processes.

    # Raises

    `EngineError` if one of the processes ends, or the engine can't do the work.
    """
    with Workers(work, workers) as pool, closing(writer.lines(parts)) as lines:
        if pool.warning:
            print(f"warning: {pool.warning}", file=sys.stderr)
        for block in Dispatcher(pool, Direct(lines), work.batch_size, None).blocks():
            for answer in block["answers"]:
                writer.take(json.loads(answer))
            if block["error"]:
                raise EngineError(block["error"])
        writer.finish()
