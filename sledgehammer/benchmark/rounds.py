"""Rounds in which the contenders take turns, and what comes of them."""

import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence

import numpy as np
from allennlp.common import Tqdm
from allennlp.common.checks import ConfigurationError

from sledgehammer.benchmark.contenders import Contender
from sledgehammer.benchmark.timing import Timing


@dataclass(frozen=True)
class Result:
    """One contender at one batch size and number of threads.

    # Parameters

    contender : `str`
    threads, batch_size : `int`
    p50, p95, p99 : `float`
        Milliseconds from the texts of a batch to its answers, over all batches and rounds.
    tokenise, model : `float`
        Medians of the two parts of it, in milliseconds.
    throughput : `float`
        Texts a second, median over the rounds.
    latency_ratios, throughput_ratios : `Dict[str, List[float]]`
        How many times faster than each other contender: median over the rounds of the ratio of
        the p50s (of the throughputs), and its quartiles.
    """

    contender: str
    threads: int
    batch_size: int
    p50: float
    p95: float
    p99: float
    tokenise: float
    model: float
    throughput: float
    latency_ratios: Dict[str, List[float]]
    throughput_ratios: Dict[str, List[float]]


@dataclass
class Setting:
    """What all contenders are given.

    # Parameters

    rows : `List[List[str]]`
        The texts of each row.
    exits : `Dict[str, Optional[List[int]]]`
        For contenders that must not decide themselves: the exit of each row, by name.
    batch_sizes : `Sequence[int]`
    rounds : `int`
    """

    rows: List[List[str]]
    exits: Dict[str, Optional[List[int]]]
    batch_sizes: Sequence[int]
    rounds: int


@dataclass
class _Times:
    """Seconds of every batch, a list a round."""

    tokenise: List[List[float]]
    model: List[List[float]]

    def totals(self) -> List[np.ndarray]:
        return [np.add(t, m) for t, m in zip(self.tokenise, self.model)]


class Worker:
    """The process of a contender."""

    def __init__(self, contender: Contender, threads: int) -> None:
        self._name = contender.name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sledgehammer.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if not sys.stderr.isatty() else None,
            text=True,
        )
        self.ask(**contender.as_dict(), threads=threads)

    def ask(self, **command: Any) -> Dict[str, Any]:
        """Send a command and wait for its answer.

        # Raises

        `ConfigurationError` if the contender fails.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        line = ""
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        answer = json.loads(line) if line else {"error": "its process died"}
        if "error" in answer:
            raise ConfigurationError(f"{self._name}: {answer['error']}")
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def workers(contenders: Sequence[Contender], threads: int) -> Iterator[Dict[str, Worker]]:
    """The processes of some contenders, which end with the block."""
    with ExitStack() as stack:
        started = {}
        for contender in contenders:
            worker = Worker(contender, threads)
            stack.callback(worker.close)
            started[contender.name] = worker
        yield started


def time_contenders(
    contenders: Sequence[Contender], threads: int, setting: Setting
) -> "tuple[List[Result], Dict[str, Any]]":
    """Let the contenders take turns, each next round in the reverse order.

    # Returns

    The results, and the profile of each engine at the first batch size (see `profile`).
    """
    results = []
    with workers(contenders, threads) as started:
        for name, worker in started.items():
            worker.ask(do="rows", rows=setting.rows, exits=setting.exits.get(name))
        for batch_size in setting.batch_sizes:
            times = {name: _Times([], []) for name in started}
            names = list(started)
            for number in Tqdm.tqdm(
                range(-1, setting.rounds), f"batch size {batch_size}, {threads} threads"
            ):
                for name in names if number % 2 == 0 else reversed(names):
                    found = started[name].ask(do="round", batch_size=batch_size)
                    if number >= 0:  # the one before warms up
                        times[name].tokenise.append(found["tokenise"])
                        times[name].model.append(found["model"])
            results += _results(times, threads, batch_size, len(setting.rows))
        first = setting.batch_sizes[0]
        profiles = {name: w.ask(do="profile", batch_size=first) for name, w in started.items()}
    return results, {name: found for name, found in profiles.items() if found}


def _results(times: Dict[str, _Times], threads: int, batch_size: int, rows: int) -> List[Result]:
    latency = {
        name: Timing([float(np.median(batches)) for batches in of.totals()])
        for name, of in times.items()
    }
    whole = {
        name: Timing([float(batches.sum()) for batches in of.totals()])
        for name, of in times.items()
    }
    results = []
    for name, of in times.items():
        all_batches = 1000 * np.concatenate(of.totals())
        p50, p95, p99 = np.percentile(all_batches, [50, 95, 99]).tolist()
        results.append(
            Result(
                name,
                threads,
                batch_size,
                p50,
                p95,
                p99,
                1000 * float(np.median(np.concatenate(of.tokenise))),
                1000 * float(np.median(np.concatenate(of.model))),
                rows / whole[name].median,
                _ratios(name, latency),
                _ratios(name, whole),
            )
        )
    return results


def _ratios(name: str, timings: Dict[str, Timing]) -> Dict[str, List[float]]:
    ratios = {}
    for other, timing in timings.items():
        if other != name:
            ratio = timings[name].ratio(timing)
            ratios[other] = [ratio.median, *ratio.quartiles]
    return ratios
