"""Listen, and end gracefully."""

import asyncio
import signal
import socket
import sys
import threading
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Optional, Sequence

import uvicorn

from sledgehammer._serving.app import Server
from sledgehammer._serving.options import Address, Options

PATIENCE = 30
"""Seconds that connections may take to end after the signal to stop."""


KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than load balancers keep theirs (60)."""


class _Listener(uvicorn.Server):
    """Stop on SIGTERM and Ctrl-C without raising the signal anew: a graceful end is no failure."""

    server: Server
    started_up: Callable[[], None]
    lifeline: Optional[int] = None
    """A pipe; its end tells that the supervisor has died, which is as a signal to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        old = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.server.shut_down()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: Optional[Sequence[socket.socket]] = None) -> None:
        await super().startup(list(sockets) if sockets else None)
        if not self.started:
            return
        if self.lifeline is not None:
            asyncio.get_running_loop().add_reader(self.lifeline, self._abandoned, self.lifeline)
        self.started_up()

    def _abandoned(self, lifeline: int) -> None:
        asyncio.get_running_loop().remove_reader(lifeline)
        self.handle_exit(signal.SIGTERM, None)


def address_of(listener: socket.socket, is_tls: bool) -> str:
    """Return the URL under which a socket is reached."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if is_tls else 'http'}://{shown}:{port}"


def bind(address: Address) -> socket.socket:
    """Return a socket that is bound to an address; port 0 is any free port.

    # Raises

    `OSError` if it is taken, or there is no such host.
    """
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, place = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError:
        listener.close()
        raise
    return listener


def listen(
    options: Options,
    listener: socket.socket,
    started: Optional[Callable[[], None]] = None,
    lifeline: Optional[int] = None,
) -> None:
    """Serve until a signal comes; what was accepted is answered.

    # Parameters

    options : `Options`
    listener : `socket.socket`
        Bound.
    started : `Callable[[], None]`, optional
        Called once requests are answered; if `None`, the address is printed.
    lifeline : `int`, optional
        A pipe whose end is as a signal to stop.

    # Raises

    `EngineError` or `OSError` if a model, the keys or the certificate can't be read.
    """
    server = Server(options)
    address = options.address
    config = uvicorn.Config(
        server.app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=PATIENCE,
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
    )
    listening = _Listener(config)
    listening.server = server
    listening.lifeline = lifeline

    def announce() -> None:
        names = ", ".join(options.directories)
        address = address_of(listener, listening.config.is_ssl)
        print(f"serving {names} on {address}", file=sys.stderr, flush=True)

    listening.started_up = started or announce
    listening.run(sockets=[listener])
