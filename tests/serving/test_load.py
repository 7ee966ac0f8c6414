"""The generators of load ask as often as they say, and tell what came back."""

import asyncio
import json

from benchmarks.serving.load import closed, opened
from tests.serving.servers import TEXT, Remote  # skips without a server's libraries

BODY = json.dumps({"input": TEXT, "threshold": 0}).encode()


def test_a_closed_load_asks_each_once(remote: Remote) -> None:
    run = asyncio.run(closed(remote.port, [BODY] * 20 + [b"{"], clients=3))
    assert sorted(run.statuses) == [200] * 20 + [400] and run.errors == 1
    assert len(run.latencies) == 21 and 0 < max(run.latencies) <= run.seconds


def test_an_open_load_comes_at_its_rate(remote: Remote) -> None:
    run = asyncio.run(opened(remote.port, [BODY] * 60, rate=100, seed=1))
    assert run.statuses == [200] * 60
    assert run.seconds > 0.3, "60 requests at 100 a second, give or take"
