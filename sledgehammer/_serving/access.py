"""Stand before all routes: check keys and sizes, count requests, and answer with problems."""

import hashlib
import hmac
import logging
import time
from pathlib import Path
from typing import Any, List, Optional, Sequence

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sledgehammer._serving.metrics import RequestTally
from sledgehammer._serving.options import Limits
from sledgehammer._serving.pages import PARTS
from sledgehammer._serving.problems import Problem
from sledgehammer.engine import EngineError

LOG = logging.getLogger("sledgehammer._serving")

OPEN_PATHS = {
    "/", "/healthz", "/readyz", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready",
    *(f"/page/{part}" for part in PARTS),
}  # fmt: skip
"""What needs no key: probes, and pages without data."""

LINES = "/v1/stream"
"""The route whose limit is for each line, not for the body."""


class Keys:
    """Check API keys.

    # Parameters

    file : `Path`, optional
        With a key a line; empty lines and those that begin with `#` are skipped. Everybody is
        let in without a file.

    # Raises

    `EngineError` if there is no key in the file; `OSError` if it can't be read.
    """

    def __init__(self, file: Optional[Path]) -> None:
        self._file = file
        self._digests: List[bytes] = []
        self.read()

    def read(self) -> None:
        """Read the file anew."""
        if self._file is None:
            return
        lines = [line.strip() for line in self._file.read_text(encoding="utf-8").splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise EngineError(f"{self._file} has no API key: write one a line")
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def admit(self, headers: Any) -> bool:
        """Return whether the headers of a request have a valid key.

        All keys are compared, each in constant time, so that the time tells nothing.
        """
        if self._file is None:
            return True
        given = hashlib.sha256(_key_in(headers)).digest()
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return any(matches)


def _key_in(headers: Any) -> bytes:
    """Return the key of `Authorization: Bearer KEY` or `X-API-Key: KEY`; empty if there is none."""
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
        if name == b"x-api-key":
            return value.strip()
    return b""


def _host_in(headers: Any) -> str:
    """Return the name of the `Host` header, without the port."""
    host = next((value.decode("latin-1") for name, value in headers if name == b"host"), "")
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0].lower()


class Guard:
    """Wrap an application: check keys and sizes, count requests, and answer with problems.

    # Parameters

    app : `ASGIApp`
    keys : `Keys`
    hosts : `Sequence[str]`
        The names by which clients may call the server; any if it is empty.
    limits : `Limits`
    tally : `RequestTally`
    """

    def __init__(
        self, app: ASGIApp, keys: Keys, hosts: Sequence[str], limits: Limits, tally: RequestTally
    ) -> None:
        self._app = app
        self._keys = keys
        self._hosts = frozenset(hosts)
        self._limits = limits
        self._tally = tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        scope["app"] = self  # lets the router raise errors instead of answering them
        try:
            self._check(scope)
            await self._app(scope, receive, counted)
        except Exception as error:
            problem = as_problem(error)
            if status:  # the answer has begun, and can't become another one
                raise
            await problem.response()(scope, receive, counted)
        finally:
            route = getattr(scope.get("endpoint"), "__name__", "none")
            self._tally.saw(route, status, time.perf_counter() - began)

    def _check(self, scope: Scope) -> None:
        path = scope["path"]
        if self._hosts and (host := _host_in(scope["headers"])) not in self._hosts:
            raise Problem(421, f"this server is not {host!r:.80}; see --allow-host", "host")
        if path not in OPEN_PATHS and not self._keys.admit(scope["headers"]):
            raise Problem(
                401,
                "a valid API key is needed: send Authorization: Bearer KEY",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if path == LINES:
            return
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > self._limits.body:
                raise Problem(
                    413, f"the body must have at most {self._limits.body} bytes, got {int(value)}"
                )


def as_problem(error: Exception) -> Problem:
    """Return what to tell a client of an error. Of an unexpected one only its kind is logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        return Problem(error.status_code, f"{error.detail}; see /docs", headers=headers)
    # Not its message: it might quote a text.
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "?"
    LOG.error("%s at %s", type(error).__name__, where)
    return Problem(500, "an error of the server's own; its log has more")
