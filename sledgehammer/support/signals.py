"""End on a signal as on an error: blocks clean up, and there is no traceback."""

import signal
import threading
from contextlib import contextmanager
from typing import Any, Iterator

INTERRUPTED = 128 + signal.SIGINT
"""The exit code after Ctrl-C, as in shells."""

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and Ctrl-C raise `SystemExit` with 128 + the signal's number.

    A signal that is ignored, or handled by the program already, stays so. A second signal while
    blocks clean up ends the process at once. Outside of the main thread only Ctrl-C is handled.
    """
    is_main = threading.current_thread() is threading.main_thread()
    unhandled = [s for s in _SIGNALS if is_main and signal.getsignal(s) is signal.SIG_DFL]
    for number in unhandled:
        signal.signal(number, _end)
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    finally:
        for number in unhandled:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)
