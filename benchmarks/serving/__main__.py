"""Run the measurements, and print them as a table."""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence

import numpy as np

from benchmarks.serving.load import Run, closed, opened
from sledgehammer import engine
from sledgehammer.support.arguments import positive_int

SINGLES = 1000
"""Requests of one text, one after another."""

PARTS = (0.25, 0.5, 0.75, 0.9)
"""Rates of the open load, as parts of the throughput at saturation."""


@contextmanager
def serving(directory: Path, threads: int, options: Sequence[str] = ()) -> Iterator[int]:
    """Run a server in a process of its own, and yield its port."""
    command = [sys.executable, "-m", "sledgehammer", "serve", f"engine={directory}"]
    command += ["--port", "0", "--threads", str(threads), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://\S+:(\d+)", line):
                yield int(found[1])
                return
        raise RuntimeError("the server did not start")
    finally:
        process.terminate()
        process.wait()


def body_of(texts: Sequence[str], settings: Dict[str, float]) -> bytes:
    """Return the body of a request with some texts."""
    return json.dumps({"input": list(texts), **settings}).encode()


def figures(values: Sequence[float]) -> Dict[str, float]:
    """Return percentiles, in milliseconds."""
    return {f"p{p}_ms": float(np.percentile(values, p)) * 1e3 for p in (50, 95, 99)}


def in_process(directory: Path, texts: List[str], threads: int, settings: Any) -> Dict[str, Any]:
    """Return how fast the engine is without a server: each text alone, and all together."""
    classifier = engine.load(directory, threads)
    classifier.predict(texts[:32], **settings)
    latencies = []
    for n in range(SINGLES):
        began = time.perf_counter()
        classifier.predict([texts[n % len(texts)]], **settings)
        latencies.append(time.perf_counter() - began)
    began = time.perf_counter()
    classifier.predict(texts, **settings)
    return {**figures(latencies), "texts_per_second": len(texts) / (time.perf_counter() - began)}


async def over_http(port: int, texts: List[str], settings: Any, batch: int) -> Dict[str, Any]:
    """Return the same over HTTP, and the latencies at several rates of single texts."""
    singles = [body_of([texts[n % len(texts)]], settings) for n in range(SINGLES)]
    await closed(port, singles[:100], 1)
    alone = await closed(port, singles, 1)
    bodies = [body_of(texts[n : n + batch], settings) for n in range(0, len(texts), batch)]
    full = await closed(port, bodies, 8)
    busy = await closed(port, [body_of([text], settings) for text in texts], 32)
    result: Dict[str, Any] = {
        "alone": {**figures(alone.latencies), "errors": alone.errors},
        "saturated": {"texts_per_second": len(texts) / full.seconds, "errors": full.errors},
        "saturated_singles": {"texts_per_second": len(texts) / busy.seconds, "errors": busy.errors},
        "open": [],
    }
    for part in PARTS:
        rate = part * len(texts) / busy.seconds
        run: Run = await opened(port, [body_of([t], settings) for t in texts], rate)
        result["open"].append(
            {"part": part, "rate": rate, **figures(run.latencies), "errors": run.errors}
        )
    return result


def main() -> None:
    """Measure the engine in this process, then behind a server."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("engine", type=Path)
    parser.add_argument("texts", type=Path, help="a text a line")
    parser.add_argument("--count", type=positive_int, default=2000, help="texts that are asked for")
    parser.add_argument("--batch", type=positive_int, default=32, help="texts of a request")
    parser.add_argument("--threads", type=positive_int, default=1)
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--server-option", action="append", default=[])
    parsed = parser.parse_args()
    settings = {} if parsed.threshold is None else {"threshold": parsed.threshold}
    lines = [line for line in parsed.texts.read_text().splitlines() if line.strip()]
    texts = [lines[n % len(lines)] for n in range(parsed.count)]
    result = {"in_process": in_process(parsed.engine, texts, parsed.threads, settings)}
    with serving(parsed.engine, parsed.threads, parsed.server_option) as port:
        result["http"] = asyncio.run(over_http(port, texts, settings, parsed.batch))
    plain, http = result["in_process"], result["http"]
    result["added_ms"] = {p: http["alone"][p] - plain[p] for p in ("p50_ms", "p95_ms", "p99_ms")}
    result["share_of_throughput"] = (
        http["saturated"]["texts_per_second"] / plain["texts_per_second"]
    )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
