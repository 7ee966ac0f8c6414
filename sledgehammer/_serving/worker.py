"""Run one of the worker processes of `sledgehammer serve --workers N`; the supervisor starts it."""

import os
import pickle
import signal
import socket
import sys
from typing import Any

from sledgehammer._serving.supervisor import READY, unblock


def main() -> int:
    """Serve until a signal comes or the supervisor has died, and return the exit code."""
    # SIGHUP waits until there is a model to be opened anew.
    unblock({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM})
    options, number = pickle.load(sys.stdin.buffer)
    # Nobody reads what libraries might print there.
    ready = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    from sledgehammer._serving.server import listen
    from sledgehammer.engine.manifest import EngineError

    def started() -> None:
        unblock({signal.SIGHUP})
        os.write(ready, READY)
        os.close(ready)

    try:
        listen(options, socket.socket(fileno=number), started, sys.stdin.fileno())
    except (OSError, EngineError) as error:
        print(f"sledgehammer serve: error: {_said(error)}", file=sys.stderr)
        return 1
    return 0


def _said(error: Any) -> str:
    file = getattr(error, "filename", None)
    return f"{file}: {error.strerror}" if file else str(error)


if __name__ == "__main__":
    sys.exit(main())
