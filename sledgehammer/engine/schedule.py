"""When the rows of a stream run."""

from dataclasses import dataclass
from typing import Optional

from sledgehammer.engine.arguments import whole_number

BATCH_SIZE = 32
"""Rows that run at a time, unless told otherwise."""

FILL = 16
"""So many rows (or `batch_size`, if that is less) wait for no others after an exit: larger batches
gain less than they lose by the padding of texts of different lengths."""

BLOCK = 16
"""So many batches of texts are read and tokenised at a time, to make batches of like length."""

POOLED_RUNTIMES = {"openvino", "torch"}
"""Where pools are the default. `benchmarks/streaming.py` measures it: OpenVINO is up to 1.3 times as
fast with them in small batches and nowhere slower, eager PyTorch up to 1.2 times; ONNX Runtime gains
little or loses."""

DELAY = 64
"""`max_delay`, in batches, unless told otherwise."""


@dataclass(frozen=True)
class Schedule:
    """When the rows of a stream run.

    # Parameters

    batch_size : `int`
        Rows that run at a time.
    pool : `bool`, optional (default = `False`)
        Whether the rows that go on after an exit wait for others, until there are `FILL`; else
        those of a batch go on at once, by themselves.
    max_delay : `int`, optional
        An answer comes before the text that is so many and one after its own is asked for. This
        bounds what is held: so many answers and texts, and less than two batches an exit.
        `DELAY` batches if `None`.

    # Raises

    `EngineError` for what can't be.
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
        """Rows after an exit that are enough to go on."""
        return min(FILL, self.batch_size)

    @property
    def delay(self) -> int:
        return DELAY * self.batch_size if self.max_delay is None else self.max_delay

    @property
    def block(self) -> int:
        """Entries that are read before any of them runs."""
        # Within half of the delay, so that rows can wait for those of the next block.
        return max(1, min(BLOCK * self.batch_size, (self.delay + 1) // 2))
