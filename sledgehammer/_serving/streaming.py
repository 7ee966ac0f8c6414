"""`POST /v1/stream`: JSON lines in, JSON lines out, as they are answered."""

import asyncio
from typing import Any, AsyncIterator, Dict, List, Optional, Tuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sledgehammer._serving.encoding import encoded
from sledgehammer._serving.inputs import Service, checked_settings
from sledgehammer._serving.jobs import Job, call_in
from sledgehammer._serving.models import ServedModel
from sledgehammer._serving.problems import Problem
from sledgehammer.engine.lines import IDENTIFIER, IGNORED
from sledgehammer.policies import RowSettings
from sledgehammer.support.jsonl import parse_line

AHEAD = 256
"""So many lines of a stream may be without an answer; then no more of it is read."""

PAUSE = 0.05
"""Seconds after which a line is offered again that the queue had no room for."""


async def stream(service: Service, request: Request) -> Response:
    """Answer each line of the body as soon as it is there; its number is `line`.

    `?model=NAME` names the model; other parameters are settings for lines without their own.
    `ordered=1` gives answers in the order of the lines.
    """
    query = dict(request.query_params)
    model = service.models.get(query.pop("model", None))
    ordered = query.pop("ordered", "0") not in ("", "0", "false")
    settings = checked_settings(model, {n: _number(v, n) for n, v in query.items()}, 1)
    return _Duplex(_Stream(service, model, settings, ordered, request).lines())


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise Problem(422, f"{name} must be a number, got {text!r:.80}", name) from None


class _Duplex(Response):
    """Send lines as they come. Starlette's own response would read the rest of the body away."""

    def __init__(self, lines: AsyncIterator[bytes]) -> None:
        super().__init__(media_type="application/x-ndjson")
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async for line in self._lines:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Stream:
    """Read lines and write answers at the same time."""

    def __init__(
        self,
        service: Service,
        model: ServedModel,
        settings: RowSettings,
        ordered: bool,
        request: Request,
    ) -> None:
        self._service = service
        self._model = model
        self._settings = settings
        self._request = request
        self._ordered = ordered
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(AHEAD)
        self._answers: asyncio.Queue[Optional[Tuple[int, Dict[str, Any]]]] = asyncio.Queue()
        self._kept: Dict[int, Dict[str, Any]] = {}
        self._read = 0

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield the lines of the answers."""
        reader = asyncio.create_task(self._read_all())
        written = 0
        held: Dict[int, bytes] = {}
        try:
            while not (reader.done() and written == self._read):
                found = await self._answers.get()
                if found is None:  # nothing more is read
                    continue
                number, answer = found
                kept = self._kept.pop(number)
                held[number] = encoded({"line": number, **kept, **answer}) + b"\n"
                if not self._ordered:
                    yield held.pop(number)
                    written += 1
                    self._room.release()
                while written + 1 in held and self._ordered:
                    written += 1
                    yield held.pop(written)
                    self._room.release()
            await reader
        finally:
            reader.cancel()

    async def _read_all(self) -> None:
        try:
            async for line in self._lines():
                await self._room.acquire()
                self._read += 1
                await self._submit(self._read, line)
        except ClientDisconnect:
            pass
        finally:
            self._answers.put_nowait(None)

    async def _lines(self) -> AsyncIterator[bytes]:
        """Yield the lines of the body; blank ones are left out."""
        limit = self._service.limits.body
        rest: List[bytes] = []
        async for part in self._request.stream():
            *whole, last = part.split(b"\n")
            for line in whole:
                rest.append(line)
                if joined := b"".join(rest).strip():
                    yield joined
                rest = []
            rest.append(last)
            if sum(map(len, rest)) > limit:
                rest = [b"x" * (limit + 1)]  # goes on to be refused, without being kept
        if joined := b"".join(rest).strip():
            yield joined

    async def _submit(self, number: int, line: bytes) -> None:
        self._kept[number] = {}
        try:
            job = self._job(number, line)
        except ValueError as error:
            self._answers.put_nowait((number, {"error": str(error)}))
            return
        while True:
            try:
                self._service.dispatcher.submit(self._model, [job])
                return
            except Problem as problem:
                if problem.status != 429:
                    self._answers.put_nowait((number, {"error": problem.detail}))
                    return
            await asyncio.sleep(PAUSE)

    def _job(self, number: int, line: bytes) -> Job:
        if len(line) > self._service.limits.body:
            raise ValueError(f"a line must have at most {self._service.limits.body} bytes")
        inputs, problem = parse_line(line.decode("utf-8", "surrogateescape"))
        if problem:
            raise ValueError(problem)
        if IDENTIFIER in inputs:
            self._kept[number] = {IDENTIFIER: inputs.pop(IDENTIFIER)}
        inputs.pop(IGNORED, None)
        deadline = self._service.deadline(self._request)
        return self._service.job(self._model, inputs, self._settings, deadline, self._done, number)

    def _done(self, job: Job) -> None:
        call_in(self._loop, self._answers.put_nowait, (job.index, job.answer))
