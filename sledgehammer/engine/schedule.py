"""Say when the rows of a stream run."""

from dataclasses import dataclass
from typing import Optional

from sledgehammer.engine.arguments import whole_number

BATCH_SIZE = 32
"""Rows that run at a time, unless told otherwise."""

FILL = 16
"""The most rows that wait for others after an exit, `batch_size` permitting: larger batches gain
less than they lose by the padding of texts of different lengths."""

BLOCK = 16
"""How many batches of texts are read and tokenised at a time, to make batches of like length."""

POOLED_RUNTIMES = {"openvino", "torch"}
"""The runtimes for which pools are the default. In `benchmarks/streaming.py` OpenVINO is up to 1.3
times as fast with them in small batches and nowhere slower, eager PyTorch up to 1.2 times; ONNX
Runtime gains little or loses."""

DELAY = 64
"""`max_delay`, in batches, unless told otherwise."""


@dataclass(frozen=True)
class Schedule:
    """Say when the rows of a stream run.

    # Parameters

    batch_size : `int`
        Rows that run at a time.
    pool : `bool`, optional (default = `False`)
        Whether the rows that go on after an exit wait for others, until there are `FILL`.
        Otherwise the rows of a batch go on at once, by themselves.
    max_delay : `int`, optional
        At most so many texts are read ahead of an unanswered one; `DELAY` batches if `None`. This
        bounds what is held in memory: so many answers and texts, and less than two batches for
        each exit.

    # Raises

    `EngineError` for an invalid number.
    """

    batch_size: int = BATCH_SIZE
    pool: bool = False
    max_delay: Optional[int] = None

    def __post_init__(self) -> None:
        whole_number(self.batch_size, 1, "batch_size")
        if self.max_delay is not None:
            whole_number(self.max_delay, 0, "max_delay")

    @property
    def fill(self) -> int:
        """Return how many waiting rows are enough to go on after an exit."""
        return min(FILL, self.batch_size)

    @property
    def delay(self) -> int:
        """Return `max_delay`, or its default."""
        return DELAY * self.batch_size if self.max_delay is None else self.max_delay

    @property
    def block(self) -> int:
        """Return how many entries are read before any of them runs."""
        # Within half of the delay, so that rows can wait for those of the next block.
        return max(1, min(BLOCK * self.batch_size, (self.delay + 1) // 2))
