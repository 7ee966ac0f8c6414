"""Ask a server on this machine, one after another or at random times; bounded in number and time."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import List, Sequence

LONGEST = 60.0
"""Seconds after which a run ends, whatever is left."""


@dataclass
class Run:
    """Hold what a run of requests measured.

    # Parameters

    latencies : `List[float]`
        Seconds from when a request was due to its answer.
    statuses : `List[int]`
    seconds : `float`
        How long the run took.
    """

    latencies: List[float] = field(default_factory=list)
    statuses: List[int] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def errors(self) -> int:
        """Return how many requests were not answered with 200."""
        return sum(status != 200 for status in self.statuses)


class Connection:
    """Send requests over one connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, body: bytes) -> int:
        """Send a body to `/v1/classify`, and return the status once the answer is whole."""
        if self._streams is None or self._streams[0].at_eof():  # the server closes idle ones
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        head = (
            f"POST /v1/classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in answer.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        await reader.readexactly(length)
        return int(answer.split(None, 2)[1])

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


async def closed(port: int, bodies: Sequence[bytes], clients: int) -> Run:
    """Let some clients ask, each as soon as it has its answer."""
    run, left = Run(), iter(bodies)
    began = time.perf_counter()

    async def client() -> None:
        connection = Connection(port)
        for body in left:
            asked = time.perf_counter()
            if asked - began > LONGEST:
                break
            run.statuses.append(await connection.ask(body))
            run.latencies.append(time.perf_counter() - asked)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    run.seconds = time.perf_counter() - began
    return run


async def opened(port: int, bodies: Sequence[bytes], rate: float, seed: int = 0) -> Run:
    """Ask at random times, so many times a second on average, whether answers come or not.

    Times between requests are exponential (a Poisson process). A latency counts from when the
    request was due, so that a slow server can't hide behind a client that waits for it.
    """
    run, rng, idle = Run(), random.Random(seed), [Connection(port)]
    began = due = time.perf_counter()

    async def one(body: bytes, due: float) -> None:
        connection = idle.pop() if idle else Connection(port)
        run.statuses.append(await connection.ask(body))
        run.latencies.append(time.perf_counter() - due)
        idle.append(connection)

    asking = []
    for body in bodies:
        due += rng.expovariate(rate)
        if due - began > LONGEST:
            break
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asking.append(asyncio.ensure_future(one(body, due)))
    await asyncio.gather(*asking)
    run.seconds = time.perf_counter() - began
    for connection in idle:
        connection.close()
    return run
